/**
 * Documents with a fault of their own. They take no part in allocation and compilation, whose findings about the others
 * may then be mere consequences: a service is unknown because its document could not be read. So that no fault is told
 * that is none, each says what it may become once it is mended: an object whose kind, names and addresses its text has.
 * Where the fault is in one of these themselves, it may be any.
 */
import type { FieldPath } from '../errors.ts';
import { parseAddressRange, rangeContains, type AddressRange } from '../ip-address.ts';
import { defaultNamespace, kinds, olderApiVersion, olderNamespace } from '../objects/index.ts';
import type { Ground } from '../plan-fault.ts';
import { suggest } from './suggestion.ts';

export interface UnreadDocument {
  /** Whether an object that the ground describes may come of it. */
  mayBecome(ground: Ground): boolean;
}

/** A file of which not even the text is known to its end. */
export const unreadFile: UnreadDocument = { mayBecome: () => true };

/** Text that is no YAML, or YAML that is no object: one document or several. */
export function unreadText(text: string): UnreadDocument {
  return unread(() => describe(text, Array.from(text.matchAll(/\bkind\W+(\w+)/gi), ([, word]) => word!), []));
}

/** A mapping with faults; `unsaid` are the fields whose value is missing or wrong. */
export function unreadObject(value: Readonly<Record<string, unknown>>, unsaid: readonly FieldPath[]): UnreadDocument {
  return unread(() => describe(JSON.stringify(value), typeof value['kind'] === 'string' ? [value['kind']] : [], unsaid));
}

interface Description {
  readonly kinds: ReadonlySet<string>;
  /** Kinds of which the older form makes objects, under names that no text has. */
  readonly madeKinds: readonly string[];
  readonly words: ReadonlySet<string>;
  readonly ranges: readonly AddressRange[];
  readonly unsaid: readonly FieldPath[];
}

/** Describes it when it is first asked for: where nothing else is wrong, that is never. */
function unread(describeNow: () => Description): UnreadDocument {
  let description: Description | undefined;
  return { mayBecome: (ground) => fits((description ??= describeNow()), ground) };
}

function describe(text: string, kindWords: readonly string[], unsaid: readonly FieldPath[]): Description {
  const words = text.split(/[\s"'`,[\]{}]+/);
  const addresses = words.filter((word) => /[.:]/.test(word)).map(parseAddressRange);
  return {
    kinds: kindsMeant(kindWords),
    madeKinds: text.includes(olderApiVersion.split('/')[0]!) || /\bsourceIP\b/i.test(text) ? ['EgressPolicy', 'SnatBinding', 'SnatPool'] : [],
    words: new Set([...words, '', defaultNamespace, olderNamespace]), // the last three go without saying
    ranges: addresses.flatMap((parsed) => (parsed.ok ? [parsed.range] : [])),
    unsaid,
  };
}

/** `Service` may be an ExternalService to its author, `Polcy` an EgressPolicy; a word like none may be any. */
function kindsMeant(kindWords: readonly string[]): ReadonlySet<string> {
  const meant = kindWords.flatMap((word) => kinds.filter((kind) => kind.toLowerCase().endsWith(word.toLowerCase()) || suggest(word, [kind]) !== undefined));
  return new Set(meant.length === 0 ? kinds : meant);
}

function fits({ kinds: written, madeKinds, words, ranges, unsaid }: Description, { kind, name, namespace, subject, address }: Ground): boolean {
  const open = (field: FieldPath) => unsaid.some((path) => path.every((step, depth) => depth >= field.length || step === field[depth]));
  const says = (word: string | undefined, ...fields: readonly FieldPath[]) => word === undefined || words.has(word) || fields.some(open);
  const named = written.has(kind) && says(name, ['metadata', 'name']) && says(namespace, ['metadata', 'namespace']);
  return (
    (named || madeKinds.includes(kind)) &&
    says(subject, ['metadata', 'namespace'], ['spec', 'subject'], ['spec', 'sources']) &&
    (address === undefined || ranges.some((range) => rangeContains(range, address)) || [['spec', 'addresses'], ['spec', 'sources']].some(open))
  );
}
