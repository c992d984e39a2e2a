/** How a proxy that is set up here is admitted: by the administrator who sets it up, or with what an administrator has made for it. */
import type { AdminClient } from '../api/admin-client.ts';
import { adminPaths, type CaStatus, type ObjectList, type TokenRequest, type TokenResult } from '../api/admin.ts';
import { SallyportError } from '../core/errors.ts';
import type { EgressGateway } from '../core/objects/index.ts';
import { gatewayIdentity } from '../core/plan/gateways.ts';
import { trustDomainOf, type SpiffeId, type TrustDomain } from '../core/spiffe-id.ts';
import { readFile } from './context.ts';

/** A gateway by its name, or a sidecar by its workload's identity. */
export type ProxyFor = { readonly gateway: string } | { readonly sidecarOf: SpiffeId };

export interface Admission {
  readonly trustDomain: TrustDomain;
  /** Trust anchors to know the control plane by, PEM. */
  readonly trustBundlePem: string;
  /** Absent where only the join token says it. */
  readonly spiffeId?: SpiffeId;
  readonly joinToken: () => Promise<string | undefined>;
}

const tokenTtlMs = 60_000; // it is spent at once

/** Asks for everything, and makes a token where one is needed. */
export async function admitByAdministrator(client: AdminClient, proxy: ProxyFor): Promise<Admission> {
  const { trustDomain: trustDomainText, slots } = await client.get<CaStatus>(adminPaths.ca).catch(hintAtFiles);
  if (slots.length === 0) throw new SallyportError('ca-not-initialized', 'the control plane has no CA to certify a proxy with', { hint: 'sallyport ca init, or sallyport ca import' });
  const trustDomain = trustDomainText as TrustDomain;
  const spiffeId = 'gateway' in proxy ? gatewayIdentity(await envoyGateway(client, proxy.gateway), trustDomain) : idIn(trustDomain, proxy.sidecarOf);
  return {
    trustDomain,
    trustBundlePem: await client.text(adminPaths.bundle),
    spiffeId,
    joinToken: async () => (await client.post<TokenResult>(adminPaths.tokens, { spiffeId, purpose: 'proxy', ttlMs: tokenTtlMs } satisfies TokenRequest)).token,
  };
}

export interface AdmissionFiles {
  readonly trustDomain: TrustDomain;
  readonly trustBundle: string | undefined;
  readonly joinTokenFile: string;
}

/** Asks nobody: for a machine that has no way to the admin API. */
export async function admitByFiles({ trustDomain, trustBundle, joinTokenFile: tokenPath }: AdmissionFiles, proxy: ProxyFor): Promise<Admission> {
  if (trustBundle === undefined) throw new SallyportError('usage', 'a join token is sent only to a control plane that is known by --trust-bundle', { hint: 'write it where the admin API is: sallyport ca export' });
  const { tokenFile } = await import('../identity/index.ts');
  return {
    trustDomain,
    trustBundlePem: readFile(trustBundle),
    ...('gateway' in proxy ? {} : { spiffeId: idIn(trustDomain, proxy.sidecarOf) }),
    joinToken: tokenFile(tokenPath),
  };
}

function hintAtFiles(error: unknown): never {
  if (!(error instanceof SallyportError) || error.code !== 'unavailable') throw error;
  throw new SallyportError(error.code, error.message, { ...(error.place === undefined ? {} : { place: error.place }), hint: 'start it with "sallyport serve", name it with --server, or bring --join-token-file and --trust-bundle', cause: error });
}

async function envoyGateway(client: AdminClient, name: string): Promise<Pick<EgressGateway, 'metadata' | 'spec'>> {
  const { items } = await client.get<ObjectList>(adminPaths.objects, { kind: 'EgressGateway', name });
  const [gateway] = items as unknown as readonly EgressGateway[];
  if (gateway === undefined) throw new SallyportError('not-found', `there is no EgressGateway ${JSON.stringify(name)}`, { place: '--gateway', hint: 'list them: sallyport get egressgateways' });
  if (gateway.spec.class !== 'envoy') throw new SallyportError('usage', `EgressGateway ${JSON.stringify(name)} is of class "${gateway.spec.class}", not "envoy"`, { place: '--gateway', hint: `run it with "sallyport gateway --name ${name}", or apply it with "class: envoy"` });
  return gateway;
}

function idIn(trustDomain: TrustDomain, spiffeId: SpiffeId): SpiffeId {
  if (trustDomainOf(spiffeId) === trustDomain) return spiffeId;
  throw new SallyportError('spiffe-id-invalid', `${JSON.stringify(spiffeId)} is not of trust domain ${JSON.stringify(trustDomain)}`, { place: '--spiffe-id', value: spiffeId, hint: `its workloads are spiffe://${trustDomain}/ns/NAMESPACE/sa/SERVICEACCOUNT` });
}
