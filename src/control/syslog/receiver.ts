/**
 * Listens for the log of gateways that speak syslog (BIG-IP): over TLS (RFC 5425) and plain TCP (RFC 6587). Syslog acknowledges
 * nothing, so whatever is read and not written is lost without a sign: no connection is read on before what came is durable, and where
 * the ledger takes nothing any more nobody listens, so that a box's monitor finds that out and the box turns to another receiver.
 */
import { createServer, type AddressInfo, type DropArgument, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { createSyslogDeframer } from '../../core/syslog/framing.ts';
import { parseMeshCertificate, type X509Svid } from '../../core/x509/x509-svid.ts';
import type { ControlIdentity } from '../control-identity.ts';
import { listening } from '../listening.ts';
import { createLineIntake, messageBytesMax, type LineCounts, type LineIntakeOptions } from './line-intake.ts';
import { createRemarks } from './remarks.ts';
import { admitAddress, admitCertificate, type Admission, type AllowedSender } from './senders.ts';

interface Place {
  readonly host: string;
  readonly port: number;
}

/** Where is listened, and whom over plain TCP. */
export interface SyslogOptions {
  readonly tcp: Place | null;
  readonly tls: Place | null;
  readonly allowed: readonly AllowedSender[];
}

/** What is counted. */
export interface SyslogCounts extends LineCounts {
  readonly onConnectionRefused: () => void;
}

export interface SyslogLimits {
  /** At each port. Each thread of a box has connections of its own, and boxes have dozens. */
  readonly connectionsMax: number;
  readonly handshakeTimeoutMs: number;
  /** Boxes themselves close sooner what they do not use. */
  readonly idleTimeoutMs: number;
  /** From the first byte of a frame to its last, however many come in between. */
  readonly frameTimeoutMs: number;
}

const defaultLimits: SyslogLimits = { connectionsMax: 1_024, handshakeTimeoutMs: 10_000, idleTimeoutMs: 3_600_000, frameTimeoutMs: 30_000 };

export interface SyslogReceiverOptions extends SyslogOptions, SyslogCounts, Omit<LineIntakeOptions, 'remarks'> {
  readonly isRevoked: (svid: X509Svid) => boolean;
  readonly limits?: Partial<SyslogLimits>;
}

/** Where is listened, as the operating system has it. */
export interface SyslogPorts {
  readonly tcp?: number;
  readonly tls?: number;
}

export interface SyslogReceiver {
  readonly ports: SyslogPorts;
  /**
   * Listens, and is this over TLS from now on; connections that are open stay. Throws `unavailable` where the operating system refuses an
   * address.
   */
  show(identity: ControlIdentity): Promise<void>;
  /** What is wrong, a sentence each. */
  conditions(): readonly string[];
  /** Ends every connection, and waits until what was read of them is durable or given up. */
  close(): Promise<void>;
}

/** Finds out those that are gone without a word. */
const keepAliveMs = 60_000;

export function createSyslogReceiver(options: SyslogReceiverOptions): SyslogReceiver {
  const { tcp, tls, allowed, plan, isRevoked, onConnectionRefused, now, log } = options;
  const { connectionsMax, handshakeTimeoutMs, idleTimeoutMs, frameTimeoutMs } = { ...defaultLimits, ...options.limits };
  const remarks = createRemarks(now);
  const intake = createLineIntake({ ...options, remarks });
  const closing = new AbortController();
  const servers: Server[] = [];
  let plain: Server | undefined;
  let secure: TlsServer | undefined;
  const connections = new Map<Socket, Promise<void>>();
  /** Why nobody listens any more. */
  let failure: string | undefined;

  function noteRefused(client: string, reason: string): void {
    onConnectionRefused();
    const subject = `a syslog connection from ${client} was refused`;
    if (remarks.note(subject, reason)) log.warn({ client }, `${subject}: it ${reason}`);
  }

  /** Asks anew, each time that something comes, whose connection it is. */
  function accept(socket: Socket, admit: (remoteAddress: string) => Admission): void {
    const { remoteAddress } = socket;
    // It may have gone already, and nobody may be listened to any more.
    if (remoteAddress === undefined || closing.signal.aborted || failure !== undefined) {
      socket.destroy();
      return;
    }
    const admitted = (): string | undefined => {
      const admission = admit(remoteAddress);
      if (admission.ok) return admission.gateway;
      noteRefused(remoteAddress, admission.reason);
      socket.destroy();
      return undefined;
    };
    const done = carry(socket, admitted)
      .catch(() => undefined) // of the socket, whose event told it
      .finally(() => connections.delete(socket));
    connections.set(socket, done);
  }

  async function carry(socket: Socket, admitted: () => string | undefined): Promise<void> {
    const deframer = createSyslogDeframer(messageBytesMax);
    let isWriting = false;
    let frameEndsByMs = Infinity;
    let isLate = false;
    let gateway = admitted();
    if (gateway === undefined) return;
    socket.setKeepAlive(true, keepAliveMs);
    socket.setTimeout(idleTimeoutMs).on('timeout', () => {
      if (isWriting) return;
      isLate = true;
      socket.destroy();
    });
    try {
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        const sender = admitted();
        if (sender === undefined) return;
        gateway = sender;
        const isContinued = deframer.isWithinFrame();
        const frames = deframer.push(chunk);
        isWriting = true;
        if (!(await isDurable(intake.take(gateway, frames, closing.signal)))) return;
        isWriting = false;
        if (frames.at(-1)?.kind === 'out-of-step') return;
        if (!isContinued || frames.length > 0) frameEndsByMs = performance.now() + frameTimeoutMs;
        const leftMs = deframer.isWithinFrame() ? frameEndsByMs - performance.now() : idleTimeoutMs;
        isLate = leftMs <= 0;
        if (isLate) return;
        socket.setTimeout(Math.ceil(leftMs));
      }
    } finally {
      if (deframer.isWithinFrame()) intake.refuse(gateway, isLate ? `was not whole after ${frameTimeoutMs / 1_000} s` : 'ended before it was whole');
    }
  }

  /** Where it is not, and never will be, nobody is listened to any more. */
  async function isDurable(taking: Promise<void>): Promise<boolean> {
    try {
      await taking;
      return true;
    } catch (error) {
      if (closing.signal.aborted || failure !== undefined) return false;
      failure = 'the ledger takes no more records, and so nobody listens for syslog: see the log, and start the control plane again';
      log.error({ err: error }, failure);
      for (const server of servers) server.close();
      for (const socket of connections.keys()) socket.destroy();
      return false;
    }
  }

  async function listen<Listener extends Server>(server: Listener, place: Place): Promise<Listener> {
    server.maxConnections = connectionsMax;
    server.on('drop', (dropped?: DropArgument) => noteRefused(dropped?.remoteAddress ?? 'somewhere', `came when ${connectionsMax} were open, which is all there are`));
    await listening(server, `${place.host}:${place.port}`, () => server.listen(place));
    servers.push(server);
    log.info({ port: (server.address() as AddressInfo).port }, 'listening for syslog');
    return server;
  }

  async function close(): Promise<void> {
    closing.abort();
    for (const socket of connections.keys()) socket.destroy();
    await Promise.all([...connections.values(), ...servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())))]);
  }

  const onSocketError = (error: Error): void => log.debug({ err: error }, 'syslog connection failed');

  function createPlain(): Server {
    return createServer((socket) => {
      socket.on('error', onSocketError);
      accept(socket, (remoteAddress) => admitAddress(remoteAddress, allowed, plan()));
    });
  }

  function createSecure(identity: ControlIdentity): TlsServer {
    // Whoever is not verified is refused below, where the reason is known.
    const server = createTlsServer({ ...tlsOptions(identity), requestCert: true, rejectUnauthorized: false, handshakeTimeout: handshakeTimeoutMs });
    server.on('secureConnection', (socket: TLSSocket) => {
      socket.on('error', onSocketError);
      const certificate = socket.authorized ? parseMeshCertificate(socket.getPeerX509Certificate()?.raw ?? Buffer.alloc(0)) : undefined;
      // Node does not survive a connection that ends within the call that ends its handshake.
      setImmediate(() => accept(socket, () => (certificate === undefined ? { ok: false, reason: 'has shown no certificate that the trust bundle verifies' } : admitCertificate(certificate, { plan: plan(), isRevoked, nowMs: now() }))));
    });
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      const { remoteAddress } = socket;
      socket.destroy(); // a handshake that is only late Node tells of, and leaves open
      // Whoever has gone already may be a monitor that looks whether somebody listens.
      if (remoteAddress !== undefined) noteRefused(remoteAddress, `has failed in its TLS handshake (${error.code ?? 'error'})`);
    });
    return server;
  }

  const ports = (): SyslogPorts => ({ ...portOf('tcp', plain), ...portOf('tls', secure) });

  return {
    get ports() {
      return ports();
    },
    async show(identity) {
      secure?.setSecureContext(tlsOptions(identity));
      if (tcp !== null) plain ??= await listen(createPlain(), tcp);
      if (tls !== null) secure ??= await listen(createSecure(identity), tls);
    },
    conditions: () => [...(failure === undefined ? [] : [failure]), ...remarks.conditions()],
    close,
  };
}

function portOf(name: keyof SyslogPorts, server: Server | undefined): SyslogPorts {
  const address = server?.address() as AddressInfo | null | undefined;
  return address === undefined || address === null ? {} : { [name]: address.port };
}

/** TLS 1.2 too, which receivers of syslog have to speak (RFC 9662, section 4). */
function tlsOptions({ certificateChainPem, privateKeyPem, trustBundlePem }: ControlIdentity) {
  return { cert: certificateChainPem, key: privateKeyPem, ca: trustBundlePem, minVersion: 'TLSv1.2', allowPartialTrustChain: true } as const;
}
