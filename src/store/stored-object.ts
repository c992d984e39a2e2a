import { invariant } from '../core/errors.ts';
import { parseAddressRange, type AddressRange } from '../core/ip-address.ts';
import type { DesiredObject } from '../core/objects/index.ts';

/** A desired object as JSON can hold it: address ranges, whose ends are bigints, stand as the text that they were written in. */
export function encodeObject(object: DesiredObject): unknown {
  return object.kind === 'SnatPool' ? { ...object, spec: { ...object.spec, addresses: object.spec.addresses.map((range) => range.text) } } : object;
}

/** The inverse of `encodeObject`, for JSON that it has made. */
export function decodeObject(stored: unknown): DesiredObject {
  const object = stored as DesiredObject;
  return object.kind === 'SnatPool' ? { ...object, spec: { ...object.spec, addresses: object.spec.addresses.map((text) => decodeRange(text as unknown as string)) } } : object;
}

function decodeRange(text: string): AddressRange {
  const parsed = parseAddressRange(text);
  invariant(parsed.ok, `a stored address range parses: ${text}`);
  return parsed.range;
}
