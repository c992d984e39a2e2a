/** How errors and faults are told on stderr: what happened, where, and what to do next, in that order. */
import type { Fault, SallyportError } from '../core/errors.ts';
import { describeRef } from '../core/desired-state.ts';
import { printable } from './output.ts';

export function describeFault(fault: Fault): readonly string[] {
  const { position, object, path } = fault;
  const place = [
    ...(position === undefined ? [] : [`${position.file}:${position.line}:${position.column}`]),
    ...(object === undefined ? [] : [describeRef(object)]),
    ...(path === undefined || path.length === 0 ? [] : [formatPath(path)]),
  ].join(' ');
  return [`${place === '' ? '' : `${place}: `}${fault.message} [${fault.code}]`, ...(fault.hint === undefined ? [] : [`  hint: ${fault.hint}`])].map(printable);
}

export function describeError(error: SallyportError): readonly string[] {
  return [
    `error: ${error.message}${error.place === undefined ? '' : ` (at ${error.place})`}`,
    ...error.faults.flatMap(describeFault),
    ...(error.hint === undefined ? [] : [`hint: ${error.hint}`]),
  ].map(printable);
}

/** `spec.ports[0].port` */
export function formatPath(path: readonly (string | number)[]): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('');
}
