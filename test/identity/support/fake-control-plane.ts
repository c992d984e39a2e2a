/** The control plane's identity services over real gRPC and TLS, with a CA that is openssl. */
import { Server, ServerCredentials, type ServerUnaryCall } from '@grpc/grpc-js';
import { grpcServiceDefinition, unaryHandler } from '../../../src/api/grpc-service.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import { parseCsr } from '../../../src/core/x509/csr.ts';
import { certificatesOfPem } from '../../../src/core/x509/pem.ts';
import { parseX509Svid } from '../../../src/core/x509/x509-svid.ts';
import { EnrolmentService, IdentityService } from '../../../src/proto/sallyport/v1alpha1/identity_pb.ts';
import type { OpensslCa } from './openssl-ca.ts';

export const trustDomainText = 'cluster.local';
export const controlId = 'spiffe://cluster.local/ns/sallyport-system/sa/control';

interface Answer {
  readonly spiffeId: string;
  readonly certificateChain: Uint8Array[];
  readonly trustBundle: Uint8Array[];
}

export interface FakeControlPlane {
  readonly enrolmentAddress: string;
  readonly identityAddress: string;
  /** Every call in order, with who made it. */
  readonly calls: readonly { readonly method: 'enrol' | 'renew'; readonly caller: string }[];
  stop(): void;
}

export interface FakeControlPlaneOptions {
  readonly ca: OpensslCa;
  /** Join tokens to the identity they are for. The first public key to come spends one. */
  readonly tokens?: ReadonlyMap<string, string>;
  /** Who the server is. */
  readonly serverId?: string;
  readonly enrolmentPort?: number;
  readonly identityPort?: number;
  /** Identities whose certificates are revoked. */
  readonly revoked?: Set<string>;
  /** Spoils an answer. */
  readonly alter?: (answer: Answer) => Answer;
  /** Comes between spending a token and the answer. */
  readonly onSpent?: () => unknown;
  /** Adds further services to the mTLS port. */
  readonly extend?: (server: Server) => void;
}

export async function startFakeControlPlane({ ca, tokens = new Map(), revoked = new Set(), serverId = controlId, enrolmentPort = 0, identityPort = 0, alter = (answer) => answer, onSpent = () => undefined, extend }: FakeControlPlaneOptions): Promise<FakeControlPlane> {
  const calls: { method: 'enrol' | 'renew'; caller: string }[] = [];
  const spentBy = new Map<string, string>();
  const serverCertificate = await ca.issue(serverId);
  const keyPairs = [{ cert_chain: Buffer.from(serverCertificate.certificateChainPem), private_key: Buffer.from(serverCertificate.privateKeyPem) }];

  const answer = async (csr: Uint8Array, spiffeId: string) => alter({ spiffeId, certificateChain: [...(await ca.sign(csr, spiffeId))], trustBundle: [...certificatesOfPem(ca.rootPem)] });

  const enrolment = new Server();
  enrolment.addService(grpcServiceDefinition(EnrolmentService), {
    enrol: unaryHandler(EnrolmentService.method.enrol, async ({ token, csr }) => {
      const joinToken = token.value ?? '';
      calls.push({ method: 'enrol', caller: joinToken });
      const parsed = parseCsr(Buffer.from(csr));
      if (!parsed.ok) throw new SallyportError('csr-invalid', parsed.detail);
      const publicKey = parsed.request.publicKeyDer.toString('hex');
      const spiffeId = tokens.get(joinToken);
      if (spiffeId === undefined || (spentBy.get(joinToken) ?? publicKey) !== publicKey) throw new SallyportError('token-invalid', 'join token is unknown or spent', { hint: 'create another' });
      spentBy.set(joinToken, publicKey);
      await onSpent();
      return answer(csr, spiffeId);
    }),
  });
  const identity = new Server();
  identity.addService(grpcServiceDefinition(IdentityService), {
    renew: unaryHandler(IdentityService.method.renew, async ({ csr }, call) => {
      const caller = callerOf(call);
      calls.push({ method: 'renew', caller });
      if (revoked.has(caller)) throw new SallyportError('identity-revoked', 'certificate is revoked');
      return answer(csr, caller);
    }),
  });
  extend?.(identity);

  const bind = (server: Server, port: number, credentials: ServerCredentials) =>
    new Promise<string>((resolve, reject) => server.bindAsync(`127.0.0.1:${port}`, credentials, (error, bound) => (error === null ? resolve(`127.0.0.1:${bound}`) : reject(error))));
  const stop = () => {
    enrolment.forceShutdown();
    identity.forceShutdown();
  };
  try {
    return {
      enrolmentAddress: await bind(enrolment, enrolmentPort, ServerCredentials.createSsl(null, keyPairs)),
      identityAddress: await bind(identity, identityPort, ServerCredentials.createSsl(Buffer.from(ca.rootPem), keyPairs, true)),
      calls,
      stop,
    };
  } catch (error) {
    stop();
    throw error;
  }
}

function callerOf(call: Pick<ServerUnaryCall<unknown, unknown>, 'getAuthContext'>): string {
  const certificate = call.getAuthContext().sslPeerCertificate;
  if (certificate === undefined) throw new SallyportError('attestation-failed', 'no certificate');
  const parsed = parseX509Svid(certificate.raw);
  if (!parsed.ok) throw new SallyportError('attestation-failed', parsed.detail);
  return parsed.svid.spiffeId;
}
