/** Many FTP sessions of many identities at once, each of which knows what is its own and whether it may be disturbed. */
import assert from 'node:assert/strict';
import { createCipheriv, createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { waitFor } from '../../../src/demo/processes.ts';
import { openFtpSession, type Attempt, type FtpSession, type FtpSessionOptions } from './ftp-session.ts';

/** Of one identity, in the test's words and in what has become of it. */
export interface CrowdIdentity {
  readonly name: string;
  /** The connections of its clients that are open, data connections included. */
  readonly sockets: Set<Socket>;
  /** While it may not be let out: until when. */
  revocation: Promise<unknown> | undefined;
  wasRevoked: boolean;
}

/** A transfer that was tried, and by whom. */
export interface CrowdAttempt extends Attempt {
  readonly identity: CrowdIdentity;
  /** Whether the client has seen it to its end, all of it and with the reply that says so. */
  isComplete: boolean;
  /** Whether anything came that is not of this file, where it belongs. */
  isForeign: boolean;
}

export interface CrowdMember {
  readonly isOpen: boolean;
  /** Opens its session, unless it is open. */
  open(): Promise<void>;
  /** Stores a file and fetches it again, until both are done; opens the session anew where a revocation has ended it. Rejects where anything else does. */
  transfer(): Promise<void>;
  quit(): Promise<void>;
}

export interface CrowdMemberOptions {
  readonly identity: CrowdIdentity;
  /** Tells it apart from the others of its identity. */
  readonly number: number;
  readonly session: Omit<FtpSessionOptions, 'onSocket'>;
  /** Takes every transfer that is tried. */
  readonly attempts: CrowdAttempt[];
}

const fileBytes = { min: 32_768, max: 81_920 };
/** For a plan to reach agent and gateway. */
const reopenWithinMs = 5_000;

export function createCrowdMember({ identity, number, session: way, attempts }: CrowdMemberOptions): CrowdMember {
  let files = 0;
  let session: FtpSession | undefined;
  /** The revocation that has ended the session, if that was it. */
  let disturbedBy: Promise<unknown> | undefined;

  function watch(socket: Socket): void {
    identity.sockets.add(socket);
    socket.once('close', () => {
      identity.sockets.delete(socket);
      disturbedBy ??= identity.revocation;
    });
  }

  /** Lets a failure pass that a revocation explains, and opens the session anew after its end; rejects with any other. */
  async function recover(failure: unknown): Promise<void> {
    session = undefined;
    const excuse = disturbedBy ?? identity.revocation; // what is told, by 421 say, comes before the end
    if (excuse === undefined) throw new Error(`session ${number} of ${identity.name}, which nobody revoked: ${String(failure)}`, { cause: failure });
    await excuse;
    session = await waitFor(`session ${number} of ${identity.name} to be opened anew`, reopenWithinMs, () => {
      disturbedBy = undefined;
      return openFtpSession({ ...way, onSocket: watch }).catch(() => undefined); // whoever is let out first, agent or gateway, refuses for the other
    });
  }

  async function open(): Promise<void> {
    if (session?.isOpen === true) return;
    try {
      if (session !== undefined) throw new Error('it was closed while it was idle');
      session = await openFtpSession({ ...way, onSocket: watch });
    } catch (failure) {
      await recover(failure);
    }
  }

  async function storeAndFetch(path: string): Promise<void> {
    const content = contentOf(path);
    await attempt('STOR', path, async (stored) => {
      await session!.upload(stored, content);
      assert.equal(stored.bytes, content.length);
    });
    await attempt('RETR', path, async (fetched) => {
      await session!.download(fetched, (chunk) => (fetched.isForeign ||= !content.subarray(fetched.bytes).subarray(0, chunk.length).equals(chunk)));
      assert.equal(fetched.bytes, content.length);
    });
  }

  async function attempt(verb: Attempt['verb'], path: string, act: (attempt: CrowdAttempt) => Promise<void>): Promise<void> {
    const tried: CrowdAttempt = { identity, verb, path, bytes: 0, replyCode: null, isComplete: false, isForeign: false };
    attempts.push(tried);
    await act(tried);
    assert.equal(tried.replyCode, 226);
    tried.isComplete = true;
  }

  return {
    get isOpen() {
      return session?.isOpen === true;
    },
    open,
    async transfer() {
      for (;;) {
        await open();
        try {
          await storeAndFetch(`/upload/${identity.name}.${number}.${(files += 1)}`);
          return;
        } catch (failure) {
          await recover(failure);
        }
      }
    },
    async quit() {
      await session!.quit();
      session = undefined;
    },
  };
}

/** Follows from the path alone, and that tells identity, session and file: what belongs to another is different from the first bytes on. */
export function contentOf(path: string): Buffer {
  const seed = createHash('sha256').update(path).digest();
  const size = fileBytes.min + (seed.readUInt32LE(16) % (fileBytes.max - fileBytes.min));
  return createCipheriv('aes-128-ctr', seed.subarray(0, 16), Buffer.alloc(16)).update(Buffer.alloc(size));
}
