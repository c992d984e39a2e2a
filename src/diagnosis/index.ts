/**
 * What is wrong with an installation in a cluster, seen from outside of it with somebody's own rights: the checks, and the bundle for whoever is
 * to help.
 *
 * Invariants: nothing is written at the cluster; no Secret's content is asked for; what somebody may not see is said, and is no failure; a check
 * is a pure function of facts, and what a bundle holds has passed the redaction.
 */
export { gatherFacts, type GatherOptions } from './gather.ts';
export { checks, runChecks, type Check, type CheckResult } from './checks.ts';
export { describeResults, summaryOf } from './report.ts';
export { bundleFiles, collectBundle, type BundledFile, type Collected } from './bundle.ts';
export { createRedaction, type Redaction, type RedactionOptions } from './redaction.ts';
export { tarOf, type ArchivedFile } from './tar.ts';
