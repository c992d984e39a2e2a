/** How a call's outcome and its time limit are written in HTTP/2 headers (gRPC over HTTP2, "Requests" and "Responses"). */
import { Metadata, status, type StatusObject } from '@grpc/grpc-js';
import type { OutgoingHttpHeaders } from 'node:http2';

/** The trailers that say how a call ended. */
export function statusHeaders({ code, details, metadata }: Partial<StatusObject> & Pick<StatusObject, 'code'>): OutgoingHttpHeaders {
  return { ...metadata?.toHttp2Headers(), 'grpc-status': String(code), ...(details === undefined || details === '' ? {} : { 'grpc-message': percentEncode(details) }) };
}

/**
 * The status by which a handler's error leaves the process: its own where it names one, in the way of grpc-js (`code`, and
 * `details` or `message`); of anything else only that it happened, since a message may say what is not the caller's business.
 */
export function statusOfError(error: unknown, trailers?: Metadata): StatusObject {
  const { code, details, message, metadata } = (typeof error === 'object' && error !== null ? error : {}) as Partial<StatusObject & Error>;
  const known = Number.isInteger(code) && code! > status.OK && code! <= status.UNAUTHENTICATED;
  return {
    code: known ? code! : status.UNKNOWN,
    details: known ? (details ?? message ?? '') : 'the handler of this call failed',
    metadata: trailers ?? metadata ?? new Metadata(),
  };
}

/** Printable ASCII but `%` stands for itself (gRPC over HTTP2, "Percent-Encoded"). */
const percentEncode = (text: string): string =>
  text.replaceAll(/[^\x20-\x24\x26-\x7e]+/g, (part) => [...Buffer.from(part)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''));

const timeoutUnitsMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** A `grpc-timeout` header in milliseconds, rounded up; undefined for what is none. */
export function parseTimeoutMs(text: string): number | undefined {
  const match = /^([0-9]{1,8})([HMSmun])$/.exec(text);
  return match === null ? undefined : Math.ceil(Number(match[1]) * timeoutUnitsMs[match[2]!]!);
}
