/** Names out of commands, made fit for records and terminals: whoever chose them must not move a cursor, break a line or fill a ledger. */

const charactersMax = 1_024;
/** Control characters, line ends, what is not to be seen and what turns the direction of writing; a backslash, so that escapes mean one thing only. */
const unfit = /[\\\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]/gu;
/** What most names are made of, and stays as it is. */
const plain = /^[ -[\]-~]*$/;

/** Bytes, one a character, as text: UTF-8 where it is that, `\xNN` for each byte that is not, `\u{N}` for a character that is unfit. Cut at 1,024 characters. */
export function printableName(bytes: string): string {
  const text = plain.test(bytes) ? bytes : decodeName(bytes);
  return text.length <= charactersMax ? text : `${text.slice(0, charactersMax)}...`;
}

function decodeName(bytes: string): string {
  return Array.from(bytes.matchAll(/[\x00-\x7f]+|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[^]/g), ([part]) => {
    const decoded = Buffer.from(part, 'latin1').toString('utf8');
    return decoded.includes('\ufffd') ? Array.from(part, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`).join('') : decoded.replaceAll(unfit, escapeCharacter);
  }).join('');
}

function escapeCharacter(character: string): string {
  return character === '\\' ? '\\\\' : `\\u{${character.codePointAt(0)!.toString(16)}}`;
}
