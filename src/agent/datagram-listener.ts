import { createSocket, type Socket } from 'node:dgram';
import { familyOf } from '../core/ip-address.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { createDatagramCarrier, type DatagramCarrierOptions } from './datagram-carrier.ts';
import { openLocalListener, type LocalListener, type LocalListenerOptions } from './local-listener.ts';

export interface DatagramListenerOptions extends Omit<DatagramCarrierOptions, 'deliver' | 'log'>, Pick<LocalListenerOptions, 'endpoint'> {
  readonly log: DatagramCarrierOptions['log'] & LocalListenerOptions['log'];
}

/** The UDP port of an upstream: each address and port that sends something to it is a client, and has its replies from it. */
export function openDatagramListener({ endpoint, ...options }: DatagramListenerOptions): LocalListener {
  let socket: Socket | undefined;
  const carrier = createDatagramCarrier({
    ...options,
    deliver: (payload, { address, port }) => socket?.send(payload, port, address, () => undefined), // a client that has gone, or is slower than its kernel
  });

  function bind({ address, port }: Endpoint, { opened, fault }: Parameters<LocalListenerOptions['open']>[1]): () => void {
    const opening = createSocket(familyOf(endpoint.address) === 'ipv4' ? { type: 'udp4' } : { type: 'udp6', ipv6Only: true });
    const close = (): void => {
      if (socket === opening) socket = undefined;
      opening.close();
    };
    opening.on('error', (error) => {
      if (socket !== opening) opening.close();
      fault(error);
    });
    opening.on('message', (payload, client) => carrier.take(payload, client));
    opening.bind({ address, port, exclusive: true }, () => {
      socket = opening;
      opened();
    });
    return close;
  }

  const listener = openLocalListener({ endpoint, open: bind, ...options });
  return {
    get state() {
      return listener.state;
    },
    close() {
      listener.close();
      carrier.close();
    },
  };
}
