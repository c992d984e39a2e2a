/** In what a class does otherwise than the table says: by the row's own word, or by a rule of the class. */
import type { ConnectionReason } from '../../src/core/ledger-record.ts';
import type { PlayedClass } from './classes.ts';
import { kernelDivergence, kernelEnd } from './kernel-rules.ts';
import type { Attempt, Divergence, End, Life, Outcome } from './world.ts';

export const divergenceOf = (attempt: Attempt, gatewayClass: PlayedClass): Divergence | undefined => attempt.but?.[gatewayClass] ?? (gatewayClass === 'kernel' ? kernelDivergence(attempt) : undefined);

/** A row that does not exist for the class is not played. */
export const isPlayed = (attempt: Attempt, gatewayClass: PlayedClass): boolean => divergenceOf(attempt, gatewayClass)?.absent === undefined;

export const outcomeFor = (attempt: Attempt, gatewayClass: PlayedClass): Outcome => divergenceOf(attempt, gatewayClass)?.expect ?? attempt.expect;

/** How a life ends otherwise. */
export const otherEndOf = (life: Life, gatewayClass: PlayedClass): End | undefined => life.but?.[gatewayClass] ?? (gatewayClass === 'kernel' ? kernelEnd(life) : undefined);

export const endFor = (life: Life, gatewayClass: PlayedClass): ConnectionReason => otherEndOf(life, gatewayClass)?.ends ?? life.ends;
