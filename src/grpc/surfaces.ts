/**
 * Calls as the handlers of grpc-js know them: `ServerUnaryCall`, `ServerReadableStream`, `ServerWritableStream` and
 * `ServerDuplexStream`, so that one set of handlers serves with either server.
 */
import { Metadata, status, type handleUnaryCall, type MethodDefinition, type sendUnaryData, type ServerUnaryCall, type StatusObject, type UntypedHandleCall } from '@grpc/grpc-js';
import { EventEmitter } from 'node:events';
import { Duplex } from 'node:stream';
import type { Call } from './call.ts';
import { statusOfError } from './status.ts';

/**
 * A method of grpc-js's that may also give a response as pieces which follow one another, so that those which many calls share
 * are not copied for each. Servers that do not know of it use `responseSerialize`.
 */
interface Method extends MethodDefinition<unknown, unknown> {
  readonly responseParts?: (response: unknown) => readonly Uint8Array[];
}

/** Runs one call with a handler of grpc-js's kind for that method. `onError` sees what a handler throws, whole. */
export function serveCall(call: Call, method: Method, handler: UntypedHandleCall, onError: (error: unknown) => void): void {
  if (method.requestStream || method.responseStream) serveStreaming(call, method, handler, onError);
  else serveUnary(call, method, handler as handleUnaryCall<unknown, unknown>, onError);
}

/** What every kind of call offers its handler, beside being an emitter of `cancelled`. */
function surfaceOf(call: Call) {
  return {
    cancelled: false,
    metadata: call.metadata,
    getPeer: () => call.peer.address,
    getAuthContext: call.peer.authContext,
    getDeadline: () => call.deadline,
    getPath: () => call.path,
    getHost: () => call.host,
    sendMetadata: call.sendMetadata,
  };
}

function serveUnary(call: Call, method: Method, handler: handleUnaryCall<unknown, unknown>, onError: (error: unknown) => void): void {
  let bytes: Buffer | undefined;
  let surface: ServerUnaryCall<unknown, unknown> | undefined;
  call.start({
    message(message) {
      if (bytes !== undefined) call.sendStatus(tooMany);
      bytes = message;
      return true;
    },
    requestEnd() {
      const request = bytes === undefined ? tooFew : decode(method, bytes);
      if ('code' in request) {
        call.sendStatus(request);
        return;
      }
      // A load report, which grpc-js can add to a call, is all that is missing.
      surface = Object.assign(new EventEmitter(), surfaceOf(call), { request: request.value }) as unknown as ServerUnaryCall<unknown, unknown>;
      guarded(call, onError, () => handler(surface!, answering(call, method)));
    },
    cancelled() {
      if (surface === undefined) return;
      surface.cancelled = true;
      surface.emit('cancelled', 'cancelled');
    },
  });
}

/** The callback by which a handler gives its one answer. */
function answering(call: Call, { responseSerialize }: Method): sendUnaryData<unknown> {
  return (error, value, trailers) => {
    if (error !== null) {
      call.sendStatus(statusOfError(error, trailers));
      return;
    }
    call.sendMessage([responseSerialize(value)]);
    call.sendStatus({ code: status.OK, details: '', metadata: trailers ?? new Metadata() });
  };
}

function serveStreaming(call: Call, method: Method, handler: UntypedHandleCall, onError: (error: unknown) => void): void {
  let trailers: Metadata | undefined;
  let failure: StatusObject | undefined;
  const duplex = new Duplex({
    objectMode: true,
    readableHighWaterMark: 1, // messages may be large; what came in one piece with them is held anyway
    emitClose: true,
    autoDestroy: false,
    read: () => call.resume(),
    write: (message, _, done) => call.sendMessage(method.responseParts?.(message) ?? [method.responseSerialize(message)], done),
    final(done) {
      call.sendStatus(failure ?? { code: status.OK, details: '', metadata: trailers ?? new Metadata() });
      done();
    },
    destroy(_error, done) {
      // Leaving `for await` by an exception destroys the stream before the handler can say why: it has this turn to do so.
      setImmediate(call.reset);
      done(null);
    },
  });
  const finish = (): Duplex => (Duplex.prototype.end as (this: Duplex) => Duplex).call(duplex);
  const surface = Object.assign(duplex, surfaceOf(call), {
    end(last?: Metadata) {
      trailers ??= last;
      return finish();
    },
  });
  // As in grpc-js: the status goes out behind everything that was written before.
  surface.on('error', (error) => {
    failure ??= statusOfError(error);
    if (surface.destroyed) call.sendStatus(failure);
    else finish();
  });

  let request: unknown;
  const run = () =>
    guarded(call, onError, () => {
      if (!method.requestStream) (handler as (call: unknown) => void)(Object.assign(surface, { request }));
      else if (method.responseStream) (handler as (call: unknown) => void)(surface);
      else (handler as (call: unknown, callback: sendUnaryData<unknown>) => void)(surface, answering(call, method));
    });
  call.start({
    message(bytes) {
      const decoded = decode(method, bytes);
      if ('code' in decoded) {
        call.sendStatus(decoded);
        return false;
      }
      if (method.requestStream) return surface.push(decoded.value);
      if (request !== undefined) call.sendStatus(tooMany);
      request = decoded.value;
      return true;
    },
    requestEnd() {
      surface.push(null);
      if (method.requestStream) return;
      if (request === undefined) call.sendStatus(tooFew);
      else run();
    },
    cancelled() {
      surface.cancelled = true;
      surface.emit('cancelled', 'cancelled');
      surface.destroy();
    },
  });
  if (method.requestStream) run();
}

function decode({ requestDeserialize }: Method, bytes: Buffer): { readonly value: unknown } | StatusObject {
  try {
    return { value: requestDeserialize(bytes) };
  } catch {
    return refusal(status.INTERNAL, 'a request cannot be decoded'); // the code that gRPC's status page gives for it
  }
}

const refusal = (code: status, details: string): StatusObject => ({ code, details, metadata: new Metadata() });
const tooMany = refusal(status.UNIMPLEMENTED, 'more than one message in a call that takes one');
const tooFew = refusal(status.UNIMPLEMENTED, 'no message in a call that takes one');

function guarded(call: Call, onError: (error: unknown) => void, run: () => void): void {
  try {
    run();
  } catch (error) {
    onError(error);
    call.sendStatus(statusOfError(undefined));
  }
}
