import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { AllowedSender, KubernetesOptions, LedgerOtlpOptions, SyslogOptions } from '../../control/index.ts';
import { parseCollectorUrl } from '../../core/collector-url.ts';
import { parseDuration } from '../../core/duration.ts';
import { SallyportError } from '../../core/errors.ts';
import { formatEndpoint, parseAddress, parseAddressRange, rangesOverlap } from '../../core/ip-address.ts';
import { parseSpiffeId, parseTrustDomain } from '../../core/spiffe-id.ts';
import { defaultStateDirectory, readPassphrase, type CliContext } from '../context.ts';
import { createLog, logLevelOption } from '../log.ts';
import { parseEndpoint } from '../endpoint.ts';
import { version } from './version.ts';

interface ServeOptions {
  readonly state?: string;
  readonly socket?: string;
  readonly trustDomain: string;
  readonly clusterDomain: string;
  readonly listen: string;
  readonly adminListen?: string;
  readonly admin?: readonly string[];
  readonly probeListen?: string;
  readonly caPassphraseFile?: string;
  readonly caPropagation: string;
  readonly svidLifetime: string;
  readonly ledgerOtlp?: string;
  readonly ledgerOtlpCa?: string;
  readonly ledgerOtlpHeaders?: string;
  readonly syslog?: string;
  readonly syslogAllow?: readonly string[];
  readonly syslogTls?: string;
  readonly credentials?: string;
  readonly kubernetes?: boolean;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace: string;
  readonly replica?: string;
  readonly replicaAddress?: string;
  readonly webhookListen?: string;
  readonly agentImage?: string;
  readonly agentControl?: string;
  readonly logLevel: string;
}

