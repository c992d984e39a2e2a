/**
 * Whom a command asks. Without Kubernetes that is a control plane's admin API, for everything. With it, desired state is the API server's,
 * asked with the user's own kubeconfig; and answers are those of the control plane's pods, whose admin API is a Unix socket that `kubectl exec`
 * leads to, by the rights that Kubernetes gives (docs/decisions/0760).
 */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Option, type Command } from 'commander';
import { createAdminClient, type AdminClient } from '../api/admin-client.ts';
import { SallyportError } from '../core/errors.ts';
import { parseSpiffeId } from '../core/spiffe-id.ts';
import type { UserCluster } from '../kubernetes/index.ts';
import { addClusterOptions, clusterChoiceOf, type ClusterOptions } from './cluster-options.ts';
import { defaultSocketPath, isKubectlPlugin, readFile, type CliContext } from './context.ts';
import { desiredObjectsAtCluster, desiredObjectsAtServer, type DesiredObjects } from './desired-objects.ts';
import { openInPod } from './kubectl.ts';

interface TargetOptions extends ClusterOptions {
  readonly server?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly trustBundle?: string;
  readonly serverIdentity?: string;
  readonly sallyportNamespace: string;
}

const helpGroup = 'Control plane:';

/** Adds the options that say whom to ask. */
export function withServerOptions(command: Command): Command {
  command
    .addOption(new Option('--server <address>', 'control plane: the path of its Unix socket, or HOST:PORT for mTLS').env('SALLYPORT_SERVER').helpGroup(helpGroup))
    .addOption(new Option('--cert <file>', "administrator's certificate chain, PEM (mTLS)").env('SALLYPORT_CERT').helpGroup(helpGroup))
    .addOption(new Option('--key <file>', 'its private key, PEM (mTLS)').env('SALLYPORT_KEY').helpGroup(helpGroup))
    .addOption(new Option('--trust-bundle <file>', 'trust bundle, PEM (mTLS)').env('SALLYPORT_TRUST_BUNDLE').helpGroup(helpGroup))
    .addOption(new Option('--server-identity <spiffe-id>', "the control plane's SPIFFE ID (mTLS)").default('spiffe://cluster.local/ns/sallyport-system/sa/control').env('SALLYPORT_SERVER_IDENTITY').helpGroup(helpGroup));
  return addClusterOptions(command, helpGroup).addOption(new Option('--sallyport-namespace <name>', 'where the control plane is (Kubernetes)').default('sallyport-system').env('SALLYPORT_NAMESPACE').helpGroup(helpGroup));
}

/** In the words of a command's `-n`. */
export const namespaceFlags = ['-n, --namespace <namespace>', 'namespace (default: "default"; on Kubernetes that of the kubeconfig\'s context)'] as const;

export type Target = 'server' | 'cluster';

/** What there is to decide by. */
export interface Surroundings {
  /** `--kubeconfig` or `--context` was given, `--server` was. */
  readonly namesCluster: boolean;
  readonly namesServer: boolean;
  readonly env: CliContext['env'];
  readonly socketPath: string;
  readonly exists: (path: string) => boolean;
}

/** What is said outright goes before what is said by the environment, and that before what is there. Throws `usage` and `unavailable`. */
export function chooseTarget({ namesCluster, namesServer, env, socketPath, exists }: Surroundings): { readonly target: Target; /** Nobody has said so. */ readonly isGuess: boolean } {
  if (namesCluster && namesServer) throw new SallyportError('usage', 'a control plane is named, and a cluster too', { hint: 'give either --server, or --kubeconfig and --context' });
  if (namesCluster) return { target: 'cluster', isGuess: false };
  if (namesServer) return { target: 'server', isGuess: false };
  if (isKubectlPlugin(env)) return { target: 'cluster', isGuess: false };
  if (env['SALLYPORT_SERVER'] !== undefined || env['SALLYPORT_SOCKET'] !== undefined) return { target: 'server', isGuess: false };
  if (exists(socketPath)) return { target: 'server', isGuess: true };
  if (kubeconfigPaths(env).some(exists)) return { target: 'cluster', isGuess: true };
  throw new SallyportError('unavailable', `no control plane is here: there is no socket at ${JSON.stringify(socketPath)}, and no kubeconfig`, {
    place: socketPath,
    hint: 'start one with "sallyport serve", or name it with --server; one on Kubernetes: name the cluster with --kubeconfig',
  });
}

