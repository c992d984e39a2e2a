/** How connections of a service port leave a BIG-IP: from which SNAT pool, grant by grant, and to servers of which families. */
import { familyOf, type IpFamily } from '../../core/ip-address.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { Grant, ServicePort, SnatSource } from '../../core/plan/plan.ts';
import { ipFamilies, isWhole } from '../../core/snat/address-space.ts';
import { sidesOf } from '../../core/snat/snat-source.ts';

export interface Departures {
  /** Of the servers that its pool may choose: what a BIG-IP does where a SNAT pool has no address of the chosen server's family is not ours to try. */
  readonly families: readonly IpFamily[];
  /** What a grant that can be served leaves from; any other is refused. */
  readonly sources: ReadonlyMap<Grant, SnatSource>;
  /** Those that have an address to leave from, and none of a family of its servers. */
  readonly mismatched: ReadonlySet<Grant>;
  readonly conditions: readonly Condition[];
}

/**
 * A pool is the service port's, whoever uses it, so it holds the servers that every grant's source reaches; only where no family is
 * common to all, those of IPv6 alone are refused.
 */
export function departuresOf({ id, targets, grants }: Pick<ServicePort, 'id' | 'targets' | 'grants'>): Departures {
  const offered = ipFamilies.filter((family) => targets.some((target) => target.kind === 'host' || familyOf(target.address) === family));
  const given = grants.flatMap((grant) => (grant.snat === null ? [] : [{ grant, snat: grant.snat }]));
  const undivided = given.filter(({ snat }) => sidesOf(snat).every(({ ports }) => isWhole(ports)));
  const reaching = undivided.filter(({ snat }) => offered.some((family) => snat[family] !== undefined));
  const common = offered.filter((family) => reaching.every(({ snat }) => snat[family] !== undefined));
  const families = common.length > 0 ? common : offered.slice(0, 1);
  const served = reaching.filter(({ snat }) => families.some((family) => snat[family] !== undefined));
  const mismatched = undivided.filter((each) => !served.includes(each));
  const conditions = [
    ...given.filter((each) => !undivided.includes(each)).map(({ snat }) => blockCondition(id, snat)),
    ...mismatched.map(({ snat }) => familyCondition(id, snat)),
  ];
  return { families, sources: new Map(served.map(({ grant, snat }) => [grant, snat])), mismatched: new Set(mismatched.map(({ grant }) => grant)), conditions: [...new Map(conditions.map((each) => [each.message, each])).values()] };
}

function blockCondition(object: ServicePort['id'], snat: SnatSource): Condition {
  const { address, ports } = sidesOf(snat).find((side) => !isWhole(side.ports))!;
  return {
    code: 'port-block-unusable',
    object,
    message: `a BIG-IP cannot keep to ports ${ports.first}-${ports.last} of ${address}: a SNAT pool takes any port of its addresses`,
    hint: 'bind whoever leaves through it to a pool whose addresses are not shared',
  };
}

function familyCondition(object: ServicePort['id'], snat: SnatSource): Condition {
  return {
    code: 'snat-family-mismatch',
    object,
    message: `${sidesOf(snat).map(({ address }) => address).join(' and ')} is of another family than the servers that its pool can have`,
    hint: 'give its SnatBinding an address of that family too',
  };
}
