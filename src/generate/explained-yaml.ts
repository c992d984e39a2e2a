/** Objects as YAML for people: the reason for a field stands above it. */
import { Document, isMap, isScalar, isSeq, type Node, type Pair } from 'yaml';

export interface ExplainedObject {
  readonly object: Readonly<Record<string, unknown>>;
  /** Stands above the object. */
  readonly why?: string;
  readonly reasons?: readonly Reason[];
}

/** Why a field is what it is. The field must be there. */
export interface Reason {
  readonly path: readonly (string | number)[];
  readonly why: string;
}

const widthMax = 110;

/** One YAML document for each object. */
export function formatExplained(objects: readonly ExplainedObject[]): string {
  return objects
    .map(({ object, why, reasons = [] }) => {
      const document = new Document(object, { aliasDuplicateObjects: false, compat: 'yaml-1.1' }); // Kubernetes reads YAML 1.1, where `on` is no text;
      for (const reason of reasons) explain(document, reason);
      return `${why === undefined ? '' : `${comment(why)}\n`}${document.toString({ lineWidth: 0 })}`;
    })
    .join('---\n');
}

/** The text as lines of a comment, none longer than a reader's screen; what is indented is a command, and stays on its line. */
export const comment = (text: string): string => linesOf(text).map((line) => `# ${line}`).join('\n');

const linesOf = (text: string): readonly string[] => text.split('\n').flatMap((line) => (line.startsWith(' ') ? [line] : wrap(line)));

function wrap(text: string): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line === undefined || line.length + word.length >= widthMax) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}

function explain(document: Document, { path, why }: Reason): void {
  const holder = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  const last = path.at(-1)!;
  const node = isMap(holder) ? keyOf(holder.items.find(({ key }) => isScalar(key) && key.value === last)) : isSeq(holder) && typeof last === 'number' ? (holder.items[last] as Node | undefined) : undefined;
  if (node === undefined) throw new Error(`no field ${path.join('.')} to explain`);
  node.commentBefore = linesOf(why).map((line) => ` ${line}`).join('\n');
}

const keyOf = (pair: Pair | undefined): Node | undefined => pair?.key as Node | undefined;
