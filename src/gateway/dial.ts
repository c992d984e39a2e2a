/** Connecting onward: from the identity's own address, through the targets in turn, in bounded time. */
import type net from 'node:net';
import { familyOf, formatAddress, formatEndpoint, type IpAddress } from '../core/ip-address.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { DenyReason, Endpoint, SnatSource, Target } from '../core/plan/plan.ts';
import type { SnatPorts } from '../core/snat/snat-ports.ts';
import type { SnatAddress } from '../core/snat/snat-source.ts';
import { connectInPlace } from '../relay/in-place-reads.ts';
import type { HostLookup } from './host-lookup.ts';

export interface DialRequest {
  readonly snat: SnatSource;
  /** Tried in turn. */
  readonly targets: readonly Target[];
  /** For all of it: name resolution and every attempt. */
  readonly connectTimeoutMs: number;
  /** Ends the attempt, with reason `client-closed`. */
  readonly signal?: AbortSignal;
}

export type DialOutcome<Socket = net.Socket> = Dialled<Socket> | Failure;

export interface Dialled<Socket = net.Socket> extends Connected<Socket> {
  /** The one that led to `remote`. */
  readonly target: Target;
}

/** What is dialled for: a stream, or a UDP socket that speaks with one peer. */
export interface Dialable {
  once(event: 'close', listener: () => void): unknown;
  destroy(): unknown;
}

/** The socket is connected and gives its source port back when it closes. A stream is half-open and not flowing, and has an error listener: watch `close`. */
export interface Connected<Socket = net.Socket> {
  readonly ok: true;
  readonly socket: Socket;
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** `detail` is one sentence, safe to print, and tells of every target. */
export interface Failure {
  readonly ok: false;
  readonly reason: ConnectionReason | DenyReason;
  readonly detail: string;
}

export type Dial<Socket = net.Socket> = (request: DialRequest) => Promise<DialOutcome<Socket>>;

/** How a source port is used. */
export interface DialTransport<Socket> {
  /** One try, from one address and port to one place. */
  readonly attempt: (from: Endpoint, to: Endpoint, timeoutMs: number, signal: AbortSignal | undefined) => Promise<Connected<Socket> | Failure | PortTaken>;
  /** What a source port serves once at a time. */
  readonly useOf: (to: Endpoint) => string;
}

/** The kernel would not let this port go there. */
export type PortTaken = Failure & { readonly portTaken: true };

/** Ports refused by the kernel before a dial gives up: a whole small block, or a fair sample of a large one. */
const portRefusalsMax = 256;
/** As Go's net.Dialer: a target that does not answer must leave time for the next. */
const attemptTimeoutMinMs = 2_000;

export interface DialOptions {
  readonly ports: SnatPorts;
  readonly lookup: HostLookup;
  readonly now: () => number;
}

export function createDial<Socket extends Dialable>({ attempt, useOf }: DialTransport<Socket>, { ports, lookup, now }: DialOptions): Dial<Socket> {
  return async function dial({ snat, targets, connectTimeoutMs, signal }) {
    const deadlineMs = now() + connectTimeoutMs;
    const failures: Failure[] = [];
    for (const [index, target] of targets.entries()) {
      const remainingMs = deadlineMs - now();
      if (remainingMs <= 0) break;
      const places = target.kind === 'address' ? { ok: true as const, addresses: [target.address] } : await lookup(target.host, remainingMs);
      if (!places.ok) {
        failures.push({ ok: false, reason: places.reason, detail: places.detail });
        continue;
      }
      for (const [place, address] of places.addresses.entries()) {
        const source = familyOf(address) === 'ipv4' ? snat.ipv4 : snat.ipv6;
        const remote = { address, port: target.port };
        if (source === undefined) {
          failures.push({ ok: false, reason: 'snat-family-mismatch', detail: `${formatEndpoint(remote)} needs an ${familyName(address)} source address, and the identity has none` });
          continue;
        }
        const left = deadlineMs - now();
        const share = left / (targets.length - index + places.addresses.length - place - 1);
        const timeoutMs = Math.min(left, Math.max(share, attemptTimeoutMinMs));
        const outcome = timeoutMs > 0 ? await connectFrom(source, remote, timeoutMs, signal) : timedOut(remote, connectTimeoutMs);
        if (outcome.ok) return { ...outcome, target };
        if (outcome.reason === 'client-closed') return outcome;
        failures.push(outcome);
      }
    }
    return summarise(failures, connectTimeoutMs);
  };

  async function connectFrom(source: SnatAddress, remote: Endpoint, timeoutMs: number, signal: AbortSignal | undefined): Promise<Connected<Socket> | Failure> {
    const use = useOf(remote);
    const refused: number[] = [];
    try {
      for (;;) {
        const port = refused.length < portRefusalsMax ? ports.take(source, use, refused.length) : undefined;
        if (port === undefined) {
          const range = `${source.ports.first}-${source.ports.last}`;
          return { ok: false, reason: 'snat-ports-exhausted', detail: `no port of ${formatAddress(source.address)}:${range} is free for ${formatEndpoint(remote)} (${refused.length} refused by the kernel)` };
        }
        const outcome = await attempt({ address: source.address, port }, remote, timeoutMs, signal);
        if (outcome.ok) {
          outcome.socket.once('close', () => ports.release(source, use, port));
          return outcome;
        }
        if (!('portTaken' in outcome)) {
          ports.release(source, use, port);
          return outcome;
        }
        refused.push(port);
      }
    } finally {
      for (const port of refused) ports.release(source, use, port);
    }
  }
}

/** TCP: a source port leads to several places at once, to each by one connection. */
export const streams: DialTransport<net.Socket> = { attempt: attemptStream, useOf: formatEndpoint };

function attemptStream(from: Endpoint, remote: Endpoint, timeoutMs: number, signal: AbortSignal | undefined): Promise<Connected | Failure | PortTaken> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve(clientClosed);
      return;
    }
    // Keep-alive finds a peer that vanished long before the idle timeout, which may be an hour.
    const socket = connectInPlace({ host: remote.address, port: remote.port, localAddress: from.address, localPort: from.port, allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs });
    const giveUp = (failure: Failure): void => {
      settle();
      socket.destroy();
      resolve(failure);
    };
    const timer = setTimeout(() => giveUp(timedOut(remote, timeoutMs)), timeoutMs);
    const onAbort = (): void => giveUp(clientClosed);
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    signal?.addEventListener('abort', onAbort);
    socket.once('connect', () => {
      settle();
      resolve({ ok: true, socket, local: from, remote });
    });
    // Stays for the socket's life: an error without a listener would end the process, and `close` follows every error.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      settle();
      resolve(describeFailure(error, from.address, remote));
    });
  });
}

