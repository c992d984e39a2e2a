/** What the control plane does on Kubernetes beside what it does everywhere: desired state, the CA, pods' tokens and webhooks are the API server's. */
import type { Logger } from 'pino';
import { defaultControlIdentity } from '../api/mesh-credentials.ts';
import type { Authority } from '../ca/index.ts';
import { podTokenAudience } from '../core/pod-identity.ts';
import { workloadOf, type SpiffeId, type TrustDomain } from '../core/spiffe-id.ts';
import { certificatesToPem } from '../core/x509/pem.ts';
import { clockCondition, createHostResolver, createPodAttestor, openSecretText, startWebhooks, type ApiClient, type PodAttestor, type SecretText, type Webhooks } from '../kubernetes/index.ts';
import type { IssuedToLedger } from './issuance.ts';
import { createKubernetesPlanner, type KubernetesPlanner, type KubernetesPlannerOptions } from './kubernetes-planner.ts';
import { packHeap } from './packed-heap.ts';
import { createReplicatedState, type ReplicatedState, type ReplicatedStateOptions } from './replicated-state.ts';

export interface KubernetesOptions {
  readonly client: ApiClient;
  /** Where Sallyport is. */
  readonly namespace: string;
  /** The name of this replica. */
  readonly replica: string;
  /** Where other replicas reach its mesh port, `HOST:PORT`; null: nowhere. */
  readonly replicaAddress: string | null;
  /** Injection and validation; null for none. */
  readonly webhooks: { readonly host: string; readonly port: number; readonly agentImage: string; /** The mesh port as pods reach it, `HOST:PORT`. */ readonly agentControl: string } | null;
}

export interface KubernetesSide {
  readonly planner: KubernetesPlanner;
  /** Whether the API server has been heard, so that there is a plan, and it is known what is revoked. */
  readonly isReady: boolean;
  readonly ready: Promise<void>;
  readonly attestPod: PodAttestor['attest'];
  readonly isPodGone: ReplicatedStateOptions['isPodGone'];
  /** What there is to say about it, a sentence each. */
  conditions(): readonly string[];
  publishTrustBundle(pem: string): void;
  /** Serves the webhooks, with a new certificate from now on. */
  serveWebhooks(authority: Authority, issue: IssuedToLedger): Promise<void>;
  readonly webhookPort: number | undefined;
  close(): Promise<void>;
}

export interface KubernetesSideOptions extends KubernetesOptions, Pick<KubernetesPlannerOptions, 'store' | 'record' | 'publish' | 'publishAddresses' | 'gateways'> {
  readonly shared: Pick<ReplicatedState, 'ready'>;
  readonly trustDomain: TrustDomain;
  readonly clusterDomain: string;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: Logger;
}

/** Of the webhooks' certificate, which is made anew with each of the control plane's own. */
const webhookCertificateMs = 24 * 3_600_000;
const stateSecret = { name: 'sallyport-state', key: 'state.json' } as const;
/** Whoever enrols waits for ten seconds. */
const stateAnswerWithinMs = 4_000;

export function startKubernetes(options: KubernetesSideOptions): KubernetesSide {
  const { client, namespace, trustDomain, webhooks: webhookOptions, log } = options;
  const planner = createKubernetesPlanner({ ...options, monotonicNow: () => performance.now(), resolve: createHostResolver() });
  const { operator } = planner;
  const attestor = createPodAttestor(client, podTokenAudience);
  let isHeard = false;
  let isReady = false;
  let webhooks: Webhooks | undefined;
  const heard = operator.ready.then(() => {
    isHeard = true;
  });
  const ready = Promise.all([heard, options.shared.ready]).then(() => {
    isReady = true;
    packHeap();
  });

  return {
    planner,
    get isReady() {
      return isReady;
    },
    ready,
    attestPod: (token) => attestor.attest(token),
    isPodGone: ({ spiffeId, pod }) => pod !== undefined && operator.isPodGone({ namespace: workloadOf(spiffeId as SpiffeId)?.namespace ?? '', ...pod }),
    conditions: () => [
      ...(isHeard ? [] : ['the Kubernetes API server has not been heard yet']),
      ...(isHeard && !isReady ? [`it is not known yet what is revoked: Secret ${namespace}/${stateSecret.name} could not be read`] : []),
      ...(isReady && !operator.isConnected ? ['the Kubernetes API server does not answer: the last plan stays in force, and nothing new is heard of'] : []),
      ...(isReady && operator.isConnected && operator.leader === '' ? ['no replica leads: what is applied comes into force, but no address is given, no status is written, and nothing is registered'] : []),
      ...[clockCondition(client, options.now())].filter((text) => text !== undefined),
      ...(operator.refused.size === 0 ? [] : [`${operator.refused.size} objects are not in force as they are: kubectl get sallyport -A -o wide`]),
    ],
    publishTrustBundle: (pem) => operator.publishTrustBundle(pem),
    async serveWebhooks(authority, issue) {
      if (webhookOptions === null) return;
      const { host, port, agentImage, agentControl } = webhookOptions;
      const issued = await issue('operator', () =>
        authority.issueServerCertificate({ spiffeId: defaultControlIdentity(trustDomain, namespace), dnsNames: [`sallyport.${namespace}.svc`, `sallyport.${namespace}.svc.${options.clusterDomain}`], lifetimeMs: webhookCertificateMs }),
      );
      const identity = { certificateChainPem: certificatesToPem(issued.chainDer), privateKeyPem: issued.privateKey!.export({ type: 'pkcs8', format: 'pem' }) as string };
      if (webhooks === undefined) {
        webhooks = await startWebhooks({ host, port, identity, inject: { image: agentImage, control: agentControl, trustDomain, systemNamespace: namespace }, validate: (change) => operator.validate(change), log });
        log.info({ port: webhooks.port }, 'listening for the API server');
      } else {
        webhooks.setIdentity(identity);
      }
    },
    get webhookPort() {
      return webhooks?.port;
    },
    async close() {
      await webhooks?.close();
      await operator.close();
    },
  };
}

/** The CA, as all replicas share it. */
export function openSharedCa({ client, namespace }: KubernetesOptions, random: () => number, log: Logger): SecretText {
  return openSecretText({ client, namespace, name: 'sallyport-ca', key: 'ca.json', random, log });
}

/** Who may join and what is revoked, as all replicas know it. */
export function openReplicatedState({ client, namespace }: KubernetesOptions, { isPodGone, now, random, log }: Omit<ReplicatedStateOptions, 'text'>): ReplicatedState {
  return createReplicatedState({ text: openSecretText({ client, namespace, ...stateSecret, withinMs: stateAnswerWithinMs, random, log }), isPodGone, now, random, log });
}
