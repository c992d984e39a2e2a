import { encode, objectIdentifier, sequence, setOf, tags, utf8String } from '../core/x509/der.ts';

/** The subject of a CA certificate. Workloads have none: their name is their SPIFFE ID. */
export interface DistinguishedName {
  /** At most 64 characters each (RFC 5280 appendix A.1, ub-common-name); country has two letters. */
  readonly commonName: string;
  readonly organizationalUnit?: string;
  readonly organization?: string;
  readonly country?: string;
}

const attributeTypes = [
  ['country', '2.5.4.6'],
  ['organization', '2.5.4.10'],
  ['organizationalUnit', '2.5.4.11'],
  ['commonName', '2.5.4.3'],
] as const;

export const emptyName: Buffer = sequence();

/** A Name (RFC 5280 4.1.2.4), from the country down to the common name. */
export function encodeName(name: DistinguishedName): Buffer {
  return sequence(
    ...attributeTypes.flatMap(([field, type]) => {
      const value = name[field];
      if (value === undefined) return [];
      const text = field === 'country' ? encode(tags.printableString, Buffer.from(value, 'latin1')) : utf8String(value);
      return [setOf(sequence(objectIdentifier(type), text))];
    }),
  );
}

/** What is wrong with a name that a user gave, or undefined. */
export function nameFault(name: DistinguishedName): string | undefined {
  if (name.commonName === '') return 'the common name is empty';
  for (const [field] of attributeTypes) {
    const value = name[field];
    if (value !== undefined && (value.length > 64 || /\p{Cc}/u.test(value))) return `the ${field} ${JSON.stringify(value.slice(0, 80))} is longer than 64 characters or has control characters`;
  }
  if (name.country !== undefined && !/^[A-Z]{2}$/.test(name.country)) return `the country ${JSON.stringify(name.country)} is not two capital letters`;
  return undefined;
}
