/** Options of whoever speaks to the control plane's mesh port: where it is, and how to become somebody. */
import type { Command } from 'commander';
import { SallyportError } from '../core/errors.ts';
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
  readonly trustBundle: string;
  readonly joinTokenFile?: string;
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
    .requiredOption('--trust-bundle <file>', 'trust anchors to know the control plane by, PEM: sallyport ca export')
    .option('--join-token-file <file>', 'a token to enrol with; needed once, and again only when the identity has expired')
    .option('--state <directory>', `where the identity survives (default: $SALLYPORT_STATE/${part}, /var/lib/sallyport/${part} for root)`)
    .option('--probe-listen <address:port>', 'loopback address for /livez and /readyz')
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

export async function identityOptionsOf(options: ProxyOptions, stateDirectory: string) {
  const trustDomain = trustDomainOf(options);
  const controlIdentity = controlIdentityOf(options);
  const { joinTokenFile } = await import('../identity/index.ts');
  return {
    trustDomain,
    enrolmentAddress: options.control,
    trustBundlePem: readFile(options.trustBundle),
    stateDirectory,
    ...(controlIdentity === undefined ? {} : { controlIdentity }),
    ...(options.joinTokenFile === undefined ? {} : { joinToken: joinTokenFile(options.joinTokenFile) }),
    now: Date.now,
    random: Math.random,
  };
}
