/** A resource as another one names it. */
export interface Reference {
  readonly typeUrl: string;
  readonly name: string;
}

/** What resources refer to, by their type: from the encoded message to the references in it. Types that are not in it refer to nothing. */
export type ReferenceTable = Readonly<Record<string, (value: Uint8Array) => Iterable<Reference>>>;
