/** A workload that speaks mTLS to the gateway itself, with the SVID that an agent keeps in files. */
import { once } from 'node:events';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { startDialogue, type Dialogue } from '../../src/demo/clients.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { readFileSet } from '../../src/identity/index.ts';

export interface SvidFiles {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly trustBundlePem: string;
}

export interface MeshConnection {
  readonly dialogue: Dialogue;
  /** Of the certificate that the gateway showed, in lower-case hexadecimal. */
  readonly gatewaySerialNumber: string;
}

/** All three of one moment, as soon as the agent has written them. */
export async function readSvid(directory: string): Promise<SvidFiles> {
  return await waitFor(`an SVID in ${directory}`, 10_000, async () => {
    // ENOENT: the agent has replaced the set while it was read.
    const files = await readFileSet(directory, ['svid.pem', 'svid_key.pem', 'svid_bundle.pem']).catch(() => undefined);
    return files && { certificateChainPem: files['svid.pem'], privateKeyPem: files['svid_key.pem'], trustBundlePem: files['svid_bundle.pem'] };
  });
}

/** Resolves once the handshake is done; with TLS 1.3 the gateway may still refuse the client's certificate after that. */
export async function openMesh({ certificateChainPem, privateKeyPem, trustBundlePem }: SvidFiles, port: number, serverName: string): Promise<MeshConnection> {
  // The gateway's SPIFFE ID is checked by agents, and in their tests.
  const socket: TLSSocket = connectTls({ host: '127.0.0.1', port, servername: serverName, cert: certificateChainPem, key: privateKeyPem, ca: trustBundlePem, checkServerIdentity: () => undefined, minVersion: 'TLSv1.3' });
  const dialogue = startDialogue(socket);
  await once(socket, 'secureConnect', { signal: AbortSignal.timeout(10_000) });
  return { dialogue, gatewaySerialNumber: socket.getPeerCertificate().serialNumber.toLowerCase() };
}
