/** What there is to say about the BIG-IPs that are driven, as of proxies that are served: pure. */
import type { ProxyStatus } from '../../api/admin.ts';
import type { PlannedGateway, Revision } from '../../core/plan/plan.ts';
import type { BigIpStatus } from './driver.ts';

/** A box takes one thing, a tenant of AS3. */
const tenantType = 'as3.Tenant';

/** @param revisions the latest, the newest last */
export function boxStatuses(statuses: ReadonlyMap<string, BigIpStatus>, { gateways, revisions }: { readonly gateways: readonly PlannedGateway[]; readonly revisions: readonly Revision[] }): readonly ProxyStatus[] {
  return gateways.flatMap(({ name, identity }): readonly ProxyStatus[] => {
    const status = statuses.get(name);
    if (status === undefined) return [];
    const { held, connected, connectedSinceMs, trouble } = status;
    const index = held === null ? -1 : revisions.lastIndexOf(held);
    const isHeld = trouble === null && index !== -1 && index === revisions.length - 1;
    return [
      {
        node: identity,
        identity,
        class: 'bigip',
        gateway: name,
        version: null,
        connected: connected > 0,
        connectedSince: connectedSinceMs === null ? null : new Date(connectedSinceMs).toISOString(),
        types: [{ typeUrl: tenantType, state: isHeld ? 'SYNCED' : 'STALE', sent: revisions.at(-1) ?? null, acknowledged: held, error: null }],
        revisionsBehind: index === -1 ? null : revisions.length - 1 - index,
        withheld: null,
        trouble: trouble === null ? null : { reason: trouble.reason, at: new Date(trouble.atMs).toISOString(), count: trouble.count },
        inForce: null,
        conditions: [],
      },
    ];
  });
}
