/** `sallyport kernel-gateway`: what the control plane says, in force on this host. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { startStateReport } from '../api/gateway-state.ts';
import type { RecordContext } from '../backends/kernel/index.ts';
import { SallyportError } from '../core/errors.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { createTableStore, emptyTable, openProbeListener, type HeldTable, type ProbeListener, type TableStore } from '../gateway/index.ts';
import { createIdentity, readTrustBundleSecret, trustBundleSubscription, type IdentityOptions, type IdentityStatus, type WorkloadIdentity } from '../identity/index.ts';
import { createDeltaClient, type DeltaClient, type DeltaUpdate } from '../xds/index.ts';
import { placeOf, type KernelDriver } from './driver.ts';
import { createEnforcement, type Enforced, type EnforcementStatus } from './enforcement.ts';
import { nodeOf, stateOf } from './gateway-state.ts';
import { holdKernelUpdate, kernelTableTypes, readKernelTable, type KernelTable } from './kernel-table.ts';
import { openKernelLedger, type KernelLedgerStatus } from './kernel-ledger.ts';
import { createKernelMetrics } from './metrics.ts';
import type { RunProgram } from './run-program.ts';

export interface KernelGatewayOptions extends Omit<IdentityOptions, 'identityAddress' | 'log' | 'stateDirectory'> {
  /** The EgressGateway's name. */
  readonly name: string;
  /** The control plane's services for those who have a certificate, `host:port`. */
  readonly controlAddress: string;
  /** Identity, last good table, spool, and which connections are open, each in a directory of its own; this process's alone. */
  readonly stateDirectory: string;
  readonly driver: KernelDriver;
  /** How the kernel is asked what it has refused, and whether this router is in charge. */
  readonly run: RunProgram;
  /** False for one of a pair, whose SNAT addresses are at one router at a time. */
  readonly isAlone: boolean;
  /** Where to serve `/livez`, `/readyz` and `/metrics`, if anywhere: a loopback address. */
  readonly health?: Endpoint;
  /** How often it is looked whether somebody else has changed what is in force. */
  readonly driftCheckMs?: number;
  /** Of this program, as the control plane is told it. */
  readonly version: string;
  readonly log: Logger;
}

export interface KernelGatewayStatus extends EnforcementStatus {
  /** The newest table is in force, and nobody has changed it. It needs neither the control plane nor a certificate that is still good. */
  readonly ready: boolean;
  readonly identity: IdentityStatus;
  readonly controlPlane: 'connected' | 'disconnected';
  readonly ledger: KernelLedgerStatus;
}

export interface KernelGateway {
  status(): KernelGatewayStatus;
  /** Where health and metrics are served; null where they are not. */
  readonly healthPort: number | null;
  /** Ends the process's part. What is in force stays, and so do connections: the next one goes on from there. */
  stop(): Promise<void>;
}

/** Reading the table back takes half a second at 10,000 grants. */
const driftCheckDefaultMs = 15_000;
/** What was refused is asked for again, since what was in its way may be gone: an interface that was not there yet. */
const retryRefusedMs = 5_000;

/**
 * Runs a gateway until it is stopped. With a table from an earlier run it is in force as soon as this resolves, without the control plane. Throws
 * SallyportError `kernel-unable` on a host that cannot do it, and for options and state that cannot work.
 */
