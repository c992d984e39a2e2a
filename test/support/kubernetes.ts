/** A real Kubernetes API server with its etcd, on loopback, with role-based access control and without a node. */
import { Health, KubeConfig } from '@kubernetes/client-node';
import { createPublicKey, generateKeyPairSync, hash, randomBytes, sign } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createProcesses, findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { requirePeer } from './peers.ts';
import { makePki } from './pki.ts';
import { startSlowLink, type SlowLink } from './slow-link.ts';

export interface Client {
  readonly token?: string;
  /** HOST:PORT. */
  readonly address?: string;
}

/** Where a server is that has nodes: a host with a network of its own, which its pods are in too. */
export interface ServerHost {
  /** What stands before a command and starts it there. */
  readonly enter: readonly string[];
  /** Its own, by which pods reach it. */
  readonly address: string;
  /** `127.0.0.1:PORT` here, which leads to a port there. */
  readonly lead: (port: number) => Promise<string>;
}

/** A request that somebody made. */
export interface ApiUse {
  readonly user: string;
  /** As roles have it: `list`, `patch` and so on. */
  readonly verb: string;
  readonly group: string;
  /** With its subresource, as in `externalservices/status`. */
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
  readonly isAllowed: boolean;
  /** When the server heard it, since the epoch. */
  readonly atMs: number;
}

export interface KubernetesServer {
  readonly url: string;
  readonly caPem: string;
  /** Of a user in `system:masters`. */
  readonly adminToken: string;
  readonly port: number;
  /** The key that signs service accounts' tokens: a file, for the controller manager. */
  readonly accountsKeyFile: string;
  readonly caFile: string;
  /** A kubeconfig for whoever has the token, by default the administrator, to the server's own address or another that leads there. */
  kubeConfig(who?: Client): KubeConfig;
  /** The same as a file. */
  kubeConfigFile(who?: Client): Promise<string>;
  /** A service account's token with these claims, signed as by the server itself. */
  signToken(claims: object): string;
  /** Ends it, as a crash would, and starts it again on the same etcd and port. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  /** Lets etcd stand still, as a full disk does, and go on: requests wait meanwhile. */
  freezeEtcd(): void;
  thawEtcd(): void;
  /** By which it reaches etcd, where that was asked for. */
  readonly etcdLink: SlowLink | undefined;
  /** Forgets all history up to now. */
  compact(): Promise<void>;
  /** Requests for resources up to now, where the server was to record them; a watch from its beginning on. */
  uses(): Promise<readonly ApiUse[]>;
  stop(): Promise<void>;
}

export interface KubernetesOptions {
  /** Who asked for what, for `uses`. */
  readonly record?: boolean;
  /** Default: this one, on loopback and without pods. */
  readonly host?: ServerHost;
  /** Have it reach etcd by a link that can be slow. */
  readonly linkToEtcd?: boolean;
}

const readyWithinMs = 60_000;
/** Where an API server is in most clusters: what NetworkPolicies let through. */
const usualPort = 6_443;

/** A server for the tests of a `describe`, from before the first to after the last: what comes back gives it, once it is there. */
export function useKubernetes(suite: Mocha.Suite, options: KubernetesOptions = {}): () => KubernetesServer {
  suite.timeout(60_000);
  let server: KubernetesServer | undefined;
  before(async function () {
    server = await startKubernetes({ etcd: requirePeer(this, 'etcd'), apiserver: requirePeer(this, 'kubeApiserver') }, options);
  });
  after(() => server?.stop());
  return () => {
    if (server === undefined) throw new Error('the server is asked for before it is there');
    return server;
  };
}

/** The programs, by their paths. */
export interface KubernetesPrograms {
  readonly etcd: string;
  readonly apiserver: string;
}

