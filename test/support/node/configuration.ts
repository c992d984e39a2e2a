/** What the programs of a node are told. */
import { dirname, join } from 'node:path';
import { toolsImage } from './images.ts';

export interface NodeSettings {
  /** Where it keeps everything. */
  readonly folder: string;
  /** Its own, by which pods reach it, and where it answers for names. */
  readonly address: string;
  readonly controlGroup: string;
  readonly clusterDomain: string;
  /** Of pods. */
  readonly podAddresses: string;
  readonly containerd: string;
}

/** Files by their names. */
export function configurationOf(settings: NodeSettings): Readonly<Record<string, string>> {
  return {
    'containerd.toml': containerd(settings),
    'network/pods.conflist': JSON.stringify(podNetwork(settings)),
    'kubelet.json': JSON.stringify(kubelet(settings)),
    'kube-proxy.json': JSON.stringify(kubeProxy(settings)),
    'dnsmasq.conf': dnsmasq(settings),
  };
}

/** https://github.com/containerd/containerd/blob/release/1.6/docs/cri/config.md */
function containerd({ folder, containerd: program }: NodeSettings): string {
  const root = join(dirname(program), '../..'); // of its package, which has runc and the plugins too
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "${join(folder, 'containerd.sock')}"
[${cri}]
  sandbox_image = "docker.io/library/${toolsImage}"
  disable_apparmor = true
  restrict_oom_score_adj = true # this machine may not let anything have less than it has itself
[${cri}.cni]
  bin_dir = "${join(root, 'usr/lib/cni')}"
  conf_dir = "${join(folder, 'network')}"
[${cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[${cri}.containerd.runtimes.runc.options]
  BinaryName = "${join(root, 'usr/sbin/runc')}"
`;
}

/** Each pod by a cable of its own: what one says to another, and to a Service, passes the node's rules. */
function podNetwork({ podAddresses }: NodeSettings): object {
  const ipam = { type: 'host-local', ranges: [[{ subnet: podAddresses }]], routes: [{ dst: '0.0.0.0/0' }] };
  return { cniVersion: '0.4.0', name: 'pods', plugins: [{ type: 'ptp', ipam }] };
}

/** https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/ */
function kubelet({ folder, address, controlGroup, clusterDomain }: NodeSettings): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    containerRuntimeEndpoint: `unix://${join(folder, 'containerd.sock')}`,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${controlGroup}`,
    failCgroupV1: false,
    clusterDNS: [address],
    clusterDomain,
    resolvConf: join(folder, 'resolv.conf'),
    // Who asks it is on the network of the test, and nobody else can.
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    // However full this machine is.
    failSwapOn: false,
    evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'nodefs.inodesFree': '0%', 'imagefs.available': '0%', 'imagefs.inodesFree': '0%' },
    imageGCHighThresholdPercent: 100,
  };
}

/** https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/ */
function kubeProxy({ folder, podAddresses }: NodeSettings): object {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'nftables',
    clientConnection: { kubeconfig: join(folder, 'kubeconfig') },
    clusterCIDR: podAddresses,
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' }, // these are of the whole machine
  };
}

/** `names` is a folder of files like /etc/hosts. */
function dnsmasq({ folder, address, clusterDomain }: NodeSettings): string {
  return [`listen-address=${address}`, 'bind-interfaces', 'no-resolv', 'no-hosts', 'user=root', 'pid-file=/run/dnsmasq.pid', `local=/${clusterDomain}/`, `hostsdir=${join(folder, 'names')}`, ''].join('\n');
}
