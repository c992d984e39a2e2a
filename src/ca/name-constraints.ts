/**
 * Name constraints of CA certificates (RFC 5280 4.2.1.10). They are checked before anything is signed, because a certificate that
 * breaks them is refused by every verifier, at a time and place where nobody sees why.
 */
import { generalNameTags, type Certificate, type GeneralName } from '../core/x509/certificate.ts';

/** The first certificate of a chain that forbids one of the names, as a sentence, or undefined. Looks at URI, DNS and IP names. */
export function nameConstraintFault(certificates: readonly Certificate[], names: readonly GeneralName[]): string | undefined {
  for (const { extensions } of certificates) {
    if (extensions.nameConstraints === null) continue;
    const { permitted, excluded } = extensions.nameConstraints;
    for (const name of names) {
      const within = (constraint: GeneralName): boolean => constraint.tag === name.tag && isWithin(name, constraint.content);
      const permittedOfType = permitted.filter(({ tag }) => tag === name.tag);
      if (excluded.some(within)) return `${describe(name)} is among the names that a CA certificate excludes`;
      if (permittedOfType.length > 0 && !permittedOfType.some(within)) return `${describe(name)} is not among the names that a CA certificate permits (${permittedOfType.map(describe).join(', ')})`;
    }
  }
  return undefined;
}

/** Whether a chain has something to say about the subjects of what it signs, which are ours to leave out. */
export function constrainsSubjects(certificates: readonly Certificate[]): boolean {
  return certificates.some(({ extensions: { nameConstraints } }) => [...(nameConstraints?.permitted ?? []), ...(nameConstraints?.excluded ?? [])].some(({ tag }) => tag === generalNameTags.directory));
}

function isWithin({ tag, content }: GeneralName, constraint: Buffer): boolean {
  const text = content.toString('latin1').toLowerCase();
  const base = constraint.toString('latin1').toLowerCase();
  switch (tag) {
    case generalNameTags.uri: {
      // Applies to the host part, which is the trust domain. With a leading dot: any domain below it; without: exactly that host.
      const host = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/.exec(text)?.[1] ?? '';
      return base.startsWith('.') ? host.endsWith(base) : host === base;
    }
    case generalNameTags.dns: {
      const domain = base.startsWith('.') ? base.slice(1) : base; // not in the RFC, but written so often that verifiers take it
      return domain === '' || text === domain || text.endsWith(`.${domain}`);
    }
    case generalNameTags.ip:
      // Address and mask, of the same family.
      return constraint.length === content.length * 2 && content.every((byte, index) => ((byte ^ constraint[index]!) & constraint[content.length + index]!) === 0);
    default:
      return false;
  }
}

const describe = ({ tag, content }: GeneralName): string =>
  JSON.stringify(tag === generalNameTags.ip ? content.toString('hex') : content.toString('latin1').replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 256));
