/**
 * HTTPConnect under a grant that names authorities: each CONNECT is read and decided before the forward proxy sees a byte of it,
 * and nothing else passes until the proxy has agreed to one.
 */
import type { Socket } from 'node:net';
import { parseConnectRequest, parseProxyResponse } from '../core/connect-request.ts';
import { decideConnect } from '../core/plan/decide.ts';
import { describeDenial } from '../core/plan/denial.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { DenyReason } from '../core/plan/plan.ts';
import { reset } from '../relay/reset.ts';
import { splice } from '../relay/splice.ts';
import type { Dialled } from './dial.ts';
import { happens, passBytes, readHead } from './head-stream.ts';
import type { AllowedDecision, OpenedRecord, ProtocolHandler } from './protocol.ts';
import { handleStream, reasonOf } from './stream-handler.ts';

export const handleConnect: ProtocolHandler = (context) => (context.grant.connectAuthorities === null ? handleStream(context) : handleLimitedConnect(context));

/** What follows an exchange of request and answer: another one, the tunnel, or the connection's end. */
type Next = { readonly kind: 'request' } | { readonly kind: 'tunnel' } | { readonly kind: 'end'; readonly reason: ConnectionReason };

const endFor = (reason: ConnectionReason): Next => ({ kind: 'end', reason });
/** For the client to take an answer and close: a reset would overtake the answer. */
const lingerMs = 2_000;

const handleLimitedConnect: ProtocolHandler = (context) => {
  const { client, ledger, servicePort, grant, peer, settings } = context;
  const { idleTimeoutMs, handshakeTimeoutMs: requestTimeoutMs } = settings.limits;
  let ended: ConnectionReason | undefined;
  let authority: string | undefined;
  let dialled: Dialled | undefined;
  let record: OpenedRecord | undefined;

  const decideOn = (granted: AllowedDecision['grant'], named: string) => decideConnect({ allowed: true, servicePort, grant: granted }, named);

  /** Answers in plain text and takes no further request. */
  function refuse(status: string, reason: DenyReason | ConnectionReason, detail: string): Next {
    ledger.denied(reason, detail);
    const body = `${detail}\n`;
    if (client.writable) client.end(`HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`);
    return endFor('finished');
  }

  async function exchange(): Promise<Next> {
    const read = await readHead(client, requestTimeoutMs);
    if (read.kind === 'closed') return endFor('client-closed');
    if (read.kind === 'timeout') return refuse('408 Request Timeout', 'connect-request-invalid', `no CONNECT came within ${requestTimeoutMs} ms`);
    if (read.kind === 'fault') return refuse('400 Bad Request', 'connect-request-invalid', read.detail);
    const request = parseConnectRequest(read.head);
    if (!request.ok) return refuse(request.status === 400 ? '400 Bad Request' : '403 Forbidden', 'connect-request-invalid', request.detail);
    const decision = decideOn(grant, request.authority);
    if (!decision.allowed) return refuse('403 Forbidden', decision.reason, describeDenial(decision.reason, { identity: peer.spiffeId, target: servicePort.id, authority: request.authority }));

    if (dialled === undefined) {
      const outcome = await context.dial();
      if (!outcome.ok) return refuse('502 Bad Gateway', ended ?? outcome.reason, outcome.detail);
      dialled = outcome;
    }
    if (authority !== request.authority) {
      closeRecord('finished');
      authority = request.authority;
      record = ledger.opened(dialled, { channel: 'connect', authority });
    }
    dialled.socket.write(read.head);
    return await answer(dialled.socket);
  }

  async function answer(proxy: Socket): Promise<Next> {
    for (;;) {
      const read = await readHead(proxy, idleTimeoutMs);
      if (read.kind === 'closed') return endFor('target-reset');
      if (read.kind === 'timeout') return endFor('idle-timeout');
      const response = read.kind === 'head' ? parseProxyResponse(read.head) : read;
      if (read.kind === 'fault' || response.kind === 'fault') return refuse('502 Bad Gateway', 'connect-failed', "the proxy's answer to a CONNECT cannot be read");
      client.write(read.head);
      if (response.kind === 'tunnel') return { kind: 'tunnel' };
      if (response.kind === 'refused') return await passBody(proxy, response.bodyBytes);
    }
  }

  /** Hands on the body of a refusal, where an attacker may have words: its end must be known before another answer is looked for. */
  async function passBody(proxy: Socket, bodyBytes: number | null): Promise<Next> {
    if (bodyBytes === null) {
      proxy.pipe(client);
      await happens(client, 'readable', idleTimeoutMs); // whoever asks again has read the body, and finds the connection closed
      return endFor('finished');
    }
    const { kind } = await passBytes(proxy, client, bodyBytes, idleTimeoutMs);
    if (kind === 'passed') return { kind: 'request' };
    return endFor(kind === 'closed' ? 'target-reset' : 'idle-timeout');
  }

  function closeRecord(reason: ConnectionReason): void {
    if (dialled !== undefined) record?.closed({ reason, bytesSent: dialled.socket.bytesWritten, bytesReceived: dialled.socket.bytesRead });
  }

  async function serve(): Promise<void> {
    let next: Next = { kind: 'request' };
    while (next.kind === 'request') next = await exchange();
    if (next.kind === 'tunnel' && dialled !== undefined) {
      const spliced = splice<ConnectionReason>(client, dialled.socket, { idleTimeoutMs });
      for (const socket of [client, dialled.socket]) socket.resume(); // reading heads has left them paused
      next = endFor(reasonOf((await spliced.done).reason));
    } else if (next.kind === 'end' && next.reason === 'finished') {
      client.resume();
      if (client.writable) client.end();
      await happens(client, 'close', lingerMs);
    }
    closeRecord(ended ?? (next.kind === 'end' ? next.reason : 'finished'));
    reset(client);
    if (dialled !== undefined) reset(dialled.socket);
  }

  return {
    done: serve(),
    end(reason) {
      ended ??= reason;
      reset(client);
      if (dialled !== undefined) reset(dialled.socket);
    },
    allowedBy: (next) => authority === undefined || decideOn(next, authority).allowed,
  };
};
