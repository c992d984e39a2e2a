/**
 * The pod that a certificate goes back to, as its subject says it: so whoever renews or revokes it knows the pod, also where another replica of
 * the control plane has issued it. One `dnQualifier` (X.520 6.2.8), since that names nobody: an organisation's programs that take a common
 * name for a user are told nothing. No verifier of SVIDs looks at it.
 */
import { invariant } from '../errors.ts';
import type { AttestedPod } from '../ledger-record.ts';
import { DerReader, encode, objectIdentifier, parseDer, sequence, setOf, tags } from './der.ts';

const dnQualifier = '2.5.4.46';
/** Names as Kubernetes has them; all of it is PrintableString. */
const pattern = /^pod ([a-z0-9.-]{1,253}) ([A-Za-z0-9-]{1,64})(?: on ([a-z0-9.-]{1,253}))?$/;

const emptyName = sequence();

/** A Name, DER: `pod NAME UID on NODE`. */
export function podSubject({ name, uid, node }: AttestedPod): Buffer {
  const text = `pod ${name} ${uid}${node === null ? '' : ` on ${node}`}`;
  invariant(pattern.test(text), 'a pod, and its node, have names that Kubernetes gives');
  return sequence(setOf(sequence(objectIdentifier(dnQualifier), encode(tags.printableString, Buffer.from(text, 'latin1')))));
}

/** Undefined where the subject, DER, says none. */
export function podOfSubject(subject: Buffer): AttestedPod | undefined {
  if (subject.equals(emptyName)) return undefined;
  const text = parseDer(() => {
    const attribute = new DerReader(subject).enter(tags.sequence).enter(tags.set).enter(tags.sequence);
    return attribute.objectIdentifier() === dnQualifier ? attribute.read(tags.printableString).toString('latin1') : '';
  });
  const [, name, uid, node] = pattern.exec(text.ok ? text.value : '') ?? [];
  return name === undefined || uid === undefined ? undefined : { name, uid, node: node ?? null };
}
