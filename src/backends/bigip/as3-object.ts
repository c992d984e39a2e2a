/** What a declaration is made of. */

export type Json = string | number | boolean | null | readonly Json[] | { readonly [property: string]: Json };

/** An object of the AS3 schema reference, which tells what it is by its class. */
export interface As3Object {
  readonly class: string;
  readonly [property: string]: Json;
}

/** By name, within one application. */
export type As3Objects = Readonly<Record<string, As3Object>>;
