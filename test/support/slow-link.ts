/** A TCP proxy on loopback that takes its time, as a network or a disk under load does, and for a while lets nothing through. */
import net, { type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface SlowLink {
  readonly port: number;
  /** How long everything is under way from now on, in either direction, and by how much longer at most. What is under way stays in order. */
  setDelay(delayMs: number, jitterMs: number): void;
  /** Keeps everything, on connections that stay open. */
  hold(): void;
  /** Lets go what was kept. */
  release(): void;
  close(): void;
}

export async function startSlowLink(targetPort: number): Promise<SlowLink> {
  const open = new Set<Socket>();
  let pace = { delayMs: 0, jitterMs: 0 };
  let held: PromiseWithResolvers<void> | undefined;

  function carry(from: Socket, to: Socket): void {
    let last = Promise.resolve();
    const afterOthers = (deliver: () => void): void => {
      const dueAtMs = performance.now() + pace.delayMs + pace.jitterMs * Math.random();
      last = last.then(() => delay(Math.max(0, dueAtMs - performance.now()))).then(() => held?.promise).then(deliver);
    };
    open.add(from);
    from.on('error', () => undefined);
    from.on('data', (piece) => afterOthers(() => to.writable && to.write(piece)));
    from.once('end', () => afterOthers(() => to.end()));
    from.once('close', () => {
      open.delete(from);
      afterOthers(() => to.destroy());
    });
  }

  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const target = net.connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    carry(client, target);
    carry(target, client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const release = (): void => {
    held?.resolve();
    held = undefined;
  };
  return {
    port: (server.address() as AddressInfo).port,
    setDelay: (delayMs, jitterMs) => (pace = { delayMs, jitterMs }),
    hold: () => (held ??= Promise.withResolvers()),
    release,
    close() {
      server.close();
      release();
      for (const socket of open) socket.destroy();
    },
  };
}
