import { fromBinary } from '@bufbuild/protobuf';
import { SallyportError } from '../core/errors.ts';
import { SecretSchema, type Secret } from '../proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import type { DeltaSubscription } from '../xds/index.ts';

/** The trust bundle by SDS, under the name that Istio's agents and SPIRE use for it too. */
export const trustBundleSubscription = { typeUrl: `type.googleapis.com/${SecretSchema.typeName}`, names: ['ROOTCA'] } as const satisfies DeltaSubscription;

/** The PEM text in an encoded Secret. Throws SallyportError `certificate-invalid`; what the certificates are worth is not looked at. */
export function readTrustBundleSecret(value: Uint8Array): string {
  const refuse = (reason: string, cause?: unknown) => new SallyportError('certificate-invalid', `secret "ROOTCA" ${reason}`, { cause });
  let secret: Secret;
  try {
    secret = fromBinary(SecretSchema, value);
  } catch (error) {
    throw refuse('cannot be read', error);
  }
  const source = secret.type.case === 'validationContext' ? secret.type.value.trustedCa?.specifier : undefined;
  if (source?.case === 'inlineBytes') return Buffer.from(source.value).toString('latin1');
  if (source?.case === 'inlineString') return source.value;
  throw refuse('holds no trusted_ca');
}
