/** A client of the client status discovery service on the mesh port. */
import { Client } from '@grpc/grpc-js';
import type { ControlPlane } from '../../src/api/enrolment-client.ts';
import { callUnary } from '../../src/api/grpc-service.ts';
import { meshChannelCredentials, meshChannelOptions, type ClientCertificate } from '../../src/api/mesh-credentials.ts';
import { ClientStatusDiscoveryService, type ClientConfig } from '../../src/proto/envoy/service/status/v3/csds_pb.ts';

/** What the control plane tells of all its clients. Throws what it answers otherwise. */
export async function askClientStatus(mesh: ControlPlane, certificate?: ClientCertificate): Promise<readonly ClientConfig[]> {
  const client = new Client(mesh.address, meshChannelCredentials([mesh.identity], mesh.trustBundlePem, certificate), meshChannelOptions);
  try {
    return (await callUnary(client, ClientStatusDiscoveryService.method.fetchClientStatus, {}, { timeoutMs: 5_000 })).config;
  } finally {
    client.close();
  }
}
