/**
 * Which source port a connection leaves from. The operating system gives one port per source address whatever the destination
 * (about 28,000); a connection is named by source and destination together, so counting per destination reaches the whole range
 * of each, keeps a holder within its block, and decides when a port comes round again.
 */
import type { SnatAddress } from './snat-source.ts';

export interface SnatPorts {
  /**
   * The next port of `source` that has no connection to `destination`, now taken; undefined when each has one. Ports come in
   * turn, so that one given back is the last to be given out again. `refusals` counts the ports that the kernel has refused for
   * this connection, because another worker or a TIME_WAIT has them (hold those until the connection is made): each leads
   * elsewhere in the range, since refused ports lie together. Constant time but when nearly all are taken.
   */
  take(source: SnatAddress, destination: string, refusals?: number): number | undefined;
  /**
   * A port of `source` on which nothing listens yet, to await a connection on; now taken for every destination, since a port that is
   * listened on can be bound by nobody else. `at`, from 0 up to 1, says where in the range it is looked for: a random number, so that
   * nobody can foresee it (RFC 2577 section 8).
   */
  takeToListen(source: SnatAddress, at: number): number | undefined;
  /** Gives back a port that `takeToListen` gave. */
  releaseListening(source: SnatAddress, port: number): void;
  /** Gives back a port that `take` gave. */
  release(source: SnatAddress, destination: string, port: number): void;
  /** How many ports of `source` are taken for `destination`. */
  taken(source: SnatAddress, destination: string): number;
}

/** The turn is one per source, not per destination: a firewall's log that names only address and port is less often ambiguous. */
interface Turn {
  readonly size: number;
  readonly stride: number;
  offset: number;
  readonly taken: Map<string, Set<number>>;
  readonly listening: Set<number>;
}

/**
 * State for one worker. Workers share addresses but no state; each begins elsewhere, and the kernel arbitrates.
 *
 * @param start where in each range the turn begins, from 0 up to 1
 */
export function createSnatPorts(start: number): SnatPorts {
  // An entry stays for each address ever used: a number, and the price of a turn that outlasts a quiet hour.
  const turns = new Map<string, Turn>();

  function turnOf({ address, ports }: SnatAddress): Turn {
    const key = `${address} ${ports.first}-${ports.last}`;
    let turn = turns.get(key);
    if (turn === undefined) {
      const size = ports.last - ports.first + 1;
      turn = { size, stride: strideOf(size), offset: Math.floor(start * size), taken: new Map(), listening: new Set() };
      turns.set(key, turn);
    }
    return turn;
  }

  return {
    take(source, destination, refusals = 0) {
      const turn = turnOf(source);
      const taken = turn.taken.get(destination) ?? new Set<number>();
      if (taken.size >= turn.size) return undefined;
      const port = firstFree(source, turn.offset + refusals * turn.stride, (each) => !taken.has(each) && !turn.listening.has(each));
      if (port === undefined) return undefined;
      if (refusals === 0) turn.offset = (port - source.ports.first + 1) % turn.size;
      taken.add(port);
      turn.taken.set(destination, taken);
      return port;
    },
    takeToListen(source, at) {
      const { size, listening } = turnOf(source);
      const port = firstFree(source, Math.floor(at * size), (each) => !listening.has(each));
      if (port !== undefined) listening.add(port);
      return port;
    },
    releaseListening(source, port) {
      turnOf(source).listening.delete(port);
    },
    release(source, destination, port) {
      const turn = turnOf(source);
      const taken = turn.taken.get(destination);
      taken?.delete(port);
      if (taken?.size === 0) turn.taken.delete(destination);
    },
    taken: (source, destination) => turnOf(source).taken.get(destination)?.size ?? 0,
  };
}

/** The first free port of the range from an offset on, and round to it again. */
function firstFree({ ports: { first, last } }: SnatAddress, offset: number, isFree: (port: number) => boolean): number | undefined {
  const size = last - first + 1;
  for (let step = 0; step < size; step++) {
    const port = first + ((offset + step) % size);
    if (isFree(port)) return port;
  }
  return undefined;
}

/** About the golden ratio of the range and coprime to its size, so that steps of it spread well and miss no port. */
function strideOf(size: number): number {
  let stride = Math.max(1, Math.round(size * 0.618));
  while (greatestCommonDivisor(stride, size) !== 1) stride += 1;
  return stride;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
