import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { Endpoint, Revision } from '../core/plan/plan.ts';
import { createIdentity, readTrustBundleSecret, trustBundleSubscription, type IdentityOptions, type IdentityStatus, type WorkloadIdentity } from '../identity/index.ts';
import { createDeltaClient, type DeltaClient, type DeltaUpdate } from '../xds/index.ts';
import { formatEndpoint } from '../core/ip-address.ts';
import { deliveryMs, openGatewaySpool } from './gateway-spool.ts';
import { createTableStore, emptyTable, holdUpdate, isComplete, tableTypes, wholeTable, type HeldTable } from './held-table.ts';
import { startLedgerShipper, type LedgerShipper } from './ledger-shipper.ts';
import { createGatewayMetrics } from './metrics.ts';
import { openProbeListener, type ProbeListener } from './probe-listener.ts';
import { createPlane } from './workers.ts';

export interface GatewayOptions extends Omit<IdentityOptions, 'identityAddress' | 'log' | 'stateDirectory'> {
  /** The EgressGateway's name. */
  readonly name: string;
  /** The control plane's services for those who have a certificate, `host:port`. */
  readonly controlAddress: string;
  /** Identity, last good table and spool, each in a directory of its own; this process's alone. */
  readonly stateDirectory: string;
  /** Threads that carry connections; by default one for each core, and with 0 none beside the main thread. */
  readonly workers?: number;
  /** Where to serve `/livez`, `/readyz` and `/metrics`, if anywhere: a loopback address. */
  readonly health?: Endpoint;
  /** Of this program, as the control plane is told it. */
  readonly version: string;
  readonly log: Logger;
}

export interface GatewayStatus {
  /** The identity is valid, there is a table, every listener of it is open, and records can be kept. */
  readonly ready: boolean;
  readonly identity: IdentityStatus;
  readonly controlPlane: 'connected' | 'disconnected';
  readonly revision: Revision | null;
  readonly listening: boolean;
  readonly ledger: { readonly state: 'ready' | 'full' | 'failed'; readonly waiting: number };
}

export interface Gateway {
  status(): GatewayStatus;
  /** Asks for a new certificate at once. */
  renewNow(): void;
  /** Where health and metrics are served; null where they are not. */
  readonly healthPort: number | null;
  /** Takes no new connection, waits up to `drainMs` for those that live, ends the rest, and keeps their records. */
  stop(drainMs?: number): Promise<void>;
}

const drainDefaultMs = 5_000;
/** How soon a spool that has room again lets connections out again. */
const spoolCheckMs = 250;

/**
 * Runs a gateway until it is stopped. Resolves as soon as it runs, which needs no control plane: with an identity and a table from
 * an earlier run it serves what was allowed then, and nothing more. Throws SallyportError for options and state that cannot work.
 */
