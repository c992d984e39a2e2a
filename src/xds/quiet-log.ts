/** As much of a logger as is needed; a pino logger is one, and so is `console`. */
export interface XdsLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Of whom a line speaks, and what kind of event it tells of; neither holds text that a client has chosen. */
export interface LineKind {
  readonly subject: string;
  readonly event: string;
}

export type QuietLog = (level: keyof XdsLog, kind: LineKind, fields: object, message: string) => void;

/** Lines of one subject and event are written once in this time. */
const QUIET_MS = 60_000;
/** Beyond this the oldest are forgotten, and may be written anew. */
const KINDS_MAX = 10_000;

/**
 * A log that a client cannot fill: the first line of a kind is written, those that follow within a minute are counted, and the
 * next one that is written says how many those were (`unwritten`).
 */
export function createQuietLog(log: XdsLog, now: () => number): QuietLog {
  const seen = new Map<string, { readonly sinceMs: number; unwritten: number }>();
  return (level, { subject, event }, fields, message) => {
    const key = JSON.stringify([subject, event]);
    const nowMs = now();
    const line = seen.get(key);
    if (line !== undefined && nowMs - line.sinceMs < QUIET_MS) {
      line.unwritten += 1;
      return;
    }
    seen.delete(key);
    seen.set(key, { sinceMs: nowMs, unwritten: 0 });
    if (seen.size > KINDS_MAX) seen.delete(seen.keys().next().value!);
    log[level](line === undefined || line.unwritten === 0 ? fields : { ...fields, unwritten: line.unwritten }, message);
  };
}
