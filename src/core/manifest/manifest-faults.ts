/** What can be wrong with a manifest before it is compiled, and the limits on manifests. */
import type { Fault } from '../errors.ts';

/** Sorted; each is explained in docs/reference/faults.md, which a test holds against this list. */
export const manifestFaultCodes = [
  'address-invalid',
  'api-version-unknown',
  'document-not-mapping',
  'duration-invalid',
  'faults-omitted',
  'field-missing',
  'field-unknown',
  'fields-exclusive',
  'file-too-large',
  'kind-unknown',
  'nesting-too-deep',
  'object-duplicate',
  'path-invalid',
  'port-duplicate',
  'port-name-duplicate',
  'source-ambiguous',
  'spiffe-id-invalid',
  'type-wrong',
  'value-invalid',
  'value-out-of-range',
  'value-unknown',
  'yaml-aliases-excessive',
  'yaml-invalid',
  'yaml-key-duplicate',
] as const;
export type ManifestFaultCode = (typeof manifestFaultCodes)[number];

/** Bytes of one file. An object takes a few hundred, so this is tens of thousands of them. */
export const fileBytesMax = 16 * 1024 * 1024;
/** Words and signs of one file. Each costs up to 600 bytes of memory while it is read: what a dense file within `fileBytesMax` could not be given. */
export const fileTokensMax = 2_000_000;
/** Levels of lists and mappings. Our kinds need 8; the readers behind this are recursive. */
export const nestingMax = 64;
/** Values that the aliases of one document may stand for, together: what stops a few lines from growing to billions. */
export const aliasedValuesMax = 10_000;
/** Faults of the YAML grammar named per document; what follows the first few are mostly their echoes. */
export const yamlFaultsPerDocumentMax = 5;
/** Faults reported of one input. */
export const faultsMax = 1_000;

export type ManifestFault = Fault & { readonly code: ManifestFaultCode; readonly position: NonNullable<Fault['position']> };

/** Collects what is wrong with an input. */
export interface FaultList {
  add(fault: ManifestFault): void;
  /** How many there are, beyond `faultsMax` too. */
  readonly count: number;
  /**
   * These and those found later, at most `faultsMax`, in the order of the input: by file as given, then by line and column,
   * last those about objects that did not come with it. One more tells how many were left out.
   */
  toArray(later: readonly Fault[]): readonly Fault[];
}

/** Where an object stands that did not come with the input. */
const elsewhere = { file: '', line: 0, column: 0 };

export function faultList(files: readonly string[]): FaultList {
  const kept: ManifestFault[] = [];
  let count = 0;
  return {
    add(fault) {
      count += 1;
      if (kept.length < faultsMax) kept.push(fault);
    },
    get count() {
      return count;
    },
    toArray(later) {
      const order = new Map(files.map((file, index) => [file, index]));
      const rankOf = (file: string) => order.get(file) ?? files.length;
      const shown = [...kept, ...later].slice(0, faultsMax).sort(({ position: a = elsewhere }, { position: b = elsewhere }) => rankOf(a.file) - rankOf(b.file) || a.line - b.line || a.column - b.column);
      const omitted = count + later.length - shown.length;
      const more: Fault = { code: 'faults-omitted' satisfies ManifestFaultCode, message: `${omitted} more ${omitted === 1 ? 'fault is' : 'faults are'} not shown`, hint: 'mend those above first' };
      return omitted === 0 ? shown : [...shown, more];
    },
  };
}
