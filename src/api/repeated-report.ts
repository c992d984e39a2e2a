/** Tells somebody of the mesh how things are: again with each change, and every two seconds, so that he may forget whoever has fallen silent. */
import type { DescMessage, DescMethodUnary, MessageInitShape } from '@bufbuild/protobuf';
import { Client, type ChannelCredentials, type ClientOptions } from '@grpc/grpc-js';
import { callUnary } from './grpc-service.ts';

export interface Listener {
  /** `host:port`. */
  readonly address: string;
  /** What proves to it who we are: where that is another, it is connected to anew. */
  readonly shown: object;
  readonly endpoint: () => { readonly address: string; readonly credentials: ChannelCredentials; readonly options?: ClientOptions };
}

export interface RepeatedReportOptions<Input extends DescMessage, Output extends DescMessage> {
  readonly method: DescMethodUnary<Input, Output>;
  /** Who is told now; undefined for nobody. */
  readonly listener: () => Listener | undefined;
  readonly report: () => MessageInitShape<Input>;
  readonly onFailure: (error: unknown, listener: Listener) => void;
  readonly now: () => number;
}

/** How soon a change is reported. */
const lookEveryMs = 100;
/** That nothing has changed is said too. */
const repeatMs = 2_000;
/** When whoever has said nothing is forgotten. */
export const forgottenAfterMs = 7_000;
const answerWithinMs = 2_000;

export function startRepeatedReport<Input extends DescMessage, Output extends DescMessage>({ method, listener, report, onFailure, now }: RepeatedReportOptions<Input, Output>): { close(): void } {
  let connection: { readonly to: Listener; readonly client: Client } | undefined;
  let said = '';
  let saidAtMs = -Infinity;
  let isBusy = false;

  function clientFor(to: Listener): Client {
    if (connection?.to.address === to.address && connection.to.shown === to.shown) return connection.client;
    connection?.client.close();
    const { address, credentials, options } = to.endpoint();
    connection = { to, client: new Client(address, credentials, options) };
    return connection.client;
  }

  async function tell(to: Listener): Promise<void> {
    const message = report();
    const text = JSON.stringify([to.address, message]);
    if (text === said && now() - saidAtMs < repeatMs) return;
    said = text;
    saidAtMs = now();
    await callUnary(clientFor(to), method, message, { timeoutMs: answerWithinMs });
  }

  const timer = setInterval(() => {
    const to = listener();
    if (to === undefined || isBusy) return;
    isBusy = true;
    tell(to)
      .catch((error: unknown) => {
        onFailure(error, to);
        saidAtMs = now(); // again when it is to be repeated
      })
      .finally(() => (isBusy = false));
  }, lookEveryMs);
  return {
    close() {
      clearInterval(timer);
      connection?.client.close();
    },
  };
}
