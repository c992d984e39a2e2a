import { randomBytes, randomInt } from 'node:crypto';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Server } from 'node:http';
import type { Logger } from 'pino';
import { adminPaths, type StatusResult } from '../api/admin.ts';
import { grpcStatusOf } from '../api/grpc-service.ts';
import { defaultControlIdentity } from '../api/mesh-credentials.ts';
import { createAuthority, defaultLifetimes, noSlots, openCaDirectory, openCaStore } from '../ca/index.ts';
import { SallyportError } from '../core/errors.ts';
import { certificatesToPem } from '../core/x509/pem.ts';
import type { SpiffeId, TrustDomain } from '../core/spiffe-id.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { Plan } from '../core/plan/plan.ts';
import { openLedger, openStateStore } from '../store/index.ts';
import { createSnapshotCache, createXdsServer, debugNodes, type XdsStatus } from '../xds/index.ts';
import { createAccessLogIntake } from './access-log-intake.ts';
import { authorizeAdministrator, listenOnMutualTls, listenOnPlainHttp, listenOnUnixSocket, tlsOptions } from './admin-listener.ts';
import { createAdminRoutes } from './admin-routes.ts';
import { boxStatuses, createServerCertificates, startBigIpDrivers, type Timings } from './bigip/index.ts';
import { createCaKeeper, sameCaAs } from './ca-keeper.ts';
import { issueControlIdentity, type ControlIdentity } from './control-identity.ts';
import { createEnrolment } from './enrolment.ts';
import { createMergedReports, reportsHere } from './gateway-reports.ts';
import { createGatewayStates } from './gateway-states.ts';
import { createHttpRouter, type HttpRoute } from './http-router.ts';
import { createIssuance } from './issuance.ts';
import { openLedgerOtlp, type LedgerOtlpOptions } from './ledger-export/index.ts';
import { createLedgerIntake } from './ledger-intake.ts';
import { isAdministrator, listenForMesh, peerOf, type MeshAdmission, type MeshListener } from './mesh-listener.ts';
import { createDenialBudgets } from './denial-budgets.ts';
import { createControlMetrics } from './metrics.ts';
import { openReplicatedState, openSharedCa, startKubernetes, type KubernetesOptions, type KubernetesSide } from './kubernetes.ts';
import { createPlanner, type Planner, type PlannerOptions } from './planner.ts';
import { formOf, mayBeCalled, nodeKeyOf, proxyForms } from './proxy.ts';
import { proxyConfig } from './proxy-config.ts';
import { proxyStatuses } from './proxy-status.ts';
import { createProxySvids } from './proxy-svids.ts';
import { createPublisher, encodeAhead } from './publisher.ts';
import { createReplicaService, startLeaderReporter } from './replicas.ts';
import { sectionExpiry, type ControlSections } from './sections.ts';
import { stateOfStore } from './shared-state.ts';
import { runInSlices } from './slices.ts';
import { createSyslogReceiver, type SyslogOptions, type SyslogReceiver } from './syslog/index.ts';
import { createTurns } from './turns.ts';

/** How gateways of class bigip are driven. */
export interface BigIpOptions {
  /** A folder for each name of credentials. */
  readonly credentialsDirectory: string;
  readonly timings?: Partial<Timings>;
}

export interface ControlOptions {
  /** Holds everything that survives the process: state/, ledger/ and ca/. */
  readonly directory: string;
  readonly trustDomain: TrustDomain;
  readonly clusterDomain: string;
  /** The port that workloads and gateways speak to. */
  readonly mesh: { readonly host: string; readonly port: number };
  /** The admin API's Unix socket. */
  readonly socketPath: string;
  /** The admin API over mTLS; null for none. */
  readonly admin: { readonly host: string; readonly port: number } | null;
  /** `/livez`, `/readyz` and `/metrics` for probes and Prometheus, in plain HTTP; null for none beside the admin API. */
  readonly probe: { readonly host: string; readonly port: number } | null;
  /** SPIFFE IDs that may use the admin API over mTLS, and the client status discovery service on the mesh port. */
  readonly administrators: ReadonlySet<string>;
  /** Encrypts the CA's keys on disk. */
  readonly caPassphrase?: string;
  /** How long a prepared CA waits in the published bundle before it may sign. */
  readonly caPropagationMs?: number;
  /** How long SVIDs live, the control plane's own too. Default: an hour. */
  readonly svidLifetimeMs?: number;
  /** Where desired state is Kubernetes'; absent: it is kept here, and pods enrol by join tokens, as everybody does. */
  readonly kubernetes?: KubernetesOptions;
  /** Where the ledger is sent on to; absent: nowhere. */
  readonly ledgerOtlp?: LedgerOtlpOptions;
  /** Where gateways send their log that do so by syslog; absent: nowhere. */
  readonly syslog?: SyslogOptions;
  /** Absent: gateways of class bigip are not driven. */
  readonly bigip?: BigIpOptions;
  readonly version: string;
  readonly log: Logger;
  readonly now: () => number;
}

