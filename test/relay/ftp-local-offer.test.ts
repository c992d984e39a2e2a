import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { IpAddress } from '../../src/core/ip-address.ts';
import { offerLocalData } from '../../src/relay/ftp-local-offer.ts';

const address = '127.0.0.1' as IpAddress;

describe('local ftp data offer', () => {
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });

  /** What a connection to the offer receives until it ends, in whatever way. */
  async function dial(port: number, localAddress: string): Promise<string> {
    const socket = connect({ host: address, port, localAddress });
    sockets.push(socket);
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('error', () => socket.destroy());
    await new Promise((resolve) => socket.once('close', resolve));
    return text;
  }

  function open() {
    return offerLocalData({
      address,
      clientAddress: address,
      timeoutMs: 5_000,
      onTimeout: () => assert.fail('timed out'),
      carry: async (client) => {
        client.end('yours');
        await once(client.resume(), 'close');
      },
    });
  }

  it('is for the client of the control connection, whoever else came before', async () => {
    const offer = await open();
    for (let index = 0; index < 3; index++) assert.equal(await dial(offer.port, '127.0.0.3'), '');
    assert.equal(await dial(offer.port, '127.0.0.1'), 'yours');
    await offer.done;
  });

  it('carries one connection only', async () => {
    const offer = await open();
    const answers = await Promise.all([dial(offer.port, '127.0.0.1'), dial(offer.port, '127.0.0.1')]);
    assert.deepEqual(answers.sort(), ['', 'yours']);
    await offer.done;
    assert.equal(await dial(offer.port, '127.0.0.1'), '');
  });

  it('ends when it is closed', async () => {
    const offer = await open();
    offer.close();
    await offer.done;
    assert.equal(await dial(offer.port, '127.0.0.1'), '');
  });
});
