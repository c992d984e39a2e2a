import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { openSpool, type Spool } from '../store/index.ts';

/** The spool of a gateway, in its state directory. */
export async function openGatewaySpool(stateDirectory: string, log: Pick<Logger, 'warn'>): Promise<Spool> {
  const spool = await openSpool({ directory: join(stateDirectory, 'spool'), newId: () => randomBytes(16).toString('hex') });
  if (spool.torn !== null) log.warn({ torn: spool.torn }, 'the spool had a torn end, which was dropped');
  return spool;
}

/** For the last records to reach the control plane; what does not is delivered after the next start. */
export const deliveryMs = 1_000;
