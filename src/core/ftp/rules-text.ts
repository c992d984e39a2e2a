/** The rules of an FTP session in words, for people who decide on them. */
import { boundedList } from '../order.ts';
import type { FtpConstraints } from './rules.ts';

/** What one alternative allows: `read only, at or below /outgoing, as user statements`. */
export function describeFtpAlternative({ readOnly, noDelete, paths, users, maxTransferBytes, maxBytesPerSecond, unknownCommands }: FtpConstraints): string {
  const parts = [
    readOnly ? 'read only' : noDelete ? 'all but delete' : 'read and write',
    ...(paths === null ? [] : [`at or below ${boundedList(paths)}`]),
    ...(users === null ? [] : [`as user ${boundedList(users)}`]),
    ...(maxTransferBytes === null ? [] : [`at most ${maxTransferBytes} bytes a transfer`]),
    ...(maxBytesPerSecond === null ? [] : [`at most ${maxBytesPerSecond} bytes a second`]),
    ...(unknownCommands === 'Pass' ? ['unknown commands too'] : []),
  ];
  return parts.join(', ');
}

/** What all of them together allow; null for no rules at all. */
export function describeFtpRules(alternatives: readonly FtpConstraints[] | null): string {
  return alternatives === null ? 'do anything' : alternatives.map(describeFtpAlternative).join('; or ');
}
