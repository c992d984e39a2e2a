/** A fault in words: the same on a terminal and in the answer of an admission webhook. */
import { describeRef } from './desired-state.ts';
import type { Fault, FieldPath } from './errors.ts';
import { printable } from './printable.ts';

/** What happened, where, and what to do next, in that order: a line, and one for the hint where there is one. */
export function describeFault(fault: Fault): readonly string[] {
  const { hint } = fault;
  return [headline(fault), ...(hint === undefined ? [] : [`  hint: ${printable(hint)}`])];
}

/** The same in one line. */
export function describeFaultInLine(fault: Fault): string {
  const { hint } = fault;
  return `${headline(fault)}${hint === undefined ? '' : `; hint: ${printable(hint)}`}`;
}

/** What is wrong, and what to do about it, for a sentence that has said where. */
export function inOneSentence({ message, hint }: Pick<Fault, 'message' | 'hint'>): string {
  return hint === undefined ? message : `${message} (${hint})`;
}

function headline({ position, object, path, message, code }: Fault): string {
  const place = [
    ...(position === undefined ? [] : [`${position.file}:${position.line}:${position.column}`]),
    ...(object === undefined ? [] : [describeRef(object)]),
    ...(path === undefined || path.length === 0 ? [] : [formatPath(path)]),
  ].join(' ');
  return printable(`${place === '' ? '' : `${place}: `}${message} [${code}]`);
}

/** `spec.ports[0].port` */
export function formatPath(path: FieldPath): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('');
}