/** Not the pod's own service account: whoever means that says so. */
function kubeconfigPaths(env: CliContext['env']): readonly string[] {
  return env['KUBECONFIG']?.split(delimiter).filter((path) => path !== '') ?? [join(env['HOME'] ?? homedir(), '.kube', 'config')];
}

function targetOf(context: CliContext, command: Command): { readonly target: Target; readonly isGuess: boolean } {
  const isGiven = (option: keyof TargetOptions): boolean => command.getOptionValueSource(option) === 'cli';
  return chooseTarget({ namesCluster: isGiven('kubeconfig') || isGiven('context'), namesServer: isGiven('server'), env: context.env, socketPath: defaultSocketPath(context.env), exists: existsSync });
}

/** Null: Kubernetes is not meant. */
export async function clusterOf(context: CliContext, command: Command): Promise<UserCluster | null> {
  const { target, isGuess } = targetOf(context, command);
  if (target === 'server') return null;
  const { openUserCluster } = await import('../kubernetes/index.ts');
  const cluster = await openUserCluster(clusterChoiceOf(command.opts<TargetOptions>()), (text) => context.say(`warning: ${text}`));
  // Whoever has not said so should see what is asked, and changed.
  if (isGuess) context.say(`no control plane runs here: asking the cluster of context ${JSON.stringify(cluster.context)}`);
  return cluster;
}

/** Objects of desired state, wherever they are. */
export async function desiredObjectsOf(context: CliContext, command: Command): Promise<DesiredObjects> {
  const cluster = await clusterOf(context, command);
  return cluster === null ? desiredObjectsAtServer(serverClientOf(context, command.opts())) : desiredObjectsAtCluster(cluster);
}

/** A control plane to ask; on Kubernetes the replica that leads. */
export async function adminClientOf(context: CliContext, command: Command): Promise<AdminClient> {
  return (await replicasOf(context, command))[0].client;
}

export interface ReplicaClient {
  /** Empty where there is one only. */
  readonly name: string;
  readonly client: AdminClient;
}

/** All replicas of the control plane, the one that leads first; without Kubernetes there is one. */
export async function replicasOf(context: CliContext, command: Command): Promise<readonly [ReplicaClient, ...ReplicaClient[]]> {
  return await replicasAt(await clusterOf(context, command), context, command);
}

/** The same where it is known which cluster is meant, if one is. */
export async function replicasAt(cluster: UserCluster | null, context: CliContext, command: Command): Promise<readonly [ReplicaClient, ...ReplicaClient[]]> {
  const options = command.opts<TargetOptions>();
  if (cluster === null) return [{ name: '', client: serverClientOf(context, options) }];
  const { sallyportNamespace: namespace } = options;
  const [first, ...others] = (await cluster.replicas(namespace)).map(({ name }) => ({ name, client: createAdminClient({ kind: 'stream', name: `pod ${name}`, open: () => openInPod({ ...options, namespace, pod: name }) }) }));
  return [first!, ...others];
}

function serverClientOf(context: CliContext, options: TargetOptions): AdminClient {
  const { server = defaultSocketPath(context.env) } = options;
  const endpoint = /^(?:\[([^\]]+)\]|([^/:]+)):([0-9]{1,5})$/.exec(server);
  if (endpoint === null) return createAdminClient({ kind: 'unix', socketPath: server });
  const { cert, key, trustBundle, serverIdentity = '' } = options;
  if (cert === undefined || key === undefined || trustBundle === undefined) {
    throw new SallyportError('usage', `${JSON.stringify(server)} is spoken to with mTLS, which needs --cert, --key and --trust-bundle`, { hint: 'make a certificate: sallyport cert issue --purpose admin SPIFFE-ID' });
  }
  const identity = parseSpiffeId(serverIdentity);
  if (!identity.ok) throw new SallyportError('usage', identity.reason, { place: '--server-identity' });
  return createAdminClient({
    kind: 'mtls',
    host: endpoint[1] ?? endpoint[2]!,
    port: Number(endpoint[3]),
    certificateChainPem: readFile(cert),
    privateKeyPem: readFile(key),
    trustBundlePem: readFile(trustBundle),
    serverIdentity: identity.id,
  });
}
