import { formatEndpoint } from '../core/ip-address.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { Endpoint, Target } from '../core/plan/plan.ts';
import { formatProxyHeader } from '../core/proxy-header.ts';
import { sidesWithPort } from '../core/snat/snat-source.ts';
import { closeStream } from '../relay/ftp-session.ts';
import { reset } from '../relay/reset.ts';
import { splice } from '../relay/splice.ts';
import type { ProtocolHandler } from './protocol.ts';
import type { Arrival } from './source-listener.ts';
import { reasonOf } from './stream-handler.ts';

/**
 * The way back: a connection that an agent keeps waiting, until one comes from the external service to the identity's own address. Then the
 * agent is told by a header of the PROXY protocol, and bytes pass.
 */
export const handleReverse: ProtocolHandler = ({ client, grant, ledger, reversePorts, servicePort, settings, targets }) => {
  const { promise: done, resolve } = Promise.withResolvers<undefined>();
  let carried: Endpoint | undefined;
  let ended: ConnectionReason | undefined;
  let withdraw = (): void => undefined;
  let stop = (reason: ConnectionReason): void => {
    ended = reason;
    withdraw();
    reset(client);
    resolve(undefined);
  };

  /** An agent says nothing before it was told of a connection. */
  const speaksTooEarly = (): void => stop('client-closed');

  function leaveQueue(): void {
    withdraw();
    client.off('data', speaksTooEarly).off('end', speaksTooEarly).off('close', speaksTooEarly);
    client.pause();
  }

  function take(arrival: Arrival): void {
    leaveQueue();
    const { local, remote, socket } = arrival;
    carried = remote;
    const record = ledger.opened(arrival, { channel: 'reverse' });
    client.write(formatProxyHeader({ source: remote, destination: local }));
    const spliced = splice<ConnectionReason>(client, socket, { idleTimeoutMs: settings.limits.idleTimeoutMs });
    client.resume();
    stop = (reason) => {
      ended ??= reason;
      spliced.destroy(reason);
    };
    void spliced.done.then(({ reason, bytesAtoB, bytesBtoA }) => {
      record.closed({ reason: ended ?? reasonOf(reason), bytesSent: bytesAtoB, bytesReceived: bytesBtoA });
      resolve(undefined);
    });
  }

  async function wait(): Promise<void> {
    client.on('data', speaksTooEarly).on('end', speaksTooEarly).on('close', speaksTooEarly);
    const places = sidesWithPort(grant.snat, servicePort.port).map(({ address }) => ({ address, port: servicePort.port }));
    const refused = (remote: Endpoint): void => ledger.denied('reverse-source-refused', `${formatEndpoint(remote)} is not an address of ${servicePort.id}`);
    const waiting = { targets, take: (arrival: Arrival) => (carried === undefined && ended === undefined ? take(arrival) : reset(arrival.socket)), refused };
    const outcomes = await Promise.all(places.map((place) => reversePorts.wait(place, waiting)));
    const withdrawals = outcomes.flatMap((each) => (each.outcome === 'waiting' ? [each.withdraw] : []));
    withdraw = () => {
      for (const each of withdrawals) each();
    };
    if (ended !== undefined || carried !== undefined) {
      withdraw();
    } else if (outcomes.some(({ outcome }) => outcome === 'elsewhere')) {
      leaveQueue();
      await closeStream(client); // in order, which tells the agent to try its luck with another thread
      resolve(undefined);
    } else if (withdrawals.length === 0) {
      ledger.denied('reverse-port-unavailable', places.length === 0 ? `port ${servicePort.port} is not among those that the identity holds of its address` : `${places.map(formatEndpoint).join(' and ')} cannot be listened on`);
      stop('reverse-port-unavailable');
    }
  }
  void wait();

  return {
    done,
    end: (reason) => stop(reason),
    keepsTo: (next: readonly Target[]) => carried === undefined || next.some((target) => target.kind === 'host' || target.address === carried!.address),
  };
};
