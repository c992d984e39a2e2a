/** Text from outside, for terminals and logs. */

/** Made fit for one line: control characters, line ends and what turns the direction of writing are shown, not sent. */
export function printable(text: string): string {
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, escapeCharacter);
}

/**
 * Any output, made safe for a terminal: control characters, and with them escape sequences, are shown but for line ends and
 * tabs. JSON and YAML keep their meaning, since they hold such characters only in quotes, where the escape says the same.
 */
export function harmless(text: string): string {
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, escapeCharacter);
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
