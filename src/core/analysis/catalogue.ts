/** All analyses, and what they make of a world. */
import { byText } from '../order.ts';
import { describeRef } from '../desired-state.ts';
import { addressAnalyses } from './addresses.ts';
import { levels, type Analysis, type Finding, type Level, type World } from './analysis.ts';
import { policyAnalyses } from './policies.ts';
import { serviceAnalyses } from './services.ts';

/** By code. */
export const analyses: readonly Analysis[] = [...addressAnalyses, ...policyAnalyses, ...serviceAnalyses].sort((a, b) => byText(a.code, b.code));

export function analyze(world: World): readonly Finding[] {
  return analyses.flatMap(({ code, level, find }) => find(world).map((found) => ({ code, level, ...found })));
}

/** Gravest first, then by object; each once. */
export function sortFindings(findings: readonly Finding[]): readonly Finding[] {
  const keyed = new Map(findings.map((finding) => [[levels.indexOf(finding.level), finding.object === undefined ? '' : describeRef(finding.object), finding.code, finding.message].join(' '), finding]));
  return [...keyed].sort(([a], [b]) => byText(a, b)).map(([, finding]) => finding);
}

/** Whether any of them is as grave as this, or graver. */
export function hasLevel(findings: readonly Finding[], level: Level): boolean {
  return findings.some((finding) => levels.indexOf(finding.level) <= levels.indexOf(level));
}
