/** What bench/xds.ts tells its servers and clients, and what they answer; one line of JSON each. */

/** PEM, all three. */
export interface TlsIdentity {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly trustBundlePem: string;
}

export interface EncodedResource {
  readonly name: string;
  /** Base64 of the encoded message. */
  readonly value: string;
}

export type Order =
  /** To a server: listen on a free port; answered with that. */
  | { readonly op: 'listen'; readonly tls?: TlsIdentity | undefined }
  /** Put these resources in the place of those of their names; answered with the time just before. */
  | { readonly op: 'set'; readonly resources: readonly EncodedResource[] }
  /** Say how much processor time it took so far, once so many requests have come. */
  | { readonly op: 'usage'; readonly requests: number }
  /** To a client: open connections. */
  | { readonly op: 'connect'; readonly address: string; readonly connections: number; readonly tls?: TlsIdentity | undefined }
  /** Open streams on them in turn; every one is to be answered with so many resources. Answered with the time just before. */
  | { readonly op: 'subscribe'; readonly streams: number; readonly names: string; readonly expected: number }
  /** Each stream will be sent so many resources in one response. */
  | { readonly op: 'expect'; readonly expected: number }
  /** Say when the last of them was there. */
  | { readonly op: 'await' }
  | { readonly op: 'close' };

/** Times are nanoseconds of the machine's monotonic clock, which all its processes share. */
export interface Answer {
  readonly port?: number;
  readonly atNs?: number;
  readonly cpuUs?: number;
  readonly startedNs?: number;
  readonly lastNs?: number;
}
