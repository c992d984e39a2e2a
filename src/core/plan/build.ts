/** From desired state to a plan, with everything that is wrong on the way. */
import { allocateInSteps } from '../snat/allocate.ts';
import type { Assignments } from '../snat/assignments.ts';
import { compileInSteps, type CompileContext, type CompileState } from './compile.ts';
import type { DesiredState } from '../desired-state.ts';
import type { Fault } from '../errors.ts';
import type { PlanFault } from '../plan-fault.ts';
import type { Plan } from './plan.ts';
import { runThrough, type Steps } from '../steps.ts';

export interface BuildContext extends CompileContext {
  /** Milliseconds since the epoch: decides which quarantines are over. */
  readonly now: number;
  /** Where clocks disagree, `now` is by the one that is behind, and this by the one that is ahead: decides when quarantines begin. */
  readonly latest?: number;
}

export type Build =
  | { readonly ok: true; readonly plan: Plan; readonly assignments: Assignments; readonly warnings: readonly Fault[]; readonly state: CompileState }
  | { readonly ok: false; readonly faults: readonly PlanFault[] };

/** Allocates, then compiles with what could be given out. Either all that a change makes, or every fault of both. */
export const build = (desired: DesiredState, before: Assignments, context: BuildContext): Build => runThrough(buildInSteps(desired, before, context));

/** As `build`. */
export function* buildInSteps(desired: DesiredState, before: Assignments, { now, latest = now, ...context }: BuildContext): Steps<Build> {
  const { assignments, faults } = yield* allocateInSteps(desired, before, now, context.rootNamespace, latest);
  const compiled = yield* compileInSteps(desired, assignments, context);
  if (!compiled.ok) return { ok: false, faults: [...faults, ...compiled.faults] };
  return faults.length > 0 ? { ok: false, faults } : { ...compiled, assignments };
}
