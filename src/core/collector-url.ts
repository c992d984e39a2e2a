/** Where an OpenTelemetry Collector is: a base URL, as of OTEL_EXPORTER_OTLP_ENDPOINT. https://opentelemetry.io/docs/specs/otel/protocol/exporter/ */
import { isLoopback, parseAddress } from './ip-address.ts';

export type CollectorUrlParse = { readonly ok: true; readonly url: URL } | { readonly ok: false; readonly reason: string };

/**
 * The URL that logs are sent to, `BASE/v1/logs`. In the clear on this host only. What could be a secret is refused, unquoted: a command line is
 * seen by others.
 */
export function parseCollectorUrl(text: string): CollectorUrlParse {
  if (!URL.canParse(text)) return { ok: false, reason: 'is not a URL' };
  const url = new URL(text);
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return { ok: false, reason: 'has more than a scheme, a host, a port and a path' };
  const address = parseAddress(url.hostname.replace(/^\[|\]$/g, ''));
  const isHere = url.hostname === 'localhost' || (address !== undefined && isLoopback(address));
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isHere)) return { ok: false, reason: 'is neither https:// nor http:// on this host' };
  url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/logs`;
  return { ok: true, url };
}
