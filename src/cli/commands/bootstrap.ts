import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { defaultControlIdentity } from '../../api/mesh-credentials.ts';
import { renderEnvoyBootstrap, renderEnvoySecretFiles, type EnvoyBootstrapOptions, type SecretFiles } from '../../backends/envoy/index.ts';
import { SallyportError } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';
import { workloadOf } from '../../core/spiffe-id.ts';
import { admitByAdministrator, admitByFiles, type ProxyFor } from '../admission.ts';
import type { CliContext } from '../context.ts';
import { parseAddressAndPort, parseEndpoint } from '../endpoint.ts';
import { formatYaml, outputOption } from '../output.ts';
import { addControlOptions, controlIdentityOf, spiffeIdOf, trustDomainOf, type ControlOptions } from '../proxy-options.ts';
import { adminClientOf, withServerOptions } from '../target.ts';

interface EnvoyOptions extends ControlOptions {
  readonly gateway?: string;
  readonly sidecar?: true;
  readonly spiffeId?: string;
  readonly instance?: string;
  readonly identityDir?: string;
  readonly adminAddress?: string;
  readonly joinTokenFile?: string;
  readonly trustBundle?: string;
  readonly output: 'json' | 'yaml';
}

export function addBootstrap(program: Command, context: CliContext): void {
  const bootstrap = program.command('bootstrap').summary('what a proxy that is not ours is started with');
  addControlOptions(withServerOptions(bootstrap.command('envoy')))
    .summary('make the identity of a stock Envoy, and print what it is started with')
    .description(
      "Makes a key, has it certified, and keeps both in a directory that Envoy reads; prints Envoy's bootstrap, in which nothing is secret. Where the admin API can be reached it asks there for all that it needs; elsewhere, bring a token of \"sallyport token create --for proxy\" by --join-token-file, and --trust-bundle. The certificate is for the control plane alone, and lives for 30 days or as long as the token says. Run the same command again to renew it: while it is valid no token is needed, and Envoy takes the new one without a restart.",
    )
    .option('--gateway <name>', 'the EgressGateway of class envoy that it is')
    .option('--sidecar', 'it is to stand beside a workload')
    .option('--spiffe-id <id>', 'who that workload is')
    .option('--instance <name>', 'which of several Envoys with one identity it is')
    .option('--identity-dir <directory>', 'where key and certificate are kept (default: ./GATEWAY.identity, ./NAMESPACE.SERVICEACCOUNT.identity; with ~INSTANCE before the dot)')
    .option('--admin-address <address:port>', "where Envoy's own administration listens; whoever reaches it can stop Envoy (default: the Unix socket admin.sock beside the key, for its owner)")
    .option('--join-token-file <file>', 'a token to enrol with, instead of asking the admin API')
    .addOption(outputOption().default('yaml'))
    .addHelpText(
      'after',
      '\nEXAMPLES\n  sallyport bootstrap envoy --gateway egress-1 > envoy.yaml && envoy -c envoy.yaml --drain-time-s 1 --drain-strategy immediate\n  sallyport bootstrap envoy --sidecar --spiffe-id spiffe://cluster.local/ns/bookinfo/sa/default > sidecar.yaml\n  sallyport bootstrap envoy --gateway egress-1 --control 10.0.0.5:15012 --trust-bundle bundle.pem --join-token-file token > envoy.yaml\n\nEXIT CODES\n  0 printed   2 bad options, or a directory that cannot be used   3 no such gateway   4 no good token   6 control plane away',
    )
    .action(async (options: EnvoyOptions, command: Command) => {
      const { proxy, name } = proxyOf(options);
      const instance = instanceOf(options);
      const directory = resolve(options.identityDir ?? `${name}${instance}.identity`);
      const controlPlane = parseEndpoint(options.control, '--control');
      const admin = administrationOf(options, directory);
      const { joinTokenFile, trustBundle } = options;
      const admission =
        joinTokenFile === undefined ? await admitByAdministrator((await adminClientOf(context, command)), proxy) : await admitByFiles({ trustDomain: trustDomainOf(options), trustBundle, joinTokenFile }, proxy);
      const controlIdentity = controlIdentityOf(options) ?? defaultControlIdentity(admission.trustDomain);

      const { obtainProxyCertificate } = await import('../../identity/index.ts');
      const { trustBundlePem, ...rest } = admission;
      const { identity, by } = await obtainProxyCertificate({ ...rest, directory, control: { address: options.control, identity: controlIdentity, trustBundlePem }, now: Date.now });

      const document = renderEnvoyBootstrap({ nodeId: `${identity.spiffeId}${instance}`, controlPlane, controlIdentity, identity: await writeSecretFiles(directory), admin });
      context.out(options.output === 'json' ? JSON.stringify(document, null, 2) : formatYaml(document).trimEnd());
      context.say(`${by === 'certificate' ? 'renewed' : 'enrolled'} ${identity.spiffeId} in ${printable(directory)}, until ${new Date(identity.expiresAtMs).toISOString()}`);
      context.say('run this command again before then: the certificate is renewed, and Envoy need not be restarted');
      if ('gateway' in proxy) context.say('start Envoy with --drain-time-s 1 --drain-strategy immediate, so that what a policy takes away ends at once');
    });
}

