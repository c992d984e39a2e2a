/**
 * Errors. Three kinds are never mixed in this code base:
 *
 * - an *outcome* is a value (a denial, the faults of an input): see `Fault` and `Decision`;
 * - an *operational* failure is a `SallyportError` with a stable code and a cause;
 * - a *bug* is a failed `invariant`, which stops the process.
 */

/** What an error code means to each of the three ways an error can leave the process. */
interface ErrorMeaning {
  /** HTTP status of the RFC 9457 problem. */
  readonly http: number;
  /** gRPC status code, https://grpc.io/docs/guides/status-codes/. */
  readonly grpc: number;
  /** Exit status of the CLI: 1 negative answer, 2 usage, 3 not found, 4 not authorised, 5 conflict or exhausted, 6 unavailable, 70 bug. */
  readonly exit: number;
  /** Whether the same call may succeed later without a change. */
  readonly retriable: boolean;
}

/**
 * Every code, sorted. A code is never given a second meaning; a retired one stays here as a comment.
 * Each is explained in docs/reference/errors.md, which a test holds against this table.
 */
export const errorCodes = {
  'admin-unauthorized': { http: 403, grpc: 7, exit: 4, retriable: false },
  'attestation-failed': { http: 401, grpc: 16, exit: 4, retriable: false },
  'ca-already-initialized': { http: 409, grpc: 9, exit: 5, retriable: false },
  'ca-certificate-invalid': { http: 422, grpc: 3, exit: 2, retriable: false },
  'ca-expiring': { http: 503, grpc: 14, exit: 6, retriable: false },
  'ca-key-invalid': { http: 422, grpc: 3, exit: 2, retriable: false },
  'ca-not-initialized': { http: 503, grpc: 14, exit: 6, retriable: false },
  'ca-rotation-refused': { http: 409, grpc: 9, exit: 5, retriable: false },
  'certificate-invalid': { http: 422, grpc: 3, exit: 2, retriable: false },
  'cluster-conflict': { http: 409, grpc: 10, exit: 5, retriable: false },
  'cluster-forbidden': { http: 403, grpc: 7, exit: 4, retriable: false },
  'csr-invalid': { http: 422, grpc: 3, exit: 2, retriable: false },
  'csr-weak-key': { http: 422, grpc: 3, exit: 2, retriable: false },
  'file-unreadable': { http: 400, grpc: 3, exit: 2, retriable: false },
  'identity-revoked': { http: 403, grpc: 7, exit: 4, retriable: false },
  'interface-failed': { http: 503, grpc: 14, exit: 6, retriable: true },
  'internal': { http: 500, grpc: 13, exit: 70, retriable: false },
  'journal-corrupt': { http: 500, grpc: 15, exit: 5, retriable: false },
  'journal-locked': { http: 409, grpc: 9, exit: 5, retriable: true },
  'kernel-unable': { http: 501, grpc: 12, exit: 6, retriable: false },
  'ledger-chain-broken': { http: 409, grpc: 15, exit: 1, retriable: false },
  'manifest-invalid': { http: 422, grpc: 3, exit: 2, retriable: false },
  'not-found': { http: 404, grpc: 5, exit: 3, retriable: false },
  'rate-limited': { http: 429, grpc: 8, exit: 6, retriable: true },
  'request-invalid': { http: 400, grpc: 3, exit: 2, retriable: false },
  'request-too-large': { http: 413, grpc: 3, exit: 2, retriable: false },
  'ruleset-refused': { http: 503, grpc: 14, exit: 6, retriable: true },
  'spiffe-id-invalid': { http: 422, grpc: 3, exit: 2, retriable: false },
  'store-failed': { http: 500, grpc: 13, exit: 6, retriable: false },
  'timeout': { http: 504, grpc: 4, exit: 6, retriable: true },
  'token-invalid': { http: 401, grpc: 16, exit: 4, retriable: false },
  'unavailable': { http: 503, grpc: 14, exit: 6, retriable: true },
  'usage': { http: 400, grpc: 3, exit: 2, retriable: false },
} as const satisfies Record<string, ErrorMeaning>;

export type ErrorCode = keyof typeof errorCodes;

export interface ErrorDetails {
  /** Where: a file and line, a field path, an endpoint. */
  readonly place?: string;
  /** The offending value, already safe to show. Never a secret. */
  readonly value?: string;
  /** The next step, as a sentence or a command. */
  readonly hint?: string;
  /** Kept for the log; never sent to a peer. */
  readonly cause?: unknown;
  /** Every fault of an input, where the error is about an input as a whole. */
  readonly faults?: readonly Fault[];
}

/** An operational failure. The message is lower case, without a period, and quotes the value it is about. */
export class SallyportError extends Error {
  override readonly name = 'SallyportError';
  readonly code: ErrorCode;
  readonly place: string | undefined;
  readonly value: string | undefined;
  readonly hint: string | undefined;
  readonly faults: readonly Fault[];

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.place = details.place;
    this.value = details.value;
    this.hint = details.hint;
    this.faults = details.faults ?? [];
  }

  get meaning(): ErrorMeaning {
    return errorCodes[this.code];
  }
}

/** Names an object in desired state; `namespace` is empty for cluster-scoped kinds. */
export interface ObjectRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** A field within an object, for example `['spec', 'ports', 0, 'port']`. */
export type FieldPath = readonly (string | number)[];

/** One thing wrong with an input. All faults of an input are reported together. */
export interface Fault {
  /** Stable, kebab-case, for example `policy-service-unknown`. */
  readonly code: string;
  /** What is wrong, with the value quoted; lower case, no period. */
  readonly message: string;
  /** What to do next. */
  readonly hint?: string;
  /** The object the fault is in, once the input is known to be an object. */
  readonly object?: ObjectRef;
  readonly path?: FieldPath;
  /** Where that field stands, once a file is known. Lines and columns count from 1. */
  readonly position?: { readonly file: string; readonly line: number; readonly column: number };
}

/** A violated invariant is a bug of ours: the process stops rather than go on in a state nobody designed. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`invariant violated: ${message}`);
}
