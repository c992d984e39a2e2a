import { validateHeaderName, validateHeaderValue } from 'node:http';
import { SallyportError } from '../../core/errors.ts';

/** What a request says of itself. */
const own = /^(connection|content-.*|expect|host|te|trailer|transfer-encoding|upgrade)$/i;

/** Lines like `Authorization: Bearer ...`. Throws `request-invalid` for any other, which it names by its number only: it is secret. */
export function parseHeaders(text: string, place: string): Readonly<Record<string, string>> {
  const lines = text.split(/\r?\n/).map((line, index) => ({ line: line.trim(), number: index + 1 }));
  return Object.fromEntries(
    lines.filter(({ line }) => line !== '').map(({ line, number }): [string, string] => {
      const [, name = '', value = ''] = /^([^:]+):\s*(.*)$/.exec(line) ?? [];
      if (!isHeader(name, value)) throw new SallyportError('request-invalid', `line ${number} is not a header`, { place: `${place}:${number}`, hint: 'write it like "Authorization: Bearer TOKEN", one on each line' });
      if (own.test(name)) throw new SallyportError('request-invalid', `the header of line ${number} is not to be chosen`, { place: `${place}:${number}` });
      return [name.toLowerCase(), value];
    }),
  );
}

function isHeader(name: string, value: string): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false; // what it says quotes the value
  }
}
