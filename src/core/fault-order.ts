import { describeRef } from './desired-state.ts';
import type { Fault } from './errors.ts';
import { byText } from './order.ts';
import { mapInSteps, sortInSteps, type Steps } from './steps.ts';

/** Every fault once, in an order that does not depend on the input's. */
export function* sortFaults<F extends Fault>(faults: Iterable<F>): Steps<F[]> {
  const keyOf = ({ object, path = [], code, message }: F) => `${object === undefined ? '' : describeRef(object)} ${JSON.stringify(path)} ${code} ${message}`;
  const keyed = new Map(yield* mapInSteps(faults, 64, (fault) => [keyOf(fault), fault] as const));
  return (yield* sortInSteps([...keyed], ([a], [b]) => byText(a, b))).map(([, fault]) => fault);
}
