/** Lines of a text with blocks in braces, as keepalived and conntrackd read them. */
export type Block = readonly string[];

export function block(head: string, content: readonly (string | Block)[]): Block {
  return [`${head} {`, ...content.flat().map((line) => `  ${line}`), '}'];
}
