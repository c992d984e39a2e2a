/** How errors are told on stderr: what happened, where, and what to do next, in that order. */
import type { SallyportError } from '../core/errors.ts';
import { describeFault } from '../core/fault-text.ts';
import { printable } from '../core/printable.ts';

export function describeError(error: SallyportError): readonly string[] {
  return [
    printable(`error: ${error.message}${error.place === undefined ? '' : ` (at ${error.place})`}`),
    ...error.faults.flatMap(describeFault),
    ...(error.hint === undefined ? [] : [printable(`hint: ${error.hint}`)]),
  ];
}