export async function runKernelGateway(options: KernelGatewayOptions): Promise<KernelGateway> {
  const { name, driver, now, random, stateDirectory, log, driftCheckMs = driftCheckDefaultMs } = options;
  await driver.check();
  const identity = createIdentity({ ...options, identityAddress: options.controlAddress, stateDirectory: join(stateDirectory, 'identity') });
  const store = createTableStore(join(stateDirectory, 'table'));
  const enforcement = createEnforcement(driver, (change) => ledger.describe(contextOf(change), placeOf(change.rendering)));
  const ledger = await openKernelLedger({ stateDirectory, run: options.run, isAlone: options.isAlone, undisturbed: enforcement.undisturbed, now, random, log });
  const metrics = createKernelMetrics({ status: enforcement.status, ledger: ledger.status, counters: enforcement.counters, identityExpiry: () => (identity.current?.expiresAtMs ?? 0) / 1_000 });

  let held: HeldTable = emptyTable;
  let client: DeltaClient | undefined;
  let report: { close(): void } | undefined;
  let retry: NodeJS.Timeout | undefined;

  async function enforce(table: KernelTable): Promise<void> {
    const startedMs = performance.now();
    const took = (): number => (performance.now() - startedMs) / 1_000;
    try {
      await enforcement.enforce(table);
    } catch (error) {
      metrics.countChange('refused', took());
      log.error({ err: error, revision: table.revision }, 'the table is not in force; what was before still is');
      throw error;
    }
    metrics.countChange('applied', took());
    log.info({ revision: table.revision, servicePorts: table.servicePorts.length, addresses: table.addresses.size }, 'the table is in force');
  }

  /** With the word of the control plane that it is so; what cannot be put in force is not held, and asked for again. */
  async function takeUpdate(update: DeltaUpdate): Promise<void> {
    if (update.typeUrl === trustBundleSubscription.typeUrl) {
      for (const { value } of update.changed) identity.setTrustBundle(readTrustBundleSecret(value));
      return;
    }
    const next = holdKernelUpdate(held, update);
    try {
      const table = readKernelTable(next);
      const { revision, fault } = enforcement.status();
      const isInForce = update.changed.length + update.removed.length === 0 && revision === next.revision && fault === null;
      if (table !== undefined && !isInForce) await enforce(table);
    } catch (error) {
      retry ??= setTimeout(() => {
        retry = undefined;
        client?.reconnect();
      }, retryRefusedMs);
      throw error;
    }
    held = next;
    await save();
  }

  /** A disk that is full costs the next restart, not this run. */
  async function save(): Promise<void> {
    await store.save(held).catch((error: unknown) => log.warn({ err: error }, 'the table cannot be saved'));
  }

  /** What was in force before this process: the kernel has it still, but for a restart of the host. */
  async function restore(): Promise<void> {
    const saved = await loadTable(store, name, log);
    if (saved === undefined) return;
    held = saved.held;
    await enforce(saved.table).catch(() => undefined); // told; the next look at drift tries again
  }

  async function look(): Promise<void> {
    const missing = enforcement.status().revision === null ? readKernelTable(held) : undefined;
    if (missing !== undefined) {
      await enforce(missing);
      return;
    }
    const found = await enforcement.checkDrift();
    if (found.length === 0) return;
    metrics.countDrift();
    log.warn({ drift: found.slice(0, 10), repaired: enforcement.status().drift.length === 0 }, 'somebody else has changed what is in force');
  }

  function begin({ spiffeId }: WorkloadIdentity): void {
    const host = hostname();
    const node = nodeOf(spiffeId, host);
    client ??= createDeltaClient({
      connect: () => identity.controlEndpoint(options.controlAddress),
      node: { id: node, cluster: name, userAgentName: 'sallyport-kernel-gateway', userAgentVersion: options.version },
      subscriptions: [...kernelTableTypes.map((typeUrl) => ({ typeUrl, names: '*' as const })), trustBundleSubscription],
      initialVersions: () => new Map([...held.types].map(([typeUrl, resources]) => [typeUrl, new Map([...resources].map(([resource, { version }]) => [resource, version]))])),
      onUpdate: takeUpdate,
      onState: (state, detail) => log.info({ controlPlane: state, ...detail }, 'control plane'),
      random,
      now,
    });
    ledger.deliver(() => identity.controlEndpoint(options.controlAddress));
    report ??= startStateReport({
      process: randomUUID(),
      listener: () => (identity.current === undefined ? undefined : { address: options.controlAddress, shown: identity.current, endpoint: () => identity.controlEndpoint(options.controlAddress) }),
      state: () => stateOf(node, host, enforcement.status()),
      onFailure: (error) => log.debug({ err: error }, 'the control plane cannot be told how this gateway is'),
      now,
    });
  }

  function status(): KernelGatewayStatus {
    const own = enforcement.status();
    return { ready: own.revision !== null && own.fault === null && own.drift.length === 0, identity: identity.status(), controlPlane: client?.connected === true ? 'connected' : 'disconnected', ledger: ledger.status(), ...own };
  }

  let looking: Promise<void> | undefined;
  const drifts = setInterval(() => {
    looking ??= look()
      .catch((error: unknown) => log.error({ err: error }, 'what is in force could not be looked at, or put back'))
      .finally(() => (looking = undefined));
  }, driftCheckMs);
  let probes: ProbeListener | undefined;

  async function stop(): Promise<void> {
    clearInterval(drifts);
    clearTimeout(retry);
    client?.close();
    report?.close();
    await Promise.all([identity.stop(), probes?.close(), looking]);
    await enforcement.settled();
    await ledger.close();
  }

  try {
    await restore();
    identity.subscribe(begin);
    if (options.health !== undefined) probes = await openProbeListener(options.health, { status, metrics });
    await identity.start();
  } catch (error) {
    await stop();
    throw error;
  }
  return { status, healthPort: probes?.port ?? null, stop };
}

function contextOf({ table: { revision, settings, servicePorts, addresses }, rendering: { grants } }: Enforced): RecordContext {
  return { origin: settings.name, revision, trustDomain: settings.trustDomain, servicePorts, grants, addresses };
}

async function loadTable(store: TableStore, name: string, log: Logger): Promise<{ readonly held: HeldTable; readonly table: KernelTable } | undefined> {
  try {
    const held = await store.load();
    const table = held === undefined ? undefined : readKernelTable(held);
    if (held === undefined || table === undefined) return undefined;
    if (table.settings.name !== name) throw new SallyportError('file-unreadable', `the table on disk is that of EgressGateway ${table.settings.name}`, { hint: 'give each gateway a directory of its own: --state' });
    return { held, table };
  } catch (error) {
    log.warn({ err: error }, 'the table on disk cannot be used; the control plane has to send one');
    return undefined;
  }
}

