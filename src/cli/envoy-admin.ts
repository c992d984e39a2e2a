/** Asks an Envoy's administration what it holds. https://www.envoyproxy.io/docs/envoy/latest/operations/admin, GET /config_dump. */
import { request, type RequestOptions } from 'node:http';
import { SallyportError } from '../core/errors.ts';
import { parseEndpoint } from './endpoint.ts';

export interface HeldResource {
  readonly typeUrl: string;
  readonly name: string;
  readonly version: string;
  /** The message as Envoy writes it, secrets left out. */
  readonly content: unknown;
}

const timeoutMs = 5_000;
const bytesMax = 256 * 1024 * 1024;

/** The listeners, clusters and secrets in use that it was sent. `address` is HOST:PORT or the path of a socket. Throws `unavailable`. */
export async function readConfigDump(address: string): Promise<readonly HeldResource[]> {
  const where: RequestOptions = address.includes('/') ? { socketPath: address } : parseEndpoint(address, '--envoy-admin');
  let dump: unknown;
  try {
    dump = JSON.parse(await get({ ...where, path: '/config_dump' }));
  } catch (cause) {
    throw new SallyportError('unavailable', `the administration of Envoy at ${JSON.stringify(address)} does not answer`, { place: '--envoy-admin', hint: 'it is named in its bootstrap', cause });
  }
  const { configs = [] } = dump as ConfigDump;
  return configs.flatMap((config) => [
    ...(config.dynamic_listeners ?? []).flatMap(({ active_state: active }) => (active === undefined ? [] : [heldOf(active.listener, active.version_info)])),
    ...(config.dynamic_active_clusters ?? []).map(({ cluster, version_info: version }) => heldOf(cluster, version)),
    // Those of the bootstrap's files have the same names, and no version.
    ...(config.dynamic_active_secrets ?? []).flatMap(({ secret, version_info: version }) => (version === undefined ? [] : [heldOf(secret, version)])),
  ]);
}

/** The parts of envoy.admin.v3.ConfigDump that are read here. */
interface ConfigDump {
  readonly configs?: readonly {
    readonly dynamic_listeners?: readonly { readonly active_state?: { readonly version_info?: string; readonly listener: Named } }[];
    readonly dynamic_active_clusters?: readonly { readonly version_info?: string; readonly cluster: Named }[];
    readonly dynamic_active_secrets?: readonly { readonly version_info?: string; readonly secret: Named }[];
  }[];
}

interface Named {
  readonly '@type': string;
  readonly name: string;
}

const heldOf = (resource: Named, version = ''): HeldResource => ({ typeUrl: resource['@type'], name: resource.name, version, content: resource });

function get(options: RequestOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const asking = request({ ...options, timeout: timeoutMs }, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > bytesMax) asking.destroy(new Error('the answer is too large'));
      });
      response.once('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
      response.once('error', reject);
    });
    asking.once('timeout', () => asking.destroy(new Error('no answer in time')));
    asking.once('error', reject);
    asking.end();
  });
}
