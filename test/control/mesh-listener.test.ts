import { connect } from 'node:net';
import { pino } from 'pino';
import { listenForMesh, type MeshListener } from '../../src/control/mesh-listener.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { makePki } from '../support/pki.ts';

describe('the mesh port', () => {
  let listener: MeshListener | undefined;
  afterEach(() => listener?.close());

  it('ends the connection of whoever begins no handshake', async () => {
    const identity = { ...makePki().issue('spiffe://cluster.local/ns/sallyport-system/sa/control'), notAfterMs: Infinity };
    listener = await listenForMesh({ host: '127.0.0.1', port: 0, identity, services: [], handshakeTimeoutMs: 50, log: pino({ level: 'silent' }) });
    const mute = connect({ host: '127.0.0.1', port: listener.port }).on('error', () => undefined).resume();
    await waitFor('its end', 5_000, () => mute.closed || undefined);
  });
});
