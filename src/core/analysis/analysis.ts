/** What is not wrong, and still not what its author may expect: findings beside the faults and warnings of a build. */
import type { DesiredState } from '../desired-state.ts';
import type { Fault } from '../errors.ts';
import type { Plan } from '../plan/plan.ts';
import type { Assignments } from '../snat/assignments.ts';
import type { RootNamespace } from '../tenancy.ts';

/** Gravest first. `error`: it is not in force. `warning`: it does not do what it says. `info`: it does nothing, or soon something else. */
export const levels = ['error', 'warning', 'info'] as const;
export type Level = (typeof levels)[number];

export interface Finding extends Fault {
  readonly level: Level;
}

/** What analyses look at: desired state that has no fault, and what a build made of it. */
export interface World {
  readonly desired: DesiredState;
  readonly plan: Plan;
  readonly assignments: Assignments;
  readonly rootNamespace: RootNamespace;
  readonly clusterDomain: string;
  /** Whether `desired` has every Namespace and Service that there is, as an API server has them, and manifests have not. */
  readonly isWholeCluster: boolean;
  /** Services of Kubernetes that are ours, made for ExternalServices: `namespace/name`. */
  readonly registered: ReadonlySet<string>;
}

/** One entry of the catalogue: docs/reference/analyses.md is written from these. */
export interface Analysis {
  /** Stable, kebab-case, as those of faults are. */
  readonly code: string;
  readonly level: Exclude<Level, 'error'>;
  /** What it says, for the reference. */
  readonly says: string;
  /** What to do, for the reference. */
  readonly remedy: string;
  readonly find: (world: World) => readonly Found[];
}

/** A finding less what the catalogue has of it. */
export type Found = Required<Pick<Fault, 'message' | 'hint' | 'object'>> & Pick<Fault, 'path'>;
