/** How installed objects are marked. */
import { componentLabel } from './names.ts';

export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** By which Helm knows what an uninstall leaves; ours goes by it too. https://helm.sh/docs/howto/charts_tips_and_tricks/ */
export const keep = { 'helm.sh/resource-policy': 'keep' } as const;

export function labelsOf(component: string): Readonly<Record<string, string>> {
  return { 'app.kubernetes.io/name': 'sallyport', [componentLabel]: component };
}

/** @param namespace undefined: it is in none */
export function metadataOf(component: string, name: string, namespace?: string, { kept = false, labels = {} }: { readonly kept?: boolean; readonly labels?: Readonly<Record<string, string>> } = {}): Metadata {
  return { name, ...(namespace === undefined ? {} : { namespace }), labels: { ...labelsOf(component), ...labels }, ...(kept ? { annotations: keep } : {}) };
}
