/** Replies of the control connection, line by line (RFC 959 section 4.2). */

/** Code and place of one line. `last`: it ends its reply, when it also begins it or carries the code of the line that did. */
export interface ReplyLine {
  readonly code: number;
  readonly last: boolean;
}

/** Reads how a line begins; undefined for text without a code, which only the inside of a reply of many lines may hold. */
export function parseReplyLine(line: string): ReplyLine | undefined {
  const match = /^([1-5][0-9]{2})([ -]|$)/.exec(line);
  return match === null ? undefined : { code: Number(match[1]), last: match[2] !== '-' };
}
