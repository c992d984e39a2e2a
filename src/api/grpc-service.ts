/**
 * Joins the two libraries that our gRPC services stand on: protobuf-es describes messages and services, grpc-js carries
 * them. Both ends of a call use this file, so that an error keeps its code and its hint from one process to the other.
 */
import { create, fromBinary, toBinary, type DescMessage, type DescMethodUnary, type DescService, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { Metadata, status, type Client, type handleUnaryCall, type MethodDefinition, type ServerUnaryCall, type ServiceDefinition, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { errorCodes, SallyportError, type ErrorCode } from '../core/errors.ts';

/** The part of a generated service that is looked at here; every `GenService` is one. */
type ServiceDescription = Pick<DescService, 'typeName' | 'methods'>;

/**
 * The definition that `Server.addService` takes. Handlers are keyed by the method's local name (`enrol`, `renew`) and
 * receive and return protobuf-es messages.
 */
export function grpcServiceDefinition(service: ServiceDescription): ServiceDefinition {
  return Object.fromEntries(service.methods.map((method) => [method.localName, grpcMethodDefinition(method)]));
}

/** One method of a service as grpc-js wants it, for clients and servers, unary or streaming. */
export function grpcMethodDefinition<Input extends DescMessage, Output extends DescMessage>(method: {
  readonly parent: { readonly typeName: string };
  readonly name: string;
  readonly methodKind: DescService['methods'][number]['methodKind'];
  readonly input: Input;
  readonly output: Output;
}): MethodDefinition<MessageShape<Input>, MessageShape<Output>> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: (message) => Buffer.from(toBinary(method.input, message)),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: (message) => Buffer.from(toBinary(method.output, message)),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

/**
 * A server's handler of one unary method. What `handle` throws reaches the caller by `grpcStatusOf`; `onError` sees it
 * first, whole, for the log.
 */
export function unaryHandler<Input extends DescMessage, Output extends DescMessage>(
  method: DescMethodUnary<Input, Output>,
  handle: (request: MessageShape<Input>, call: ServerUnaryCall<MessageShape<Input>, MessageShape<Output>>) => Promise<MessageInitShape<Output>>,
  onError?: (error: unknown) => void,
): handleUnaryCall<MessageShape<Input>, MessageShape<Output>> {
  return (call, callback) => {
    void handle(call.request, call).then(
      (answer) => callback(null, create(method.output, answer)),
      (error: unknown) => {
        onError?.(error);
        callback(grpcStatusOf(error));
      },
    );
  };
}

export interface UnaryCallOptions {
  /** Counts from the call, connecting included. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly metadata?: Metadata;
}

/**
 * Makes one unary call. Throws a SallyportError: with the server's own code and hint where it sent them, else `timeout`
 * for a deadline and `unavailable` for a server that cannot be reached or whose certificate was refused.
 */
export async function callUnary<Input extends DescMessage, Output extends DescMessage>(
  client: Client,
  method: DescMethodUnary<Input, Output>,
  request: MessageInitShape<Input>,
  { timeoutMs, signal, metadata = new Metadata() }: UnaryCallOptions,
): Promise<MessageShape<Output>> {
  signal?.throwIfAborted();
  const { path, requestSerialize, responseDeserialize } = grpcMethodDefinition(method);
  return new Promise((resolve, reject) => {
    const cancel = () => call.cancel();
    const call = client.makeUnaryRequest(path, requestSerialize, responseDeserialize, create(method.input, request), metadata, { deadline: Date.now() + timeoutMs }, (error, answer) => {
      signal?.removeEventListener('abort', cancel);
      if (error !== null) reject(errorOfGrpc(error, `call ${JSON.stringify(path)}`));
      else resolve(answer!); // grpc-js gives either an error or an answer
    });
    signal?.addEventListener('abort', cancel, { once: true });
  });
}

// Trailers that carry what a gRPC status has no place for. Binary, since metadata text must be ASCII.
const codeKey = 'sallyport-code';
const hintKey = 'sallyport-hint-bin';

/** What a caller is told of an error: code, message and hint of a SallyportError; of anything else only that it happened. */
export function grpcStatusOf(error: unknown): Partial<StatusObject> {
  const known = error instanceof SallyportError ? error : new SallyportError('internal', 'internal error');
  const metadata = new Metadata();
  metadata.set(codeKey, known.code);
  if (known.hint !== undefined) metadata.set(hintKey, Buffer.from(known.hint));
  // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- core/errors.ts knows the numbers of gRPC, not grpc-js's enum of them
  return { code: known.meaning.grpc, details: known.message, metadata };
}

/** The inverse of `grpcStatusOf` at the caller; `action` says what was tried, for errors that are not the server's own. */
export function errorOfGrpc(error: ServiceError, action: string): SallyportError {
  // A call that never reached a server has no trailers, whatever grpc-js's types say.
  const metadata = error.metadata as Metadata | undefined;
  const code = metadata?.get(codeKey)[0];
  const hint = metadata?.get(hintKey)[0];
  if (typeof code === 'string' && isErrorCode(code)) return new SallyportError(code, error.details, { ...(hint === undefined ? {} : { hint: hint.toString() }), cause: error });
  return new SallyportError(codeOfStatus(error.code), `${action} failed: ${error.details}`, { cause: error });
}

function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(errorCodes, text);
}

/** Statuses that grpc-js makes itself, or that a server which is not ours may send. */
function codeOfStatus(code: status): ErrorCode {
  switch (code) {
    case status.DEADLINE_EXCEEDED:
      return 'timeout';
    case status.RESOURCE_EXHAUSTED:
      return 'rate-limited';
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
      return 'attestation-failed';
    case status.INVALID_ARGUMENT:
    case status.UNIMPLEMENTED:
      return 'request-invalid';
    case status.INTERNAL:
    case status.DATA_LOSS:
      return 'internal';
    default:
      return 'unavailable';
  }
}
