import type { Logger } from 'pino';
import { typeUrls } from '../api/type-urls.ts';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import { SallyportError } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { createIdentity, readTrustBundleSecret, trustBundleSubscription, type IdentityOptions, type IdentityStatus, type WorkloadIdentity } from '../identity/index.ts';
import { createDeltaClient, type DeltaClient, type DeltaUpdate } from '../xds/index.ts';
import { createGatewayDialler } from './gateway-dialler.ts';
import { openHealthListener } from './health-listener.ts';
import { agentLimits, type AgentLimits } from './limits.ts';
import { writeSvidFiles } from './svid-files.ts';
import { createUpstreamSet, type UpstreamStatus } from './upstream-set.ts';
import { createUpstreamStore, type HeldUpstreams } from './upstream-store.ts';
import { isLoopback } from '../core/ip-address.ts';
import { readUpstream } from './upstream.ts';

export interface AgentOptions extends Omit<IdentityOptions, 'identityAddress' | 'log'> {
  /** The control plane's services for those who have a certificate (IdentityService and ADS), `host:port`. */
  readonly controlAddress: string;
  /** Where to write SVID, key and bundle for other programs, if anywhere. */
  readonly svidDirectory?: string;
  /** Offers upstreams on this loopback address instead of the one that they name: for several agents on one host. */
  readonly listenAddress?: IpAddress;
  /** Where to serve `/livez` and `/readyz`, if anywhere; beyond loopback it says no more than whether. */
  readonly health?: Endpoint;
  /** Of this program, as the control plane is told it. */
  readonly version: string;
  readonly log: Logger;
  readonly limits?: Partial<AgentLimits>;
}

export interface AgentStatus {
  /** The identity is valid and the upstreams are known, from the control plane or from disk. */
  readonly ready: boolean;
  readonly identity: IdentityStatus;
  readonly controlPlane: 'connected' | 'disconnected';
  readonly upstreams: readonly UpstreamStatus[];
}

export interface Agent {
  status(): AgentStatus;
  /** Asks for a new certificate at once. */
  renewNow(): void;
  /** Where health is served; null where it is not. */
  readonly healthPort: number | null;
  /** Ends every connection and listener. What is on disk stays. */
  stop(): Promise<void>;
}

/**
 * Runs an agent until it is stopped: holds the workload's identity and offers it the upstreams that the control plane names.
 * Resolves as soon as it runs, which needs neither control plane nor gateway. Throws SallyportError for options that cannot work.
 */
export async function runAgent(options: AgentOptions): Promise<Agent> {
  const { log, now, random, listenAddress } = options;
  if (listenAddress !== undefined && !isLoopback(listenAddress)) {
    throw new SallyportError('usage', `"${listenAddress}" is not a loopback address`, { hint: 'an agent listens on loopback addresses only: 127.0.0.0/8 or ::1' });
  }
  const limits = { ...agentLimits, ...options.limits };
  const identity = createIdentity({ ...options, identityAddress: options.controlAddress });
  const upstreams = createUpstreamSet({ dial: createGatewayDialler(identity, { now, dialTimeoutMs: limits.dialTimeoutMs }), limits, now, random, log });
  const store = options.stateDirectory === undefined ? undefined : createUpstreamStore(options.stateDirectory, (error) => log.warn({ err: error }, 'upstreams on disk cannot be used'));

  let held: HeldUpstreams | undefined;
  let client: DeltaClient | undefined;
  let stopped = false;
  let writing: Promise<void> = Promise.resolve();

  /** One write to disk after the other, off the path of whoever waits for what is written. */
  function writeLater(what: string, write: () => Promise<void>): void {
    writing = writing.then(write).catch((error: unknown) => log.warn({ err: error }, `${what} cannot be written`));
  }

  const placeHere = (upstream: AgentUpstream): AgentUpstream => (listenAddress === undefined ? upstream : { ...upstream, listen: { ...upstream.listen, address: listenAddress } });

  /** Throws where any of them cannot be read, and then changes nothing. */
  function offer(next: HeldUpstreams): void {
    upstreams.apply([...next].map(([name, { value }]) => placeHere(readUpstream(name, value))));
    held = next;
  }

  function takeUpdate({ typeUrl, changed, removed }: DeltaUpdate, { spiffeId }: WorkloadIdentity): void {
    if (typeUrl === trustBundleSubscription.typeUrl) {
      for (const { value } of changed) identity.setTrustBundle(readTrustBundleSecret(value));
      return;
    }
    const next = new Map(held);
    for (const name of removed) next.delete(name);
    for (const { name, version, value } of changed) next.set(name, { version, value });
    offer(next);
    log.info({ spiffeId, upstreams: next.size }, 'upstreams received');
    if (store !== undefined) writeLater('upstreams', () => store.save(spiffeId, next));
  }

  /** With the first identity: it decides which upstreams there are. */
  async function begin(first: WorkloadIdentity): Promise<void> {
    const saved = (await store?.load(first.spiffeId)) ?? new Map();
    if (stopped) return;
    if (saved.size > 0) restore(saved);
    client = createDeltaClient({
      connect: () => identity.controlEndpoint(options.controlAddress),
      node: { id: first.spiffeId, cluster: 'agent', userAgentName: 'sallyport-agent', userAgentVersion: options.version },
      subscriptions: [{ typeUrl: typeUrls.agentUpstream, names: '*' }, trustBundleSubscription],
      initialVersions: () => new Map([[typeUrls.agentUpstream, new Map([...(held ?? [])].map(([name, { version }]) => [name, version]))]]),
      onUpdate: (update) => takeUpdate(update, first),
      onState: (state, detail) => log.info({ controlPlane: state, ...detail }, 'control plane'),
      random,
      now,
    });
  }

  function restore(saved: HeldUpstreams): void {
    try {
      offer(saved);
      log.info({ upstreams: saved.size }, 'upstreams restored from disk');
    } catch (error) {
      log.warn({ err: error }, 'upstreams on disk cannot be used');
    }
  }

  function status(): AgentStatus {
    const identityStatus = identity.status();
    const valid = identityStatus.phase === 'valid' || identityStatus.phase === 'renewing';
    return { ready: valid && held !== undefined, identity: identityStatus, controlPlane: client?.connected === true ? 'connected' : 'disconnected', upstreams: upstreams.status() };
  }

  const health = options.health === undefined ? undefined : await openHealthListener(options.health, status);
  let beginning: Promise<void> | undefined;
  const follow = (current: WorkloadIdentity) => {
    beginning ??= begin(current);
    const { svidDirectory } = options;
    if (svidDirectory !== undefined) writeLater('svid files', () => writeSvidFiles(svidDirectory, current));
  };
  identity.subscribe(follow);
  try {
    await identity.start();
  } catch (error) {
    await health?.close();
    throw error;
  }

  return {
    status,
    renewNow: () => identity.renewNow(),
    healthPort: health?.port ?? null,
    async stop() {
      stopped = true;
      await beginning;
      client?.close();
      await Promise.all([identity.stop(), upstreams.stop(), health?.close()]);
      await writing;
    },
  };
}
