/**
 * HTTP/1.x heads as far as CONNECT needs them (RFC 9112, RFC 9110 section 9.3.6): what a client asks a forward proxy for, and
 * whether the proxy agreed. Anything that two parsers might read in two ways is refused: what passes is read the same by the proxy.
 */

/** Far more than a CONNECT with a Kerberos ticket in Proxy-Authorization has. */
export const headBytesMax = 16_384;

export type HeadRead =
  | { readonly kind: 'incomplete' }
  /** `head` ends in its empty line; `rest` came after it. */
  | { readonly kind: 'head'; readonly head: Buffer; readonly rest: Buffer }
  | { readonly kind: 'fault'; readonly detail: string };

const carriageReturn = 0x0d;
const lineFeed = 0x0a;

/** Reads one head, in whatever pieces it comes; the same for every way of cutting it. A fault or a head is its last answer. */
export function createHeadReader(): (chunk: Buffer) => HeadRead {
  const chunks: Buffer[] = [];
  let length = 0;
  let lineBytes = 0;
  let afterCarriageReturn = false;
  const fault = (detail: string): HeadRead => ({ kind: 'fault', detail });

  return (chunk) => {
    for (const [index, byte] of chunk.entries()) {
      if (length + index >= headBytesMax) return fault(`the head is longer than ${headBytesMax} bytes`);
      if (afterCarriageReturn !== (byte === lineFeed)) return fault(afterCarriageReturn ? 'a carriage return without a line feed' : 'a line feed without a carriage return'); // RFC 9112 2.2
      if (byte === lineFeed && lineBytes === 0) {
        return { kind: 'head', head: Buffer.concat([...chunks, chunk.subarray(0, index + 1)]), rest: chunk.subarray(index + 1) };
      }
      if (byte !== lineFeed && byte !== carriageReturn && (byte < 0x20 ? byte !== 0x09 : byte === 0x7f)) return fault('a control character in the head'); // RFC 9110 5.5
      afterCarriageReturn = byte === carriageReturn;
      if (byte === lineFeed) lineBytes = 0;
      else if (byte !== carriageReturn) lineBytes += 1;
    }
    chunks.push(chunk);
    length += chunk.length;
    return { kind: 'incomplete' };
  };
}

export type ConnectRequestParse =
  | { readonly ok: true; readonly authority: string }
  /** The HTTP status to answer with. `detail` is one sentence and may quote the client. */
  | { readonly ok: false; readonly status: 400 | 403; readonly detail: string };

/** Reads a request's head. Only `CONNECT authority HTTP/1.x` is accepted; whether the authority is well formed is `parseAuthority`'s to say. */
export function parseConnectRequest(head: Buffer): ConnectRequestParse {
  const malformed = (detail: string): ConnectRequestParse => ({ ok: false, status: 400, detail });
  const { startLine, fields } = readLines(head);
  const [, method, target] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) HTTP\/1\.[01]$/.exec(startLine) ?? [];
  if (method === undefined || target === undefined) return malformed('the first line is not an HTTP/1.x request');
  if (method !== 'CONNECT') return { ok: false, status: 403, detail: `the method is ${method}, and only CONNECT is let through here` };
  if (fields === undefined) return malformed('a header line is not "name: value"');
  for (const name of ['content-length', 'transfer-encoding']) if (fields.has(name)) return malformed(`a CONNECT with ${name} may be read in two ways`); // RFC 9112 6.1, 9110 9.3.6
  const hosts = fields.get('host') ?? [];
  if (hosts.length > 1) return malformed('more than one host header'); // RFC 9112 3.2
  // A proxy may go by either; clients leave the port out.
  const [host = target] = hosts.map((value) => value.toLowerCase());
  const authority = target.toLowerCase();
  if (host !== authority && host !== authority.slice(0, authority.lastIndexOf(':'))) return malformed('the host header names another host than the CONNECT');
  return { ok: true, authority: target };
}

export type ProxyResponseParse =
  /** The tunnel is there: every byte from here on is the tunnel's (RFC 9110 9.3.6). */
  | { readonly kind: 'tunnel' }
  /** 1xx: another head follows. */
  | { readonly kind: 'interim' }
  /** Refused; then come so many bytes of body, or, with null, an unknown number up to the connection's end. */
  | { readonly kind: 'refused'; readonly status: number; readonly bodyBytes: number | null }
  | { readonly kind: 'fault'; readonly detail: string };

/** Reads the head of a proxy's answer to CONNECT. */
export function parseProxyResponse(head: Buffer): ProxyResponseParse {
  const { startLine, fields } = readLines(head);
  const [, statusText] = /^HTTP\/1\.[01] ([1-5][0-9]{2})(?: .*)?$/.exec(startLine) ?? [];
  if (statusText === undefined || fields === undefined) return { kind: 'fault', detail: "the proxy's answer is not an HTTP/1.x response" };
  const status = Number(statusText);
  if (status === 101) return { kind: 'fault', detail: 'the proxy answered a CONNECT with 101' };
  if (status < 200) return { kind: 'interim' };
  if (status < 300) return { kind: 'tunnel' };
  if (status === 304) return { kind: 'refused', status, bodyBytes: 0 };
  const lengths = fields.get('content-length') ?? [];
  const length = lengths.length === 1 && !fields.has('transfer-encoding') && /^[0-9]{1,15}$/.test(lengths[0]!) ? Number(lengths[0]) : null;
  return { kind: 'refused', status, bodyBytes: length };
}

/** `fields` is undefined where a line is not a field, a folded one included (RFC 9112 5.2). Names are lower case. */
function readLines(head: Buffer): { readonly startLine: string; readonly fields: ReadonlyMap<string, readonly string[]> | undefined } {
  const [startLine = '', ...lines] = head.toString('latin1').slice(0, -4).split('\r\n');
  const fields = new Map<string, string[]>();
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) return { startLine, fields: undefined };
    const values = fields.get(name.toLowerCase());
    if (values === undefined) fields.set(name.toLowerCase(), [value]);
    else values.push(value);
  }
  return { startLine, fields };
}