export interface Control {
  /** The port of the mesh listener; undefined while there is no CA. */
  readonly meshPort: number | undefined;
  readonly adminPort: number | undefined;
  readonly syslog: Pick<SyslogReceiver, 'ports'> | undefined;
  close(): Promise<void>;
}

const bodyBytesMax = 64 * 1024 * 1024;
const renewalCheckMaxMs = 30_000;
const changesOfCaMax = 64;
/** How long a control plane that stops waits for the collector to have the end of its ledger. */
const ledgerDeliveryMs = 5_000;

/** Starts the control plane. Without a CA it answers administrators only, until "ca init" or "ca import". */
export async function startControl(options: ControlOptions): Promise<Control> {
  // What a start that fails has opened is closed again, the last first.
  const opened = new AsyncDisposableStack();
  try {
    return await start(options, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

async function start(options: ControlOptions, opened: AsyncDisposableStack): Promise<Control> {
  const { directory, trustDomain, clusterDomain, mesh, socketPath, admin, probe, administrators, kubernetes, ledgerOtlp, syslog, bigip, caPassphrase, caPropagationMs, svidLifetimeMs = defaultLifetimes.svidMs, version, log, now } = options;
  const startedAt = new Date(now()).toISOString();
  const ownId = defaultControlIdentity(trustDomain, kubernetes?.namespace);
  const random = (): number => randomInt(2 ** 32) / 2 ** 32;
  const store = await openStateStore<ControlSections>({
    directory: join(directory, 'state'),
    now,
    expiresAt: sectionExpiry,
    onRewriteFailure: (error) => log.error({ err: error }, 'the state journal could not be rewritten; it goes on growing'),
  });
  opened.defer(() => store.close());
  const ledger = await openLedger({ directory: join(directory, 'ledger'), now });
  opened.defer(() => ledger.close());
  for (const { torn, name } of [{ torn: store.torn, name: 'state' }, { torn: ledger.torn, name: 'ledger' }]) {
    if (torn !== null) log.warn({ torn }, `the ${name} ended in what a crash had cut short; nothing acknowledged was lost`);
  }
  const ledgerExport = ledgerOtlp === undefined ? undefined : await openLedgerOtlp(ledgerOtlp, { ledger, trustDomain, version, now, random, log });
  // Opened before all that writes records, and so closed after it.
  if (ledgerExport !== undefined) opened.defer(() => ledgerExport.close(ledgerDeliveryMs));
  const caOptions = caPassphrase === undefined ? {} : { passphrase: caPassphrase };
  const sharedCa = kubernetes === undefined ? undefined : openSharedCa(kubernetes, random, log);
  if (sharedCa !== undefined) opened.defer(() => sharedCa.close());
  const caStore = sharedCa === undefined ? openCaDirectory(join(directory, 'ca'), caOptions) : openCaStore(sharedCa, caOptions);
  const authority = createAuthority({
    trustDomain,
    // That of replicas comes with the word of the API server, for which nothing else waits.
    slots: sharedCa === undefined ? await caStore.load() : noSlots,
    save: caStore.save,
    now,
    randomBytes,
    lifetimes: { svidMs: svidLifetimeMs },
    ...(caPropagationMs === undefined ? {} : { propagationMs: caPropagationMs }),
  });

  let identity: ControlIdentity | undefined;
  let listener: MeshListener | undefined;
  let adminServer: Awaited<ReturnType<typeof listenOnMutualTls>> | undefined;

  const cache = createSnapshotCache();
  const metrics = createControlMetrics({
    connectedProxies: () => cache.status().filter(({ streams }) => streams.length > 0).length,
    ledgerRecords: () => ledger.head.sequence,
    ...(ledgerExport === undefined ? {} : { ledgerExport: () => ledgerExport.status() }),
    now,
    servicePorts: () => planner.plan.servicePorts.length,
  });
  const replicated = kubernetes === undefined ? undefined : openReplicatedState(kubernetes, { isPodGone: (revocation) => cluster?.isPodGone(revocation) ?? false, now, random, log });
  if (replicated !== undefined) opened.defer(() => replicated.close());
  const shared = replicated ?? stateOfStore(store);
  const issuance = createIssuance({ store, shared, ledger, now, random, onRevoked: dropRevoked, log });
  opened.defer(() => issuance.close());
  const issue: typeof issuance.issue = async (attestation, run, pod) => {
    const issued = await issuance.issue(attestation, run, pod);
    metrics.certificatesIssued.inc({ attestation });
    return issued;
  };
  const svids = createProxySvids({ authority, issue, now, random, onAttempt: (spiffeId) => publisher.publishSvid(spiffeId), log });
  opened.defer(() => svids.close());
  const publisher = createPublisher({ cache, svids });
  const isRevoked = (serialNumber: string) => issuance.isRevoked(serialNumber);
  const boxes = startBigIpDrivers({
    credentialsDirectory: bigip?.credentialsDirectory,
    ...(bigip?.timings === undefined ? {} : { timings: bigip.timings }),
    serverCertificate: createServerCertificates({ authority, issue, isRevoked, now }),
    mayWrite: () => cluster === undefined || cluster.planner.operator.isLeader,
    now,
    random,
    log,
  });
  opened.defer(() => boxes.close());
  const isRevokedAsShown: MeshAdmission['isRevoked'] = (svid) => issuance.isRevokedAsShown(svid);
  const admission: MeshAdmission = { trustDomain, isRevoked: isRevokedAsShown, now };
  const publishPlan = async (plan: Plan): Promise<void> => {
    await runInSlices(encodeAhead(plan, issuance.revoked()));
    metrics.plansPublished.inc();
    publish();
  };
  const publishAddresses: PlannerOptions['publishAddresses'] = (addresses) => runInSlices(publisher.publishAddresses(addresses));
  const record = async (records: readonly LedgerRecord[]): Promise<void> => {
    await Promise.all(records.map((each) => ledger.append(each)));
  };
  const merged = createMergedReports();
  const gatewayOf = (identity: SpiffeId) => planner.plan.gateways.find((gateway) => gateway.identity === identity)?.name;
  const states = createGatewayStates({ authenticate: (call) => peerOf(call, admission), gatewayOf, mayBeCalled, now });
  const gatewaysHere = () => reportsHere(cache, planner.plan.gateways, publisher.revisions, boxes.statuses(), states.conditionsOf);
  const cluster: KubernetesSide | undefined =
    kubernetes === undefined || replicated === undefined
      ? undefined
      : startKubernetes({ ...kubernetes, store, shared: replicated, trustDomain, clusterDomain, record, publish: publishPlan, publishAddresses, gateways: () => merged.merge(gatewaysHere(), publisher.revisions, now()), now, random, log });
  if (cluster !== undefined) opened.defer(() => cluster.close());
  const planner: Planner = cluster?.planner ?? (await createPlanner({ store, trustDomain, clusterDomain, now, record, publish: publishPlan, publishAddresses }));

  function publish(): void {
    // The planner publishes once while it is made; there is nobody to hear it before the listener is there.
    if (listener === undefined || cluster?.isReady === false) return;
    const published = { plan: planner.plan, trustBundlePem: certificatesToPem(authority.trustBundle), revoked: issuance.revoked() };
    void runInSlices(publisher.publish(published));
    boxes.publish(published);
  }

  /**
   * Streams of the identities end, and whoever still has a good certificate comes back at once, an Envoy to another SVID: what was
   * revoked may be the one that is kept for it. Then gateways are told.
   */
  function dropRevoked(identities: ReadonlySet<string>): void {
    for (const revoked of identities) {
      const identity = revoked as SpiffeId;
      const reason = refusalOf(new SallyportError('identity-revoked', `a certificate of ${revoked} was revoked`));
      for (const form of proxyForms) xds.disconnect(nodeKeyOf({ identity, form }), reason);
      svids.drop(identity);
    }
    publish();
  }

  const inCaTurn = createTurns('changes of the CA', changesOfCaMax);
  const takeCa = (): Promise<void> => inCaTurn(takeCaNow);
  const caKeeper = createCaKeeper({ authority, trustDomain, keyStorage: caPassphrase === undefined ? 'plain' : 'encrypted', ledger, now, onChange: takeCa });
  const xds = createXdsServer({
    cache,
    now,
    log,
    authenticate: (call) => {
      try {
        const proxy = { identity: peerOf(call, admission).spiffeId, form: formOf(call.metadata) };
        publisher.admit(proxy);
        return { nodeKey: nodeKeyOf(proxy), nodeId: mayBeCalled(proxy.identity) };
      } catch (error) {
        return { refuse: refusalOf(error) };
      }
    },
    mayReadStatus: (call) => isAdministrator(call, admission, administrators),
  });
  const isTaken = createDenialBudgets({ now, onUnrecorded: (gateway) => metrics.denialsUnrecorded.inc({ gateway }) });
  const syslogReceiver = syslog === undefined ? undefined : createSyslogReceiver({ ...syslog, ...metrics.syslog, ledger, plan: () => planner.plan, isRevoked: isRevokedAsShown, isTaken, now, random, log });
  if (syslogReceiver !== undefined) opened.defer(() => syslogReceiver.close());
  const services = [
    { definition: xds.service, handlers: xds.handlers },
    ...createEnrolment({ shared, authority, issuance: { ...issuance, issue }, admission, ...(cluster === undefined ? {} : { attestPod: cluster.attestPod }), now, log }),
    createAccessLogIntake({ ledger, log, authenticate: (call) => peerOf(call, admission), plan: () => planner.plan, isRevoked, isTaken }),
    createLedgerIntake({ ledger, log, authenticate: (call) => peerOf(call, admission), gatewayOf }),
    states.service,
  ];

  if (kubernetes !== undefined && cluster !== undefined) {
    services.push(createReplicaService({ authenticate: (call) => peerOf(call, admission), identity: ownId, onReport: (replica, reports) => merged.take(replica, reports, now()) }));
    const reporter = startLeaderReporter({ replica: kubernetes.replica, identity: ownId, reports: gatewaysHere, leader: () => cluster.planner.operator.leaderAddress, credentials: () => identity, now, log });
    opened.defer(() => reporter.close());
  }

  /** Takes what the CA has become: a certificate of our own, the listeners if they are not there yet, the bundle for everyone. */
  async function takeCaNow(): Promise<void> {
    if (authority.slots.active === null) return;
    identity = await ownIdentity();
    if (identity !== undefined) await show(identity);
    publish();
    cluster?.publishTrustBundle(certificatesToPem(authority.trustBundle));
    await cluster?.serveWebhooks(authority, issue);
    await caKeeper.published();
  }

  /** A new one; where the CA is at its end, what there is, so that an administrator can bring the next CA. */
  async function ownIdentity(): Promise<ControlIdentity | undefined> {
    try {
      return await issueControlIdentity(authority, issue, ownId);
    } catch (error) {
      if (!(error instanceof SallyportError && error.code === 'ca-expiring')) throw error;
      log.error({ err: error }, 'the control plane gets no certificate any more from its own CA');
      return identity === undefined ? undefined : { ...identity, trustBundlePem: certificatesToPem(authority.trustBundle) };
    }
  }

  /** Answers as this from now on. */
  async function show(own: ControlIdentity): Promise<void> {
    // Whoever came sooner would be sent a plan of nothing.
    if (cluster?.isReady === false) return;
    if (listener === undefined) {
      const started = await listenForMesh({ ...mesh, identity: own, services, log });
      opened.defer(() => started.close());
      listener = started;
      log.info({ port: listener.port }, 'listening for workloads and gateways');
    } else {
      listener.setIdentity(own);
    }
    if (admin !== null && adminServer === undefined) {
      adminServer = await listenOnMutualTls(admin, own, createHttpRouter({ routes, bodyBytesMax, log, authorize: (request) => authorizeAdministrator(request, administrators, isRevokedAsShown) }));
      opened.defer(closing(adminServer));
    } else {
      adminServer?.setSecureContext(tlsOptions(own));
    }
    await syslogReceiver?.show(own);
  }

  function status(): StatusResult {
    const conditions = [...(cluster?.conditions() ?? []), ...(identity === undefined ? [authority.slots.active === null ? 'there is no CA yet: sallyport ca init, or sallyport ca import' : 'the CA has come to its end: sallyport ca import the next, then sallyport ca rotate'] : []), ...new Set(planner.warnings.map(({ message }) => message)), ...publisher.conditions(), ...boxes.conditions(), ...states.inWords(planner.plan.gateways), ...(ledgerExport?.conditions() ?? []), ...(syslogReceiver?.conditions() ?? [])];
    return {
      version,
      trustDomain,
      revision: planner.plan.revision,
      ready: identity !== undefined && cluster?.isReady !== false,
      conditions,
      objects: Object.fromEntries(Object.entries(planner.desired).map(([kind, objects]) => [kind, objects.size])),
      proxies: [...proxyStatuses(cache.status(), { gateways: planner.plan.gateways, revisions: publisher.revisions, withheld: publisher.withheld, states: states.byNode() }), ...boxStatuses(boxes.statuses(), { gateways: planner.plan.gateways, revisions: publisher.revisions })],
      ca: caKeeper.status(),
      ledger: { records: ledger.head.sequence, lastSequence: ledger.head.sequence, ...(ledgerExport === undefined ? {} : { sentOn: { to: ledgerExport.url, lastSequence: ledgerExport.status().sequence } }) },
      startedAt,
    };
  }

  const probes: Readonly<Record<string, HttpRoute>> = {
    [`GET ${adminPaths.livez}`]: () => ({ text: 'ok\n', contentType: 'text/plain' }),
    [`GET ${adminPaths.readyz}`]: () => {
      const missing = cluster?.isReady === false ? 'the API server has not been heard\n' : identity === undefined ? 'no CA\n' : undefined;
      return { text: missing ?? 'ok\n', contentType: 'text/plain', ...(missing === undefined ? {} : { status: 503 }) };
    },
    [`GET ${adminPaths.metrics}`]: async () => ({ text: await metrics.render(), contentType: metrics.contentType }),
  };
  const statusRoutes: Readonly<Record<string, HttpRoute>> = {
    [`GET ${adminPaths.status}`]: () => ({ json: status() }),
    [`GET ${adminPaths.proxies}`]: () => ({ lines: jsonLines(debugNodes(cache)) }),
    [`GET ${adminPaths.proxyConfig}`]: ({ query }) => ({ json: proxyConfig(cache, planner.plan.gateways, query.get('name') ?? '') }),
  };
  const routes = createAdminRoutes({ planner, shared, ledger, authority, caKeeper, issuance: { ...issuance, issue }, trustDomain, now, randomBytes, probes: { ...probes, ...statusRoutes } });
  if (probe !== null) opened.defer(closing(await listenOnPlainHttp(probe, createHttpRouter({ routes: probes, bodyBytesMax: 0, log, authorize: () => 'probe' }))));
  opened.defer(closing(await listenOnUnixSocket(socketPath, createHttpRouter({ routes, bodyBytesMax, log, authorize: () => `unix:${process.getuid?.() ?? 0}` }))));
  await takeCa();
  const takeCaAgain = (): void => void takeCa().catch((error: unknown) => log.error({ err: error }, 'what the CA has become could not be taken'));
  if (sharedCa !== undefined) {
    sharedCa.watch(() => {
      const isSameCa = sameCaAs(authority.slots);
      authority.refresh(caStore.load).then(
        // Most often another replica has only noted for how long it signs.
        () => isSameCa(authority.slots) || takeCaAgain(),
        (error: unknown) => log.error({ err: error }, 'the CA could not be read'),
      );
    });
  }
  void cluster?.ready.then(takeCaAgain);

  const renewal = setInterval(() => {
    void (async () => {
      publisher.sweep();
      await caKeeper.retire();
      // Half of its life is left when this is first so; the checks that follow are further tries.
      if (identity !== undefined && identity.notAfterMs - now() < svidLifetimeMs / 2) await takeCa();
    })().catch((error: unknown) => log.error({ err: error }, 'the control plane could not renew its own certificate'));
  }, Math.min(renewalCheckMaxMs, svidLifetimeMs / 8));
  opened.defer(() => clearInterval(renewal));
  opened.defer(() => xds.close());
  log.info({ socketPath, revision: planner.plan.revision }, 'control plane started');

  return {
    get meshPort() {
      return listener?.port;
    },
    get adminPort() {
      const address = adminServer?.address();
      return typeof address === 'object' ? address?.port : undefined;
    },
    syslog: syslogReceiver,
    close: () => opened.disposeAsync(),
  };
}

function refusalOf(error: unknown): XdsStatus {
  const { code, details } = grpcStatusOf(error);
  return { code: code!, details: details! }; // grpcStatusOf always gives both
}

/** One a turn of the event loop, since one may be large. */
async function* jsonLines(values: Iterable<unknown>): AsyncIterable<string> {
  for (const value of values) {
    await setImmediate();
    yield JSON.stringify(value);
  }
}

function closing(server: Server): () => Promise<void> {
  return async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
}
