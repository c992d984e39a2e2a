/** What checks look at: a cluster as somebody saw it. What he may not see is said so, and is no fault of the cluster. */
import type { CustomResourceDefinition } from '../kubernetes/index.ts';

/** What was asked for, or why there is no answer. */
export type Asked<Value> = { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly why: string };

export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly generation?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly deletionTimestamp?: string;
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
}

/** A custom resource of ours. */
export interface CustomObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Metadata;
  /** Of an EgressGateway. */
  readonly spec?: { readonly class?: string; readonly bigip?: { readonly management?: readonly unknown[] } };
  readonly status?: { readonly conditions?: readonly Condition[]; readonly revision?: string; readonly connected?: number };
}

export interface StatefulSet {
  readonly metadata: Metadata;
  readonly spec: { readonly replicas?: number };
  readonly status?: { readonly observedGeneration?: number; readonly readyReplicas?: number; readonly updatedReplicas?: number };
}

/** Its times are those of its holder's clock, but `writtenAt`, which is the API server's. Milliseconds since the epoch. */
export interface Lease {
  readonly holder: string;
  readonly durationMs: number;
  readonly renewedAt: number;
  readonly writtenAt: number | null;
}

export interface ConfigMap {
  readonly metadata: Metadata;
  readonly data?: Readonly<Record<string, string>>;
}

export interface WebhookConfiguration {
  readonly name: string;
  /** PEM, of each of its webhooks; empty where there is none. */
  readonly caBundles: readonly string[];
}

/** What somebody may or may not do, as in `patch egresspolicies/status.sallyport.dev`. */
export interface Right {
  readonly text: string;
  readonly isAllowed: boolean;
}

/** A definition as the API server has it. */
export type LiveDefinition = CustomResourceDefinition & { readonly status?: { readonly conditions?: readonly Pick<Condition, 'type' | 'status'>[] } };

/** Before an installation. */
export interface FactsBefore {
  /** To create what an installation has. */
  readonly rights: Asked<readonly Right[]>;
  /** What the API server says to each object that is in no namespace, as a dry run; null: it takes it. */
  readonly trials: Asked<readonly { readonly object: string; readonly refusal: string | null }[]>;
  /** Objects of names that an installation uses, and which are not of one. */
  readonly foreign: Asked<readonly string[]>;
  /** Whether `restartPolicy: Always` of an init container is kept. */
  readonly nativeSidecars: Asked<boolean>;
}

/** Of an installation. */
export interface FactsAfter {
  readonly definitions: Asked<readonly LiveDefinition[]>;
  /** Null: there is none. */
  readonly controlPlane: Asked<StatefulSet | null>;
  readonly lease: Asked<Lease | null>;
  /** Of the control plane's service account. */
  readonly rights: Asked<readonly Right[]>;
  /** Whether the Secret of the CA has anything in it; null: there is no such Secret. Its content is not asked for. */
  readonly hasCa: Asked<boolean | null>;
  readonly namespaces: Asked<readonly Metadata[]>;
  /** By namespace. */
  readonly trustBundles: Asked<ReadonlyMap<string, ConfigMap>>;
  readonly webhooks: Asked<readonly WebhookConfiguration[]>;
  readonly gatewayPods: Asked<readonly StatefulSet[]>;
  readonly objects: Asked<readonly CustomObject[]>;
  readonly assignments: Asked<readonly { readonly name: string; readonly pool: string; readonly holder: string }[]>;
}

export interface Facts {
  readonly namespace: string;
  /** Of the API server, as in `v1.35.0`. */
  readonly version: string;
  /** The two clocks at one moment, milliseconds since the epoch; the server's is told in whole seconds. */
  readonly clocks: Asked<{ readonly here: number; readonly server: number }>;
  readonly before: FactsBefore | null;
  readonly after: FactsAfter | null;
}