/** What the options say that it is, and what its files are called after. */
function proxyOf({ gateway, sidecar, spiffeId: spiffeIdText }: EnvoyOptions): { readonly proxy: ProxyFor; readonly name: string } {
  if ((gateway === undefined) === (sidecar === undefined)) throw new SallyportError('usage', 'give either --gateway or --sidecar', { hint: '--gateway NAME, or --sidecar --spiffe-id ID' });
  if (gateway !== undefined) {
    if (spiffeIdText !== undefined) throw new SallyportError('usage', '--spiffe-id is for sidecars', { place: '--spiffe-id', value: spiffeIdText, hint: 'the EgressGateway says who a gateway is' });
    return { proxy: { gateway }, name: plainName(gateway, '--gateway') };
  }
  if (spiffeIdText === undefined) throw new SallyportError('usage', '--sidecar needs --spiffe-id', { hint: '--sidecar --spiffe-id spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT' });
  const spiffeId = spiffeIdOf(spiffeIdText, '--spiffe-id');
  const workload = workloadOf(spiffeId);
  if (workload === undefined) throw new SallyportError('spiffe-id-invalid', `${JSON.stringify(spiffeId)} names no workload`, { place: '--spiffe-id', value: spiffeId, hint: 'write it like spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT' });
  return { proxy: { sidecarOf: spiffeId }, name: `${workload.namespace}.${workload.serviceAccount}` };
}

/** `~NAME`, which no SPIFFE ID holds: it ends the identity in a node's id. */
function instanceOf({ instance }: EnvoyOptions): string {
  return instance === undefined ? '' : `~${plainName(instance, '--instance')}`;
}

/** Names become parts of paths. */
function plainName(text: string, place: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/.test(text)) return text;
  throw new SallyportError('usage', `${JSON.stringify(text.slice(0, 256))} is not a name`, { place, value: text.slice(0, 256), hint: 'letters, digits, ".", "-" and "_"' });
}

const socketPathBytesMax = 107; // unix(7), less the zero at its end

function administrationOf({ adminAddress }: EnvoyOptions, directory: string): EnvoyBootstrapOptions['admin'] {
  if (adminAddress !== undefined) return parseAddressAndPort(adminAddress, '--admin-address');
  const socketPath = join(directory, 'admin.sock');
  if (Buffer.byteLength(socketPath) > socketPathBytesMax) throw new SallyportError('usage', `${JSON.stringify(socketPath)} is longer than the path of a socket may be, ${socketPathBytesMax} bytes`, { place: '--identity-dir', value: directory, hint: 'give a shorter --identity-dir, or --admin-address 127.0.0.1:9901' });
  return { socketPath };
}

/** They say where the identity is, never what: renewals leave them alone. */
async function writeSecretFiles(directory: string): Promise<SecretFiles> {
  const { replaceFileSet } = await import('../../identity/index.ts');
  const at = (name: string) => join(directory, name);
  const secrets = renderEnvoySecretFiles({ certificateChain: at('svid.pem'), privateKey: at('key.pem'), trustBundle: at('bundle.pem') });
  await replaceFileSet(at('sds'), { 'svid.yaml': formatYaml(secrets.svid), 'bundle.yaml': formatYaml(secrets.trustBundle) });
  return { svid: at('sds/svid.yaml'), trustBundle: at('sds/bundle.yaml') };
}
