/** Who a SnatBinding speaks of, and how specific that is. */
import type { Holder } from './assignments.ts';
import type { SnatBinding } from '../objects/index.ts';

/** The subject of a binding with its namespace filled in. */
export type BindingOwner =
  | { readonly kind: 'namespace'; readonly namespace: string }
  | { readonly kind: 'service'; readonly namespace: string; readonly name: string }
  | { readonly kind: 'serviceAccount'; readonly namespace: string; readonly name: string };

export function ownerOf(binding: SnatBinding): BindingOwner {
  const { subject } = binding.spec;
  if ('service' in subject) return { kind: 'service', namespace: subject.service.namespace ?? binding.metadata.namespace, name: subject.service.name };
  if (subject.serviceAccount !== undefined) return { kind: 'serviceAccount', namespace: subject.namespace, name: subject.serviceAccount };
  return { kind: 'namespace', namespace: subject.namespace };
}

export function holderOf(owner: BindingOwner): Holder {
  switch (owner.kind) {
    case 'namespace':
      return `ns/${owner.namespace}` as Holder;
    case 'service':
      return `svc/${owner.namespace}/${owner.name}` as Holder;
    case 'serviceAccount':
      return `sa/${owner.namespace}/${owner.name}` as Holder;
  }
}

/** The namespace whose workloads leave from what the holder has. */
export function namespaceOfHolder(holder: Holder): string {
  return holder.split('/')[1]!;
}

const holders = new WeakMap<SnatBinding, Holder>();

/** Who holds the addresses of a binding; named once an object, since every allocation asks for all. */
export function holderOfBinding(binding: SnatBinding): Holder {
  let holder = holders.get(binding);
  if (holder === undefined) holders.set(binding, (holder = holderOf(ownerOf(binding))));
  return holder;
}
