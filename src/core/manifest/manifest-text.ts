/** Objects back into what a user would write. The inverse of reading: `parseManifests` of it gives an equal object. */
import { stringify } from 'yaml';
import type * as z from 'zod';
import { encode } from 'zod';
import { schemas, type DesiredObject } from '../objects/index.ts';

/** The object with `24h` for milliseconds and text for ranges, as JSON can hold it. Defaults are written out. */
export function encodeObject(object: DesiredObject): unknown {
  return encode(schemas[object.kind] as z.ZodType<DesiredObject>, object);
}

/** YAML of one object. Text that an older YAML would take for something else (`yes`, `0o7`) is quoted, since kubectl reads it so. */
export function renderObject(object: DesiredObject): string {
  return stringify(encodeObject(object), { lineWidth: 0, compat: 'yaml-1.1', aliasDuplicateObjects: false });
}
