/** Since which plan an object is in force as it is, and which of the gateways that it concerns enforce that: values for its status. */
import type { Plan, Revision, ServicePort } from '../../core/plan/plan.ts';
import type { Enforcement } from '../desired/status.ts';

/** The gateways that are concerned, by what objects of the plan are named: `namespace/name` of each kind. */
export interface Concerned {
  readonly services: ReadonlyMap<string, ReadonlySet<string>>;
  readonly policies: ReadonlyMap<string, ReadonlySet<string>>;
  readonly bindings: ReadonlyMap<string, ReadonlySet<string>>;
}

/** Keys of the policies and bindings that a service port's grants come from; looked for once, since most ports stay as they are. */
const origins = new WeakMap<ServicePort, { readonly policies: ReadonlySet<string>; readonly bindings: ReadonlySet<string> }>();

export function originsOf(servicePort: ServicePort): { readonly policies: ReadonlySet<string>; readonly bindings: ReadonlySet<string> } {
  let known = origins.get(servicePort);
  if (known === undefined) {
    const { grants } = servicePort;
    known = { policies: new Set(grants.flatMap(({ policies }) => policies)), bindings: new Set(grants.flatMap(({ binding }) => binding ?? [])) };
    origins.set(servicePort, known);
  }
  return known;
}

export function concernedBy({ servicePorts }: Plan): Concerned {
  const services = new Map<string, ReadonlySet<string>>();
  const policies = new Map<string, ReadonlySet<string>>();
  const bindings = new Map<string, ReadonlySet<string>>();
  /** Thousands of objects concern the same few gateways. */
  const alike = new Map<string, ReadonlySet<string>>();
  const setOf = (names: readonly string[]): ReadonlySet<string> => {
    const set = new Set(names);
    const text = [...set].sort().join();
    const known = alike.get(text);
    if (known === undefined) alike.set(text, set);
    return known ?? set;
  };
  const note = (concerned: Map<string, ReadonlySet<string>>, key: string, gateways: ReadonlySet<string>): void => {
    const known = concerned.get(key);
    if (known === undefined) concerned.set(key, gateways);
    else if (!gateways.isSubsetOf(known)) concerned.set(key, setOf([...known, ...gateways]));
  };
  for (const servicePort of servicePorts) {
    const { service, gateway, entrance } = servicePort;
    const gateways = setOf([gateway, entrance].filter((name) => name !== ''));
    const from = originsOf(servicePort);
    note(services, `${service.namespace}/${service.name}`, gateways);
    for (const key of from.policies) note(policies, key, gateways);
    for (const key of from.bindings) note(bindings, key, gateways);
  }
  return { services, policies, bindings };
}

/** Plans that are remembered; a gateway that is further behind is taken to enforce nothing new until it has the plan that is in force. */
const plansMax = 1_000;

/** In which order plans were published here. */
export interface PlanOrder {
  note(revision: string): void;
  /** Later plans have greater ones; undefined for a plan from before this process, or from long ago. */
  orderOf(revision: string): number | undefined;
}

export function createPlanOrder(): PlanOrder {
  const orders = new Map<string, number>();
  let noted = 0;
  return {
    note(revision) {
      orders.delete(revision); // one that comes back is the latest again
      orders.set(revision, (noted += 1));
      if (orders.size > plansMax) orders.delete(orders.keys().next().value!);
    },
    orderOf: (revision) => orders.get(revision),
  };
}

/** What a leader knows of the plans that were published. */
export interface Published {
  /** The one that is in force. */
  readonly revision: Revision;
  /** See `PlanOrder`. */
  readonly orderOf: (revision: string) => number | undefined;
  /** The revision that a gateway is known to enforce; null where none is. */
  readonly heldBy: (gateway: string) => Revision | null;
}

/**
 * The enforcement of an object that is in force.
 *
 * @param before as its status tells it; null where that is of another generation, so that it is in force since now
 * @param gateways those that it concerns
 */
export function enforcementOf(before: Enforcement | null, gateways: Iterable<string>, { revision, orderOf, heldBy }: Published): Enforcement {
  const since = before?.revision ?? revision;
  const enforces = (held: Revision): boolean => {
    const order = orderOf(since);
    return held === revision || (order !== undefined && (orderOf(held) ?? -1) >= order);
  };
  return {
    revision: since,
    gateways: [...new Set(gateways)].sort().map((name) => {
      const known = before?.revision === since ? before.gateways.find((each) => each.name === name)?.revision : undefined;
      const held = heldBy(name);
      return { name, revision: known ?? (held !== null && enforces(held) ? held : null) };
    }),
  };
}
