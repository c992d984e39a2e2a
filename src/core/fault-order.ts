import { describeRef } from './desired-state.ts';
import type { Fault } from './errors.ts';
import { byText } from './order.ts';

/** Every fault once, in an order that does not depend on the input's. */
export function sortFaults<F extends Fault>(faults: Iterable<F>): F[] {
  const keyOf = ({ object, path = [], code, message }: F) => `${object === undefined ? '' : describeRef(object)} ${JSON.stringify(path)} ${code} ${message}`;
  const keyed = new Map(Array.from(faults, (fault) => [keyOf(fault), fault]));
  return [...keyed].sort(([a], [b]) => byText(a, b)).map(([, fault]) => fault);
}
