/** Options that gateway and agent share: where the control plane is, and how to become somebody. */
import type { Command } from 'commander';
import { SallyportError } from '../core/errors.ts';
import { parseSpiffeId, parseTrustDomain, type SpiffeId } from '../core/spiffe-id.ts';
import { readFile } from './context.ts';
import { logLevelOption } from './log.ts';

export interface ProxyOptions {
  readonly control: string;
  readonly controlIdentity?: string;
  readonly trustDomain: string;
  readonly trustBundle: string;
  readonly joinTokenFile?: string;
  readonly state?: string;
  readonly probeListen?: string;
  readonly logLevel: string;
}

export function addProxyOptions(command: Command, part: string): Command {
  return command
    .option('--control <address:port>', 'the control plane', '127.0.0.1:15012')
    .option('--control-identity <spiffe-id>', 'who the control plane must prove to be (default: ns/sallyport-system/sa/control of the trust domain)')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .requiredOption('--trust-bundle <file>', 'trust anchors to know the control plane by, PEM: sallyport ca export')
    .option('--join-token-file <file>', 'a token to enrol with; needed once, and again only when the identity has expired')
    .option('--state <directory>', `where the identity survives (default: $SALLYPORT_STATE/${part}, /var/lib/sallyport/${part} for root)`)
    .option('--probe-listen <address:port>', 'loopback address for /livez and /readyz')
    .addOption(logLevelOption());
}

export async function identityOptionsOf(options: ProxyOptions, stateDirectory: string) {
  const trustDomain = parseTrustDomain(options.trustDomain);
  if (!trustDomain.ok) throw new SallyportError('usage', trustDomain.reason, { place: '--trust-domain' });
  let controlIdentity: SpiffeId | undefined;
  if (options.controlIdentity !== undefined) {
    const parsed = parseSpiffeId(options.controlIdentity);
    if (!parsed.ok) throw new SallyportError('usage', parsed.reason, { place: '--control-identity' });
    controlIdentity = parsed.id;
  }
  const { joinTokenFile } = await import('../identity/index.ts');
  return {
    trustDomain: trustDomain.trustDomain,
    enrolmentAddress: options.control,
    trustBundlePem: readFile(options.trustBundle),
    stateDirectory,
    ...(controlIdentity === undefined ? {} : { controlIdentity }),
    ...(options.joinTokenFile === undefined ? {} : { joinToken: joinTokenFile(options.joinTokenFile) }),
    now: Date.now,
    random: Math.random,
  };
}
