/**
 * The index of a ledger segment by SNAT address and port: for each opening and closing of a connection a fixed-size entry
 * in one of 1024 buckets, which the hash of address and port chooses. In memory while the segment grows; as a file beside
 * it afterwards, where a look-up reads one slot of the directory and one bucket. It can always be made again from the
 * segment, and its answers are checked against the segment's lines.
 *
 * File: the magic, then 1024 slots (offset, length, CRC-32; 4 bytes each, big endian), then the buckets.
 */
import { hash as digest } from 'node:crypto';
import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { LedgerRecord } from '../core/ledger-record.ts';

/** One opening or closing of a connection. */
export interface ConnectionEvent {
  readonly kind: 'opened' | 'closed';
  readonly timeMs: number;
  /** A digest of the connection id: joins a closing to its opening. */
  readonly connection: bigint;
  /** A digest of where it went. */
  readonly target: number;
  /** Of the record's line in the segment, newline not counted. */
  readonly offset: number;
  readonly bytes: number;
}

export interface ConnectionIndex {
  /** Takes note of a record if it opens or closes a connection. */
  readonly add: (record: LedgerRecord, offset: number, bytes: number) => void;
  readonly find: (address: string, port: number) => ConnectionEvent[];
  /** The content of the file. */
  readonly encode: () => Generator<Buffer>;
}

const bucketCount = 1024;
/** key 8, connection 8, time in milliseconds 6, target 4, offset 6, length 3, kind 1 */
const entryBytes = 36;
const magic = Buffer.from('sallyport-index1');
const slotBytes = 12;

interface Bucket {
  content: Buffer;
  bytes: number;
}

export function createConnectionIndex(): ConnectionIndex {
  const buckets = Array.from({ length: bucketCount }, (): Bucket => ({ content: Buffer.alloc(0), bytes: 0 }));
  return {
    add: (record, offset, bytes) => {
      if (record.type !== 'connection-opened' && record.type !== 'connection-closed') return;
      const key = keyOf(record.snatAddress, record.snatPort);
      const bucket = buckets[bucketOf(key)]!;
      if (bucket.bytes === bucket.content.length) bucket.content = Buffer.concat([bucket.content], Math.max(4 * entryBytes, 2 * bucket.bytes));
      const { content, bytes: at } = bucket;
      key.copy(content, at);
      content.writeBigUInt64BE(connectionDigest(record.connectionId), at + 8);
      content.writeUIntBE(Date.parse(record.time), at + 16, 6);
      content.writeUInt32BE(crc32(record.target), at + 22);
      content.writeUIntBE(offset, at + 26, 6);
      content.writeUIntBE(bytes, at + 32, 3);
      content.writeUInt8(record.type === 'connection-opened' ? 0 : 1, at + 35);
      bucket.bytes += entryBytes;
    },
    find: (address, port) => {
      const key = keyOf(address, port);
      const { content, bytes } = buckets[bucketOf(key)]!;
      return eventsIn(content.subarray(0, bytes), key);
    },
    encode: function* () {
      const directory = Buffer.alloc(bucketCount * slotBytes);
      let offset = magic.length + directory.length;
      buckets.forEach(({ content, bytes }, number) => {
        directory.writeUInt32BE(offset, number * slotBytes);
        directory.writeUInt32BE(bytes, number * slotBytes + 4);
        directory.writeUInt32BE(checksum(content.subarray(0, bytes), number), number * slotBytes + 8);
        offset += bytes;
      });
      yield Buffer.concat([magic, directory]);
      const bucketsAWrite = 64;
      for (let from = 0; from < bucketCount; from += bucketsAWrite) yield Buffer.concat(buckets.slice(from, from + bucketsAWrite).map(({ content, bytes }) => content.subarray(0, bytes)));
    },
  };
}

/** The events of an address and port in an index file, in the order of the ledger; undefined where the file is missing or damaged. */
export async function findInFile(path: string, address: string, port: number): Promise<ConnectionEvent[] | undefined> {
  const key = keyOf(address, port);
  const number = bucketOf(key);
  const handle = await open(path, 'r').catch(absent);
  if (handle === undefined) return undefined;
  try {
    const slot = Buffer.alloc(slotBytes);
    const read = await handle.read(slot, 0, slotBytes, magic.length + number * slotBytes);
    const bytes = slot.readUInt32BE(4);
    const fileBytes = (await handle.stat()).size;
    if (read.bytesRead < slotBytes || slot.readUInt32BE(0) + bytes > fileBytes) return undefined;
    const bucket = Buffer.alloc(bytes);
    await handle.read(bucket, 0, bytes, slot.readUInt32BE(0));
    return checksum(bucket, number) === slot.readUInt32BE(8) ? eventsIn(bucket, key) : undefined;
  } finally {
    await handle.close();
  }
}

/** For `catch`: a missing file is an answer, any other failure stays one. */
function absent(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}

function eventsIn(bucket: Buffer, key: Buffer): ConnectionEvent[] {
  const events: ConnectionEvent[] = [];
  for (let at = 0; at < bucket.length; at += entryBytes) {
    if (bucket.compare(key, 0, 8, at, at + 8) !== 0) continue;
    events.push({
      kind: bucket.readUInt8(at + 35) === 0 ? 'opened' : 'closed',
      timeMs: bucket.readUIntBE(at + 16, 6),
      connection: bucket.readBigUInt64BE(at + 8),
      target: bucket.readUInt32BE(at + 22),
      offset: bucket.readUIntBE(at + 26, 6),
      bytes: bucket.readUIntBE(at + 32, 3),
    });
  }
  return events;
}

function keyOf(address: string, port: number): Buffer {
  return digest('sha256', `${address} ${port}`, 'buffer').subarray(0, 8);
}

function bucketOf(key: Buffer): number {
  return key.readUInt16BE(0) % bucketCount;
}

function connectionDigest(connectionId: string): bigint {
  return digest('sha256', connectionId, 'buffer').readBigUInt64BE(0);
}

/** Of a bucket; starts from its number, so that a slot of zeros is never right. */
function checksum(bucket: Buffer, number: number): number {
  return crc32(bucket, number + 1);
}
