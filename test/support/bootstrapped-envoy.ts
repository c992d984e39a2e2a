/** A stock Envoy that has everything by `sallyport bootstrap envoy`, as an operator starts it. */
import type { JsonValue } from '@bufbuild/protobuf';
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { adminPaths, type ProxyStatus, type StatusResult } from '../../src/api/admin.ts';
import { waitFor } from '../../src/demo/processes.ts';
import type { TestDeployment } from './deployment.ts';
import { startEnvoy, type Envoy } from './envoy.ts';

export interface EnvoyIdentity {
  readonly certificate: X509Certificate;
  readonly trustBundlePem: string;
}

export interface BootstrappedEnvoy extends Envoy {
  /** Runs the same `bootstrap` again: another proxy certificate, and the trust bundle as it is by then. */
  readonly renewBootstrap: () => Promise<void>;
  /** What it has loaded: of the stream the SVID and bundle that it was sent, of its files the proxy certificate and the bundle there. */
  readonly identity: (source: 'stream' | 'files') => Promise<EnvoyIdentity>;
  /** The sum of its counters whose names fit. */
  readonly count: (name: RegExp) => Promise<number>;
  /** What the control plane says of it, where it is connected and has acknowledged everything; else undefined. */
  readonly inStep: () => Promise<ProxyStatus | undefined>;
}

/**
 * Resolves when it holds all that it is to be sent.
 *
 * @param who its options of `bootstrap envoy`: `--gateway NAME`, or `--sidecar --spiffe-id ID`
 */
export async function startBootstrappedEnvoy(deployment: TestDeployment, program: string, ...who: readonly string[]): Promise<BootstrappedEnvoy> {
  const directory = join(deployment.directory, `${who.at(-1)!.replaceAll(/[^a-z0-9]+/g, '-')}.identity`);
  const bootstrap = () => deployment.cli(['bootstrap', 'envoy', ...who, '--control', deployment.controlEndpoint, '--identity-dir', directory, '-o', 'json']);
  const document = JSON.parse((await bootstrap()).stdout) as { readonly node: { readonly id: string } } & Record<string, JsonValue>;
  const envoy = await startEnvoy(program, (path) => ({ ...document, admin: { address: { pipe: { path, mode: 0o600 } } } }));

  async function inStep(): Promise<ProxyStatus | undefined> {
    const { proxies } = await deployment.admin.get<StatusResult>(adminPaths.status);
    return proxies.find((proxy) => proxy.node === document.node.id && proxy.class === 'envoy' && proxy.types.length > 2 && proxy.types.every(({ state }) => state === 'SYNCED'));
  }

  try {
    await waitFor(`${document.node.id} to be in step`, 10_000, inStep);
  } catch (error) {
    await envoy.stop();
    throw error;
  }
  return {
    ...envoy,
    inStep,
    async renewBootstrap() {
      await bootstrap();
    },
    async identity(source) {
      const { configs = [] } = JSON.parse(await envoy.admin('/config_dump?resource=dynamic_active_secrets')) as { configs?: readonly DynamicSecret[] };
      // Only what comes by a stream has a version.
      const secrets = configs.filter(({ version_info: version }) => (version === undefined) === (source === 'files')).map(({ secret }) => secret);
      const chain = secrets.find(({ tls_certificate: certificate }) => certificate !== undefined)?.tls_certificate?.certificate_chain;
      const trusted = secrets.find(({ validation_context: context }) => context !== undefined)?.validation_context?.trusted_ca;
      if (chain === undefined || trusted === undefined) throw new Error(`${document.node.id} has no identity by ${source}`);
      return { certificate: new X509Certificate(textOf(chain)), trustBundlePem: textOf(trusted) };
    },
    async count(name) {
      const lines = (await envoy.admin('/stats?type=Counters')).split('\n').map((line) => line.split(': '));
      return lines.filter(([counter]) => name.test(counter!)).reduce((sum, [, value]) => sum + Number(value), 0);
    },
  };
}

interface DataSource {
  readonly inline_string?: string;
  /** Base64. */
  readonly inline_bytes?: string;
}

/** As far as it is read here, of Envoy's config dump. */
interface DynamicSecret {
  readonly version_info?: string;
  readonly secret: { readonly tls_certificate?: { readonly certificate_chain: DataSource }; readonly validation_context?: { readonly trusted_ca: DataSource } };
}

const textOf = ({ inline_string: text, inline_bytes: bytes }: DataSource): string => text ?? Buffer.from(bytes ?? '', 'base64').toString();
