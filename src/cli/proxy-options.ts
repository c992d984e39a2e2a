/** Options of whoever speaks to the control plane's mesh port: where it is, and how to become somebody. */
import { existsSync } from 'node:fs';
import { Option, type Command } from 'commander';
import { SallyportError } from '../core/errors.ts';
import { podFiles } from '../core/pod-identity.ts';
import { parseSpiffeId, parseTrustDomain, type SpiffeId, type TrustDomain } from '../core/spiffe-id.ts';
import { readFile } from './context.ts';
import { logLevelOption } from './log.ts';

export interface ControlOptions {
  readonly control: string;
  readonly controlIdentity?: string;
  readonly trustDomain: string;
}

/** Those of gateway and agent. */
export interface ProxyOptions extends ControlOptions {
  readonly trustBundle?: string;
  readonly joinTokenFile?: string;
  readonly podTokenFile?: string;
  readonly state?: string;
  readonly probeListen?: string;
  readonly logLevel: string;
}

export function addControlOptions(command: Command): Command {
  return command
    .option('--control <address:port>', 'the control plane', '127.0.0.1:15012')
    .option('--control-identity <spiffe-id>', 'who the control plane must prove to be (default: ns/sallyport-system/sa/control of the trust domain)')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local');
}

export function addProxyOptions(command: Command, part: string): Command {
  return addControlOptions(command)
    .option('--trust-bundle <file>', `trust anchors to know the control plane by when enrolling, PEM: sallyport ca export (default: ${podFiles.trustBundle} where that is)`)
    .option('--join-token-file <file>', 'a token to enrol with; needed once, and again only when the identity has expired')
    .addOption(new Option('--pod-token-file <file>', `on Kubernetes, in its place: the service account token of the pod, for our audience, read anew at each enrolment (default: ${podFiles.token} where that is)`).conflicts('joinTokenFile'))
    .option('--state <directory>', `where the identity survives (default: $SALLYPORT_STATE/${part}, /var/lib/sallyport/${part} for root)`)
    .option('--probe-listen <address:port>', part === 'agent' ? 'where to answer /livez and /readyz; beyond loopback it says no more than whether' : 'loopback address for /livez, /readyz and /metrics')
    .addOption(logLevelOption());
}

export function trustDomainOf(options: Pick<ControlOptions, 'trustDomain'>): TrustDomain {
  const parsed = parseTrustDomain(options.trustDomain);
  if (!parsed.ok) throw new SallyportError('usage', parsed.reason, { place: '--trust-domain' });
  return parsed.trustDomain;
}

/** Undefined where the trust domain's own is meant. */
export function controlIdentityOf({ controlIdentity }: Pick<ControlOptions, 'controlIdentity'>): SpiffeId | undefined {
  return controlIdentity === undefined ? undefined : spiffeIdOf(controlIdentity, '--control-identity');
}

/** Parses the value of an option; `place` is its name. */
export function spiffeIdOf(text: string, place: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (!parsed.ok) throw new SallyportError('usage', parsed.reason, { place });
  return parsed.id;
}

/** What was not said is taken from where a pod has it by convention, if it is there. */
export function withPodFiles<Options extends Pick<ProxyOptions, 'trustBundle' | 'joinTokenFile' | 'podTokenFile'>>(options: Options, exists: (path: string) => boolean = existsSync): Options & { readonly trustBundle: string } {
  const trustBundle = options.trustBundle ?? (exists(podFiles.trustBundle) ? podFiles.trustBundle : undefined);
  if (trustBundle === undefined) throw new SallyportError('usage', 'the control plane is known by --trust-bundle, which is not given', { place: '--trust-bundle', hint: 'write it where the admin API is: sallyport ca export' });
  const usesPodToken = options.podTokenFile === undefined && options.joinTokenFile === undefined && exists(podFiles.token);
  return { ...options, trustBundle, ...(usesPodToken ? { podTokenFile: podFiles.token } : {}) };
}

export async function identityOptionsOf(options: ProxyOptions, stateDirectory: string) {
  const trustDomain = trustDomainOf(options);
  const controlIdentity = controlIdentityOf(options);
  const { trustBundle, joinTokenFile, podTokenFile } = withPodFiles(options);
  const { tokenFile } = await import('../identity/index.ts');
  return {
    trustDomain,
    enrolmentAddress: options.control,
    trustBundle: () => readFile(trustBundle),
    stateDirectory,
    ...(controlIdentity === undefined ? {} : { controlIdentity }),
    ...(joinTokenFile === undefined ? {} : { joinToken: tokenFile(joinTokenFile) }),
    ...(podTokenFile === undefined ? {} : { podToken: tokenFile(podTokenFile) }),
    now: Date.now,
    random: Math.random,
  };
}
