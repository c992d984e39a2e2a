/** A connection to a virtual server up to the iRule's decision, without a network. */
import type { ConnectionDenied } from '../../../src/core/ledger-record.ts';
import type { Effect, Tcl } from './tcl.ts';

export interface Caller {
  /** Undefined: no SNI. */
  readonly serverName?: string | undefined;
  /** PEM; undefined for none. */
  readonly certificate: string | undefined;
  /** X509_V_ERR_; default: the chain is good. */
  readonly verifyResult?: number;
  /** Where it comes to. Default: the gateway's own listener, at which services are found by SNI. */
  readonly at?: { readonly address: string; readonly port: number };
  /** A session is resumed: the client's certificate is in it, and does not come again. */
  readonly resumes?: boolean;
}

export interface Verdict {
  readonly allowed: { readonly pool: string; readonly snatPool: string } | null;
  /** Of a refusal: what the log says of it. */
  readonly denied: Pick<ConnectionDenied, 'reason' | 'spiffeId' | 'service' | 'policies' | 'revision'> | null;
  readonly effects: readonly Effect[];
}

let connections = 0;

/** Throws where Tcl does, and where there is neither permission nor refusal, or both. */
export async function comeTo(tcl: Tcl, { serverName, certificate = '', verifyResult = 0, at = { address: '127.0.0.1', port: 15443 }, resumes = false }: Caller): Promise<Verdict> {
  const id = (connections += 1);
  const effects = [
    ...(await tcl.event(id, 'CLIENT_ACCEPTED', { clientAddress: '127.0.0.9', clientPort: 40_000, virtualAddress: at.address, virtualPort: at.port })),
    ...(await tcl.event(id, 'CLIENTSSL_CLIENTHELLO', { serverNameExtension: serverName === undefined ? Buffer.alloc(0) : serverNameExtension(serverName), certificate, verifyResult })),
    ...(resumes ? [] : await tcl.event(id, 'CLIENTSSL_CLIENTCERT')),
    ...(await tcl.event(id, 'CLIENTSSL_HANDSHAKE')),
  ];
  await tcl.forget(id);
  const verdict = { allowed: allowedBy(effects), denied: deniedBy(effects), effects };
  if ((verdict.allowed === null) === (verdict.denied === null)) throw new Error(`neither let in nor refused: ${JSON.stringify(effects)}`);
  return verdict;
}

function allowedBy(effects: readonly Effect[]): Verdict['allowed'] {
  const named = (kind: 'pool' | 'snatpool') => effects.flatMap((effect) => (effect.kind === kind ? effect.name : []));
  const [[pool, ...pools], [snatPool, ...snatPools]] = [named('pool'), named('snatpool')];
  if (pool === undefined && snatPool === undefined) return null;
  if (pool === undefined || snatPool === undefined || pools.length + snatPools.length > 0) throw new Error(`half let in: ${JSON.stringify(effects)}`);
  return { pool, snatPool };
}

function deniedBy(effects: readonly Effect[]): Verdict['denied'] {
  if (!effects.some(({ kind }) => kind === 'reject')) return null;
  const [line] = effects.flatMap((effect) => (effect.kind === 'send' ? [effect.line] : []));
  return JSON.parse(line!.slice(line!.indexOf('{'))) as Verdict['denied'];
}

/** RFC 6066 section 3, with the extension's type and length. */
export function serverNameExtension(name: string): Buffer {
  const bytes = Buffer.from(name, 'latin1');
  const counted = (content: Buffer): Buffer => Buffer.concat([Buffer.of(content.length >> 8, content.length & 0xff), content]);
  return Buffer.concat([Buffer.of(0, 0), counted(counted(Buffer.concat([Buffer.of(0), counted(bytes)])))]);
}