export const keepAliveDelayMs = 30_000;

export const clientClosed: Failure = { ok: false, reason: 'client-closed', detail: 'the client closed the connection before the target was reached' };

export const timedOut = (remote: Endpoint, timeoutMs: number): Failure => ({ ok: false, reason: 'connect-timeout', detail: `${formatEndpoint(remote)} did not answer within ${Math.round(timeoutMs)} ms` });

export function describeFailure({ code = 'an unknown error', syscall }: NodeJS.ErrnoException, localAddress: IpAddress, remote: Endpoint): Failure | PortTaken {
  // bind(2) gives EADDRNOTAVAIL for an address that is not this host's; connect(2) gives it for a four-tuple in use. libuv reports EADDRINUSE of bind at connect.
  if (syscall === 'bind' && code === 'EADDRNOTAVAIL') return { ok: false, reason: 'connect-failed', detail: `the source address ${localAddress} is not an address of this host` };
  const failure: Failure = { ok: false, reason: code === 'ETIMEDOUT' ? 'connect-timeout' : 'connect-failed', detail: `connecting from ${localAddress} to ${formatEndpoint(remote)} failed with ${code}` };
  return code === 'EADDRINUSE' || code === 'EADDRNOTAVAIL' ? { ...failure, portTaken: true } : failure;
}

/** One outcome for all targets: the last attempt that could have succeeded says why. */
function summarise(failures: readonly Failure[], connectTimeoutMs: number): Failure {
  const telling = failures.findLast((failure) => failure.reason !== 'snat-family-mismatch') ?? failures.at(-1);
  if (telling === undefined) return { ok: false, reason: 'connect-timeout', detail: `no target was reached within ${connectTimeoutMs} ms` };
  return { ok: false, reason: telling.reason, detail: failures.map((failure) => failure.detail).join('; ') };
}

const familyName = (address: IpAddress): string => (familyOf(address) === 'ipv4' ? 'IPv4' : 'IPv6');
