import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';

/** What derived bytes are for (RFC 7292 B.3). */
export const pkcs12Purpose = { key: 1, iv: 2, mac: 3 } as const;

const blockBytes = { sha1: 64, sha256: 64, sha384: 128, sha512: 128 } as const;
export type Pkcs12Digest = keyof typeof blockBytes;

/** A passphrase as PKCS#12 hashes it: UTF-16 big-endian, ended by a zero (RFC 7292 B.1). */
export const pkcs12Passphrase = (text: string): Buffer => Buffer.from(`${text}\0`, 'utf16le').swap16();

const roundsPerTurn = 1000; // about a millisecond of hashing before other work gets its turn

/**
 * The key derivation of RFC 7292 appendix B.2, which OpenSSL and the JVM still use for the integrity of PKCS#12 and older files
 * for their encryption. `node:crypto` does not offer it.
 */
export async function derivePkcs12(digest: Pkcs12Digest, passphrase: string, { salt, iterations, purpose, bytes }: { readonly salt: Buffer; readonly iterations: number; readonly purpose: number; readonly bytes: number }): Promise<Buffer> {
  const block = blockBytes[digest];
  const repeat = (value: Buffer): Buffer => Buffer.alloc(Math.ceil(value.length / block) * block, value);
  const diversifier = Buffer.alloc(block, purpose);
  const input = Buffer.concat([salt.length === 0 ? salt : repeat(salt), repeat(pkcs12Passphrase(passphrase))]);
  const output: Buffer[] = [];
  for (let produced = 0; produced < bytes; ) {
    let round: Buffer = hash(digest, Buffer.concat([diversifier, input]), 'buffer');
    for (let count = 1; count < iterations; count++) {
      if (count % roundsPerTurn === 0) await setImmediate();
      round = hash(digest, round, 'buffer');
    }
    output.push(round);
    produced += round.length;
    // Each block of the input plus the output plus one, modulo the block.
    const addend = Buffer.alloc(block, round);
    for (let start = 0; start < input.length; start += block) {
      let carry = 1;
      for (let index = block - 1; index >= 0; index--) {
        carry += input[start + index]! + addend[index]!;
        input[start + index] = carry & 0xff;
        carry >>= 8;
      }
    }
  }
  return Buffer.concat(output).subarray(0, bytes);
}