export function addServe(program: Command, context: CliContext): void {
  program
    .command('serve')
    .summary('run the control plane')
    .option('--state <directory>', 'what survives it (default: $SALLYPORT_STATE/control, /var/lib/sallyport/control for root)')
    .option('--socket <path>', 'Unix socket of the admin API (default: STATE/admin.sock)')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option('--cluster-domain <name>', 'suffix of Kubernetes service names', 'cluster.local')
    .option('--listen <address:port>', 'for workloads and gateways: enrolment, xDS, ledger', '127.0.0.1:15012')
    .option('--admin-listen <address:port>', 'the admin API over mTLS too')
    .option('--admin <spiffe-id...>', 'who may use it there')
    .option('--probe-listen <address:port>', '/livez, /readyz and /metrics in plain HTTP')
    .option('--ca-passphrase-file <file>', "encrypts the CA's keys on disk")
    .option('--ca-propagation <span>', 'how long a new CA is published before it may sign', '10m')
    .option('--svid-lifetime <span>', 'how long SVIDs live; they are renewed at half of it', '1h')
    .option('--ledger-otlp <url>', 'sends the ledger on to an OpenTelemetry Collector by OTLP/HTTP, such as https://collector.observability:4318')
    .option('--ledger-otlp-ca <file>', 'PEM of the CAs that its certificate may come from (default: those that Node.js trusts)')
    .option('--ledger-otlp-headers <file>', 'headers that it wants, one a line, such as "Authorization: Bearer TOKEN"')
    .option('--syslog-tls <address:port>', 'takes the log of BIG-IPs over TLS: syslog, RFC 5425; a box is who its certificate says')
    .option('--syslog <address:port>', 'the same over plain TCP, of the addresses that --syslog-allow names')
    .option('--syslog-allow <gateway=addresses...>', 'where the boxes of a gateway send from over plain TCP: an address, a range or a block, such as f5=10.0.0.4/31')
    .option('--credentials <directory>', 'drives BIG-IPs: a folder for each `bigip.credentials`, with files username, password, and ca.pem to trust nobody else')
    .optionsGroup('Kubernetes:')
    .option('--kubernetes', 'desired state is custom resources, watched; the CA is in a Secret; pods enrol by their tokens')
    .option('--kubeconfig <file>', 'the cluster and who asks it (default: $KUBECONFIG, ~/.kube/config, or the service account of the pod)')
    .option('--context <name>', 'of the kubeconfig (default: its current one)')
    .option('--namespace <name>', 'where Sallyport is: its Lease, its CA, and what may speak about everyone', 'sallyport-system')
    .option('--replica <name>', 'of this one, unique among the control planes of the cluster, and in what --ledger-otlp sends (default: $POD_NAME, or the name of the host)')
    .option('--replica-address <host:port>', 'where the others reach its mesh port (default: $POD_IP and the port of --listen)')
    .option('--webhook-listen <address:port>', 'answers the API server: injection of agents, validation')
    .option('--agent-image <image>', 'of the agents that are injected')
    .option('--agent-control <host:port>', 'where they reach this (default: sallyport.NAMESPACE.svc:15012)')
    .optionsGroup('Options:')
    .addOption(logLevelOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport serve\n  sallyport serve --listen 10.0.0.5:15012 --admin-listen 10.0.0.5:15014 --admin spiffe://cluster.local/admin/alice\n  sallyport serve --kubernetes --kubeconfig admin.conf\n  sallyport serve --syslog 10.0.0.5:6514 --syslog-allow f5=10.0.0.7 f5=10.0.0.8\n\nEXIT CODES\n  0 stopped by a signal   2 bad options or state   5 another control plane has the state   6 an address cannot be listened on, or the cluster is away')
    .action(async (options: ServeOptions) => {
      const interrupted = context.interruption();
      const trustDomain = parseTrustDomain(options.trustDomain);
      if (!trustDomain.ok) throw new SallyportError('usage', trustDomain.reason);
      const caPropagationMs = spanOf(options.caPropagation, '--ca-propagation');
      const svidLifetimeMs = spanOf(options.svidLifetime, '--svid-lifetime');
      if (svidLifetimeMs < 5_000 || svidLifetimeMs > 86_400_000) throw new SallyportError('usage', `SVIDs are not given ${options.svidLifetime} to live`, { place: '--svid-lifetime', value: options.svidLifetime, hint: 'from 5s, so that renewals come in time, to 24h' });
      for (const id of options.admin ?? []) {
        const parsed = parseSpiffeId(id);
        if (!parsed.ok) throw new SallyportError('usage', parsed.reason, { place: '--admin' });
      }
      const ledgerOtlp = ledgerOtlpOf(options, context);
      const syslog = syslogOf(options);
      const directory = options.state ?? defaultStateDirectory(context.env, 'control');
      // Loaded only here: what a command does not need should not make it slow to start.
      const { startControl } = await import('../../control/index.ts');
      const kubernetes = options.kubernetes === true ? await kubernetesOf(options, context) : undefined;
      const control = await startControl({
        directory,
        trustDomain: trustDomain.trustDomain,
        clusterDomain: options.clusterDomain,
        mesh: parseEndpoint(options.listen, '--listen'),
        socketPath: options.socket ?? context.env['SALLYPORT_SOCKET'] ?? join(directory, 'admin.sock'),
        admin: options.adminListen === undefined ? null : parseEndpoint(options.adminListen, '--admin-listen'),
        probe: options.probeListen === undefined ? null : parseEndpoint(options.probeListen, '--probe-listen'),
        administrators: new Set(options.admin),
        ...(options.caPassphraseFile === undefined ? {} : { caPassphrase: readPassphrase(options.caPassphraseFile) }),
        ...(kubernetes === undefined ? {} : { kubernetes }),
        ...(ledgerOtlp === undefined ? {} : { ledgerOtlp }),
        ...(syslog === undefined ? {} : { syslog }),
        ...(options.credentials === undefined ? {} : { bigip: { credentialsDirectory: options.credentials } }),
        caPropagationMs,
        svidLifetimeMs,
        version,
        log: await createLog('control', options.logLevel),
        now: Date.now,
      });
      await untilAborted(interrupted);
      await control.close();
    });
}

function ledgerOtlpOf({ ledgerOtlp, ledgerOtlpCa, ledgerOtlpHeaders, replica }: ServeOptions, { env }: CliContext): LedgerOtlpOptions | undefined {
  if (ledgerOtlp === undefined) {
    if ((ledgerOtlpCa ?? ledgerOtlpHeaders) !== undefined) throw new SallyportError('usage', '--ledger-otlp-ca and --ledger-otlp-headers are for --ledger-otlp, which is missing');
    return undefined;
  }
  const parsed = parseCollectorUrl(ledgerOtlp);
  if (!parsed.ok) throw new SallyportError('usage', `the URL of the collector ${parsed.reason}`, { place: '--ledger-otlp', hint: 'write it like https://collector.observability:4318; what is secret goes into the file of --ledger-otlp-headers' });
  return {
    url: parsed.url,
    replica: replica ?? replicaName(env),
    ...(ledgerOtlpCa === undefined ? {} : { caFile: ledgerOtlpCa }),
    ...(ledgerOtlpHeaders === undefined ? {} : { headersFile: ledgerOtlpHeaders }),
  };
}

function syslogOf({ syslog, syslogAllow = [], syslogTls }: ServeOptions): SyslogOptions | undefined {
  if ((syslog === undefined) !== (syslogAllow.length === 0)) throw new SallyportError('usage', '--syslog and --syslog-allow go together: over plain TCP the address says who somebody is', { hint: 'or take --syslog-tls alone, over which a certificate does' });
  if (syslog === undefined && syslogTls === undefined) return undefined;
  const allowed = syslogAllow.map(allowedSenderOf);
  for (const { gateway, addresses } of allowed) {
    const other = allowed.find((each) => each.gateway !== gateway && rangesOverlap(each.addresses, addresses));
    if (other !== undefined) throw new SallyportError('usage', `${JSON.stringify(addresses.text)} is of gateway ${JSON.stringify(gateway)} and of ${JSON.stringify(other.gateway)}`, { place: '--syslog-allow' });
  }
  return {
    tcp: syslog === undefined ? null : parseEndpoint(syslog, '--syslog'),
    tls: syslogTls === undefined ? null : parseEndpoint(syslogTls, '--syslog-tls'),
    allowed,
  };
}

function allowedSenderOf(text: string): AllowedSender {
  const [, gateway = '', addresses = ''] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  const parsed = parseAddressRange(addresses);
  if (gateway !== '' && parsed.ok) return { gateway, addresses: parsed.range };
  throw new SallyportError('usage', gateway === '' || parsed.ok ? `${JSON.stringify(text)} is not a gateway and its addresses` : parsed.reason, { place: '--syslog-allow', value: text, hint: 'write it like f5=10.0.0.4/31' });
}

/** Where nobody says otherwise. */
const replicaName = (env: CliContext['env']): string => env['POD_NAME'] ?? hostname();

async function kubernetesOf({ kubeconfig, context: contextName, namespace, replica, replicaAddress, listen, webhookListen, agentImage, agentControl = `sallyport.${namespace}.svc:15012` }: ServeOptions, { env }: CliContext): Promise<KubernetesOptions> {
  if ((webhookListen === undefined) !== (agentImage === undefined)) throw new SallyportError('usage', '--webhook-listen and --agent-image go together: what is injected is made of an image');
  const podAddress = parseAddress(env['POD_IP'] ?? '');
  const { createApiClient, openClusterAccess } = await import('../../kubernetes/index.ts');
  const access = await openClusterAccess({ ...(kubeconfig === undefined ? {} : { file: kubeconfig }), ...(contextName === undefined ? {} : { context: contextName }) });
  return {
    client: createApiClient(access),
    namespace,
    replica: replica ?? replicaName(env),
    replicaAddress: replicaAddress ?? (podAddress === undefined ? null : formatEndpoint({ address: podAddress, port: parseEndpoint(listen, '--listen').port })),
    webhooks: webhookListen === undefined ? null : { ...parseEndpoint(webhookListen, '--webhook-listen'), agentImage: agentImage!, agentControl },
  };
}

function spanOf(text: string, place: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined) throw new SallyportError('usage', `${JSON.stringify(text)} is not a time span`, { place, value: text, hint: 'write it like 10m' });
  return milliseconds;
}

/** Waits for SIGINT or SIGTERM. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
