/** The caller's side of enrolment and renewal. Each call opens a connection of its own: they are minutes to hours apart. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { Client } from '@grpc/grpc-js';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { CertificatePurpose, EnrolmentService, IdentityService, type SvidResponse } from '../proto/sallyport/v1alpha1/identity_pb.ts';
import { callUnary } from './grpc-service.ts';
import { meshChannelCredentials, meshChannelOptions, type ClientCertificate } from './mesh-credentials.ts';

export interface ControlPlane {
  /** `host:port`. */
  readonly address: string;
  /** The only server identity that is accepted there. */
  readonly identity: SpiffeId;
  readonly trustBundlePem: string;
}

interface CallLimits {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** Spends a join token, on the key of `csr` (DER): after a failure that may have lost the answer, ask again with the same key. Throws as `callUnary` does; the token is sent only to the verified control plane. */
export async function enrol(control: ControlPlane, joinToken: string, csr: Uint8Array, limits: CallLimits, purpose: CertificatePurpose = CertificatePurpose.SVID): Promise<SvidResponse> {
  return enrolBy(control, { token: { case: 'joinToken', value: joinToken }, csr, purpose }, limits);
}

/** Has the key of `csr` (DER) certified for the service account of the pod whose token this is, as often as it is asked. Throws as `enrol` does. */
export async function enrolPod(control: ControlPlane, podToken: string, csr: Uint8Array, limits: CallLimits): Promise<SvidResponse> {
  return enrolBy(control, { token: { case: 'podToken', value: podToken }, csr }, limits);
}

/** Has a new key certified for the identity and the purpose of `current`. Throws as `callUnary` does. */
export async function renew(control: ControlPlane, current: ClientCertificate, csr: Uint8Array, limits: CallLimits): Promise<SvidResponse> {
  return withClient(control, current, (client) => callUnary(client, IdentityService.method.renew, { csr }, limits));
}

async function enrolBy(control: ControlPlane, request: MessageInitShape<typeof EnrolmentService.method.enrol.input>, limits: CallLimits): Promise<SvidResponse> {
  return withClient(control, undefined, (client) => callUnary(client, EnrolmentService.method.enrol, request, limits));
}

async function withClient<Result>(control: ControlPlane, certificate: ClientCertificate | undefined, call: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new Client(control.address, meshChannelCredentials([control.identity], control.trustBundlePem, certificate), meshChannelOptions);
  try {
    return await call(client);
  } finally {
    client.close();
  }
}