/** Resolves when it is ready, some four seconds later. */
export async function startKubernetes(programs: KubernetesPrograms, { record = false, linkToEtcd = false, host }: KubernetesOptions = {}): Promise<KubernetesServer> {
  const base = await mkdtemp(join(tmpdir(), 'sallyport-kubernetes-'));
  const file = (name: string): string => join(base, name);
  const [etcdPort, etcdPeerPort, freePort] = (await findFreePorts(3)) as [number, number, number];
  const port = host === undefined ? freePort : usualPort;
  const reachedAt = (await host?.lead(port)) ?? `127.0.0.1:${port}`;
  const url = `https://${reachedAt}`;
  const adminToken = randomBytes(16).toString('hex');
  const pki = makePki();
  const server = pki.issue('', { names: [{ type: 'ip', value: '127.0.0.1' }, { type: 'ip', value: '10.0.0.1' }, { type: 'dns', value: 'kubernetes.default.svc' }] });
  const accounts = generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });
  await Promise.all([
    writeFile(file('server.pem'), server.certificateChainPem),
    writeFile(file('server-key.pem'), server.privateKeyPem, { mode: 0o600 }),
    writeFile(file('ca.pem'), pki.rootPem),
    writeFile(file('accounts.pem'), accounts.publicKey),
    writeFile(file('accounts-key.pem'), accounts.privateKey, { mode: 0o600 }),
    writeFile(file('audit-policy.json'), JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', omitStages: ['RequestReceived'], rules: [{ level: 'Metadata' }] })),
    writeFile(file('tokens.csv'), `${adminToken},administrator,administrator,system:masters\n`, { mode: 0o600 }),
  ]);
  const processes = createProcesses(base, process.env, { enter: () => host?.enter ?? [] });
  process.once('exit', processes.killAll);
  processes.startProgram('etcd', programs.etcd, [`--data-dir=${file('etcd')}`, `--listen-client-urls=http://127.0.0.1:${etcdPort}`, `--advertise-client-urls=http://127.0.0.1:${etcdPort}`, `--listen-peer-urls=http://127.0.0.1:${etcdPeerPort}`, '--unsafe-no-fsync']);
  const etcdLink = linkToEtcd ? await startSlowLink(etcdPort) : undefined;

  async function start(): Promise<void> {
    processes.startProgram('apiserver', programs.apiserver, [
      `--etcd-servers=http://127.0.0.1:${etcdLink?.port ?? etcdPort}`,
      ...(host === undefined ? ['--bind-address=127.0.0.1', '--advertise-address=127.0.0.1', '--endpoint-reconciler-type=none', '--disable-admission-plugins=ServiceAccount'] : ['--bind-address=0.0.0.0', `--advertise-address=${host.address}`, '--kubelet-preferred-address-types=InternalIP']),
      `--secure-port=${port}`,
      `--tls-cert-file=${file('server.pem')}`,
      `--tls-private-key-file=${file('server-key.pem')}`,
      `--token-auth-file=${file('tokens.csv')}`,
      '--authorization-mode=RBAC',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-signing-key-file=${file('accounts-key.pem')}`,
      `--service-account-key-file=${file('accounts.pem')}`,
      '--service-cluster-ip-range=10.0.0.0/16',
      ...(record ? [`--audit-policy-file=${file('audit-policy.json')}`, `--audit-log-path=${file('audit.log')}`] : []),
    ]);
    const health = new Health(kubeConfig());
    await waitFor('the API server', readyWithinMs, async () => ((await health.readyz({}).catch(() => false)) ? true : undefined)).catch(async (error: unknown) => {
      throw new Error((await readFile(file('apiserver.log'), 'utf8')).slice(-2_000), { cause: error });
    });
  }

  function kubeConfig({ token = adminToken, address = reachedAt }: Client = {}): KubeConfig {
    const config = new KubeConfig();
    config.loadFromOptions({
      clusters: [{ name: 'test', server: `https://${address}`, caData: Buffer.from(pki.rootPem).toString('base64') }],
      users: [{ name: 'test', token }],
      contexts: [{ name: 'test', cluster: 'test', user: 'test' }],
      currentContext: 'test',
    });
    return config;
  }

  const stop = async (): Promise<void> => {
    await processes.kill('apiserver');
    etcdLink?.close();
    await processes.kill('etcd');
    process.off('exit', processes.killAll);
    await rm(base, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url,
    caPem: pki.rootPem,
    adminToken,
    kubeConfig,
    port,
    accountsKeyFile: file('accounts-key.pem'),
    caFile: file('ca.pem'),
    kubeConfigFile: async (who) => {
      const path = file(`kubeconfig-${randomBytes(4).toString('hex')}`);
      await writeFile(path, kubeConfig(who).exportConfig(), { mode: 0o600 });
      return path;
    },
    signToken: (claims) => {
      const text = [{ alg: 'RS256', kid: keyId(accounts.publicKey) }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
      return `${text}.${sign('sha256', Buffer.from(text), accounts.privateKey).toString('base64url')}`;
    },
    kill: () => processes.kill('apiserver'),
    restart: start,
    freezeEtcd: () => void process.kill(processes.pid('etcd'), 'SIGSTOP'),
    thawEtcd: () => void process.kill(processes.pid('etcd'), 'SIGCONT'),
    etcdLink,
    compact: async () => {
      const post = async (path: string, body: object): Promise<Response> => fetch(`http://127.0.0.1:${etcdPort}/v3/kv/${path}`, { method: 'POST', body: JSON.stringify(body) });
      const { header } = (await (await post('range', { key: 'AA==' })).json()) as { readonly header: { readonly revision: string } };
      const answer = await post('compaction', { revision: header.revision, physical: true });
      if (!answer.ok) throw new Error(`etcd says ${await answer.text()}`);
    },
    uses: async () => (await readFile(file('audit.log'), 'utf8')).split('\n').slice(0, -1).flatMap((line) => useOf(JSON.parse(line) as AuditEvent)),
    stop,
  };
}

/** https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/ */
interface AuditEvent {
  readonly stage: string;
  readonly verb: string;
  readonly requestReceivedTimestamp: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly apiGroup?: string; readonly resource: string; readonly subresource?: string; readonly namespace?: string; readonly name?: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Once for each request: of a watch its beginning is told, and its end. */
function useOf({ stage, verb, requestReceivedTimestamp, user, objectRef, annotations = {} }: AuditEvent): readonly ApiUse[] {
  if (objectRef === undefined || stage !== (verb === 'watch' ? 'ResponseStarted' : 'ResponseComplete')) return [];
  const { apiGroup = '', resource, subresource, namespace = '', name = '' } = objectRef;
  return [{ user: user.username, verb, group: apiGroup, resource: subresource === undefined ? resource : `${resource}/${subresource}`, namespace, name, isAllowed: annotations['authorization.k8s.io/decision'] === 'allow', atMs: Date.parse(requestReceivedTimestamp) }];
}

/** As kube-apiserver names its keys: the SHA-256 of the public key in DER. */
function keyId(publicKeyPem: string): string {
  return hash('sha256', createPublicKey(publicKeyPem).export({ type: 'spki', format: 'der' }), 'buffer').toString('base64url');
}
