/** What a workload does once it is connected: in each manner it hears a greeting of the witness's, and takes leave when it is told to. */
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { formatProxyHeader } from '../../src/core/proxy-header.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import { createCapsuleDecoder, encodeDatagram } from '../../src/core/udp/capsule.ts';
import type { WorkloadConnection } from './data-plane.ts';
import { greetingIn, greetingPattern, type ConformanceWitness, type Greeting } from './witness.ts';
import { talkOver, type Conversation } from './workload.ts';
import type { Manner } from './world.ts';

export interface Visit {
  /** When the witness has greeted, and all else has been done; also when that will not be. */
  readonly greeted: Promise<void>;
  /** Lets it end. */
  takeLeave(): void;
  readonly over: Promise<Visited>;
}

export interface Visited extends Conversation {
  /** What the witness said; undefined where it was not heard. */
  readonly greeting: Greeting | undefined;
  /** Of FTP. */
  readonly data?: DataVisited;
}

export interface DataVisited extends Visited {
  /** The workload's end, `address:port`. */
  readonly client: string;
}

/** What a visit needs beside its connection. */
export interface VisitOptions {
  /** What the workload says first. */
  readonly opening?: string;
  /** Connects once more, to this port of the gateway's. */
  readonly connectData: (port: number) => Promise<WorkloadConnection>;
  readonly witness: Pick<ConformanceWitness, 'caCertificates' | 'goTo'>;
  /** Where the witness goes to, where it is to come; undefined where it is not. */
  readonly meeting?: { readonly address: string; readonly port: number; readonly from: string } | undefined;
}

/** In each manner. */
export type Visits = Readonly<Record<Manner, (connection: WorkloadConnection, options: VisitOptions) => Visit>>;

/** Of workloads that come to a gateway through the mesh. */
export const meshVisits: Visits = { stream: visitByStream, datagram: visitByCapsule, ftp: visitByFtp, ftps: visitByFtps, reverse: beVisitedAsAnnounced };

/** Of workloads that are routed through a gateway, and speak with the service as if there were none. */
export const routedVisits: Visits = { ...meshVisits, datagram: visitByDatagram, reverse: beVisited };

/** Says `opening`, and listens. */
export function visitByStream({ socket }: WorkloadConnection, { opening = '' }: Pick<VisitOptions, 'opening'> = {}): Visit {
  const talk = talkOver(socket);
  if (opening !== '') talk.say(opening);
  return {
    greeted: talk.hears(greetingPattern).then(ignore),
    takeLeave: () => talk.say('QUIT\r\n'),
    over: talk.over.then(visited),
  };
}

const visited = (conversation: Conversation): Visited => ({ ...conversation, greeting: greetingIn(conversation.heard) });
const ignore = (): void => undefined;

const question = 'who am I?';

/** One datagram, and its answer. */
function visitByDatagram(connection: WorkloadConnection): Visit {
  return { ...visitByStream(connection, { opening: question }), takeLeave: () => connection.socket.end() };
}

/** The same as capsules on the connection. What was said are the datagrams alone. */
function visitByCapsule({ socket }: WorkloadConnection): Visit {
  const decoder = createCapsuleDecoder();
  const greeted = Promise.withResolvers<undefined>();
  const over = Promise.withResolvers<Visited>();
  let heard = '';
  socket.on('data', (chunk: Buffer) => {
    for (const { payload } of decoder.take(chunk).datagrams) heard += payload.toString('latin1');
    if (greetingIn(heard) !== undefined) greeted.resolve(undefined);
  });
  socket.once('close', () => {
    greeted.resolve(undefined);
    over.resolve(visited({ said: question, heard }));
  });
  socket.write(encodeDatagram({ contextId: 0, payload: Buffer.from(question) }));
  return { greeted: greeted.promise, takeLeave: () => socket.end(), over: over.promise };
}

/** Fetches a file. */
function visitByFtp({ socket }: WorkloadConnection, { connectData }: VisitOptions): Visit {
  const talk = talkOver(socket);

  async function fetch(): Promise<DataVisited | undefined> {
    if ((await talk.hears(greetingPattern)) === null) return undefined;
    talk.say('EPSV\r\n');
    const announced = await talk.hears(/^229 .*\(\|\|\|([0-9]+)\|\)\r\n/m);
    if (announced === null) return undefined;
    const { socket: data, client } = await connectData(Number(announced[1]));
    const transfer = talkOver(data);
    talk.say('RETR file\r\n');
    const conversation = await transfer.over;
    await talk.hears(/^226 .*\r\n/m);
    return { ...visited(conversation), client };
  }

  const fetched = fetch();
  return {
    greeted: fetched.then(ignore),
    takeLeave: () => talk.say('QUIT\r\n'),
    over: Promise.all([talk.over, fetched]).then(([conversation, data]) => ({ ...visited(conversation), ...(data === undefined ? {} : { data }) })),
  };
}

/** Speaks TLS with the witness itself, which must be who it says it is. What was said is said as the connection carries it. */
function visitByFtps({ socket }: WorkloadConnection, { witness }: VisitOptions): Visit {
  const talk = talkOver(socket);
  const carrier = new Duplex({
    read: ignore,
    write(chunk: Buffer, _encoding, done) {
      talk.say(chunk.toString('latin1'));
      done();
    },
    final: (done) => void socket.end(done),
  });

  async function secure(): Promise<TLSSocket | undefined> {
    const greeting = await talk.hears(greetingPattern);
    talk.say('AUTH TLS\r\n');
    const answered = await talk.hears(/\r\n([0-9]{3}) .*\r\n/);
    if (greeting === null || answered?.[1] !== '234') return undefined;
    socket.on('data', (chunk: Buffer) => carrier.push(chunk));
    socket.once('close', () => carrier.push(null));
    const secured = connectTls({ socket: carrier, ca: witness.caCertificates, host: greetingIn(greeting[0])!.reached });
    return await once(secured.resume(), 'secureConnect').then(
      () => secured.on('error', ignore),
      () => undefined,
    );
  }

  let secured: TLSSocket | undefined;
  return {
    greeted: secure().then((socket) => void (secured = socket)),
    takeLeave: () => (secured === undefined ? talk.say('QUIT\r\n') : void secured.write('QUIT\r\n')),
    over: talk.over.then((conversation) => ({ ...conversation, greeting: secured === undefined ? undefined : greetingIn(conversation.heard) })),
  };
}

/** Waits for the witness to come. */
function beVisited({ socket }: WorkloadConnection, { meeting, witness }: VisitOptions): Visit {
  const talk = talkOver(socket);
  if (meeting !== undefined) void witness.goTo(meeting).catch(() => socket.destroy());
  return {
    greeted: talk.hears(greetingPattern).then(ignore),
    takeLeave: () => talk.say('QUIT\r\n'),
    over: talk.over.then(visited),
  };
}

/** The same, where the gateway announces it, and truly. */
function beVisitedAsAnnounced(connection: WorkloadConnection, options: VisitOptions): Visit {
  const visit = beVisited(connection, options);
  return { ...visit, over: visit.over.then(withoutAnnouncement) };
}

function withoutAnnouncement(visit: Visited): Visited {
  if (visit.greeting === undefined) return visit;
  const { from, fromPort, reached, reachedPort } = visit.greeting;
  const announcement = formatProxyHeader({ source: { address: reached as IpAddress, port: reachedPort }, destination: { address: from as IpAddress, port: fromPort } });
  return visit.heard.startsWith(announcement) ? { ...visit, heard: visit.heard.slice(announcement.length) } : { ...visit, greeting: undefined };
}