export async function runGateway(options: GatewayOptions): Promise<Gateway> {
  const { name, log, now, random, stateDirectory } = options;
  const identity = createIdentity({ ...options, identityAddress: options.controlAddress, stateDirectory: join(stateDirectory, 'identity') });
  const store = createTableStore(join(stateDirectory, 'table'));
  const spool = await openGatewaySpool(stateDirectory, log);
  const plane = createPlane({ workers: options.workers ?? availableParallelism(), events: { records: takeRecords, listenerFault, unrecorded: (thread, count) => metrics.setUnrecorded(thread, count) }, now, random });
  const metrics = createGatewayMetrics({ spooledRecords: waitingRecords, identityExpiry: () => (identity.current?.expiresAtMs ?? 0) / 1_000 });

  let held: HeldTable = emptyTable;
  let phase: 'waiting' | 'serving' | 'stopped' = 'waiting';
  let client: DeltaClient | undefined;
  let shipper: LedgerShipper | undefined;
  let accepting = true;
  let listening = false;
  const faults = new Set<string>();

  function takeRecords(records: readonly LedgerRecord[]): void {
    for (const record of records) {
      void spool.append(record);
      if (record.type === 'connection-denied') log.info({ ...record, decision: 'denied' }, record.detail);
      else log.debug(record);
    }
    metrics.count(records);
    checkSpool();
  }

  function checkSpool(): void {
    if (accepting === (spool.state === 'ready')) return;
    accepting = !accepting;
    plane.setAccepting(accepting);
    log.warn({ spool: spool.state, waiting: waitingRecords() }, accepting ? 'the spool has room again' : 'records cannot be kept: no new connection is let out');
  }

  function listenerFault(thread: number, endpoint: Endpoint, code: string | null): void {
    const key = `${thread} ${formatEndpoint(endpoint)}`;
    // The fault is over when the listener is open, and as well when it is not wanted any more.
    if (code === null) faults.delete(key);
    else faults.add(key);
    if (code === null) log.info({ listen: formatEndpoint(endpoint) }, 'listener is open, or no longer wanted');
    else log.warn({ listen: formatEndpoint(endpoint), code }, 'listener cannot be opened; it is tried again');
  }

  function waitingRecords(): number {
    return spool.lastSequence - (shipper?.acknowledged ?? 0);
  }

  function serve(): void {
    if (phase !== 'waiting' || identity.current === undefined || !isComplete(held)) return;
    phase = 'serving';
    const change = wholeTable(held);
    void plane.start(identity.current, change).then(() => {
      listening = true;
      log.info({ revision: held.revision, listen: change.settings?.listen.map(formatEndpoint), servicePorts: change.servicePorts?.length }, 'serving');
    });
  }

  function takeUpdate(update: DeltaUpdate): void {
    if (update.typeUrl === trustBundleSubscription.typeUrl) {
      for (const { value } of update.changed) identity.setTrustBundle(readTrustBundleSecret(value));
      return;
    }
    const { table, change } = holdUpdate(held, update);
    held = table;
    log.info({ revision: table.revision, type: update.typeUrl, changed: update.changed.length, removed: update.removed.length }, 'table received');
    if (isComplete(held)) saveTable();
    if (phase === 'serving') void plane.update(change);
    else serve();
  }

  let saving: Promise<void> | undefined;
  let unsaved = false;
  /** One write at a time, and then one of the newest. A disk that is full costs the next restart, not this run. */
  function saveTable(): void {
    unsaved = true;
    saving ??= (async () => {
      while (unsaved) {
        unsaved = false;
        await store.save(held).catch((error: unknown) => log.warn({ err: error }, 'the table cannot be saved'));
      }
      saving = undefined;
    })();
  }

  /** With the first identity, which says whose table it must be. */
  async function begin({ spiffeId }: WorkloadIdentity): Promise<void> {
    const saved = await loadTable();
    if (phase === 'stopped') return;
    if (saved !== undefined && wholeTable(saved).settings?.identity === spiffeId) {
      held = saved;
      log.info({ revision: held.revision }, 'table restored from disk');
      serve();
    }
    client = createDeltaClient({
      connect: () => identity.controlEndpoint(options.controlAddress),
      node: { id: spiffeId, cluster: name, userAgentName: 'sallyport-gateway', userAgentVersion: options.version },
      subscriptions: [...tableTypes.map((typeUrl) => ({ typeUrl, names: '*' as const })), trustBundleSubscription],
      initialVersions: () => new Map([...held.types].map(([typeUrl, resources]) => [typeUrl, new Map([...resources].map(([resource, { version }]) => [resource, version]))])),
      onUpdate: takeUpdate,
      onState: (state, detail) => log.info({ controlPlane: state, ...detail }, 'control plane'),
      random,
      now,
    });
    shipper = startLedgerShipper({ spool, connect: () => identity.controlEndpoint(options.controlAddress), random, log });
  }

  async function loadTable(): Promise<HeldTable | undefined> {
    try {
      return await store.load();
    } catch (error) {
      log.warn({ err: error }, 'the table on disk cannot be used; nothing is allowed until the control plane sends one');
      return undefined;
    }
  }

  function status(): GatewayStatus {
    const identityStatus = identity.status();
    const valid = identityStatus.phase === 'valid' || identityStatus.phase === 'renewing';
    const open = listening && phase === 'serving' && faults.size === 0;
    return {
      ready: valid && open && spool.state === 'ready',
      identity: identityStatus,
      controlPlane: client?.connected === true ? 'connected' : 'disconnected',
      revision: isComplete(held) ? held.revision : null,
      listening: open,
      ledger: { state: spool.state, waiting: waitingRecords() },
    };
  }

  let beginning: Promise<void> | undefined;
  identity.subscribe((current) => {
    beginning ??= begin(current);
    if (phase === 'serving') plane.setMaterial(current);
  });
  const spoolTimer = setInterval(checkSpool, spoolCheckMs);
  let probes: ProbeListener | undefined;

  async function stop(drainMs = drainDefaultMs): Promise<void> {
    phase = 'stopped';
    await beginning;
    client?.close();
    await plane.stop(drainMs);
    clearInterval(spoolTimer);
    await Promise.all([identity.stop(), probes?.close(), shipper?.close(deliveryMs), saving]);
    await spool.close();
  }

  try {
    if (options.health !== undefined) probes = await openProbeListener(options.health, { status, metrics });
    await identity.start();
  } catch (error) {
    await stop(0);
    throw error;
  }
  return {
    status,
    renewNow: () => identity.renewNow(),
    healthPort: probes?.port ?? null,
    stop,
  };
}
