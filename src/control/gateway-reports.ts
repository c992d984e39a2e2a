/** What gateways hold, whichever replica of the control plane they are connected to: values. */
import { forgottenAfterMs } from '../api/repeated-report.ts';
import type { PlannedGateway, Revision } from '../core/plan/plan.ts';
import type { GatewayReport } from '../kubernetes/index.ts';
import type { SnapshotCache } from '../xds/index.ts';
import type { BigIpStatus } from './bigip/index.ts';
import { distinct, type GatewayStates } from './gateway-states.ts';
import { formOfClass, nodeKeyOf } from './proxy.ts';

export type GatewayReports = ReadonlyMap<string, GatewayReport>;

/** Of the plans that were published here, the newest last. */
type Revisions = readonly Revision[];

/** What the gateways hold that have streams open here, or are driven from here. */
export function reportsHere(cache: Pick<SnapshotCache, 'resourceStatus'>, gateways: readonly PlannedGateway[], revisions: Revisions, boxes: ReadonlyMap<string, BigIpStatus>, conditionsOf: GatewayStates['conditionsOf']): GatewayReports {
  return new Map(
    gateways.map((gateway): [string, GatewayReport] => {
      const { name, identity, class: gatewayClass } = gateway;
      const conditions = conditionsOf(gateway);
      const box = boxes.get(name);
      if (box !== undefined) return [name, { held: box.held, connected: box.connected, conditions }];
      const form = formOfClass[gatewayClass];
      const streams = form === null ? [] : cache.resourceStatus(nodeKeyOf({ identity, form }));
      // Of the type and the process that is furthest behind. One that has just come and has asked for nothing yet holds nothing.
      const orders = streams.map(({ types }) => (types.length === 0 ? -1 : Math.min(...types.map(({ versionAcked }) => revisions.lastIndexOf(versionAcked as Revision)))));
      return [name, { held: revisions[Math.min(...orders)] ?? null, connected: streams.length, conditions }];
    }),
  );
}

export interface MergedReports {
  /** Takes what another replica reports, in the place of what it has reported before. */
  take(replica: string, reports: GatewayReports, nowMs: number): void;
  /** Of all replicas, with what is reported here. A gateway that nobody has a stream of goes on enforcing what it held last. */
  merge(here: GatewayReports, revisions: Revisions, nowMs: number): GatewayReports;
}

export function createMergedReports(): MergedReports {
  const others = new Map<string, { readonly reports: GatewayReports; readonly atMs: number }>();
  const last = new Map<string, Revision>();
  return {
    take(replica, reports, atMs) {
      others.set(replica, { reports, atMs });
    },
    merge(here, revisions, nowMs) {
      for (const [replica, { atMs }] of others) if (nowMs - atMs > forgottenAfterMs) others.delete(replica);
      return new Map(
        Array.from(here.keys(), (name): [string, GatewayReport] => {
          const all = [here, ...Array.from(others.values(), ({ reports }) => reports)].flatMap((reports) => reports.get(name) ?? []);
          const connected = all.filter((report) => report.connected > 0);
          const orders = connected.map(({ held }) => (held === null ? -1 : revisions.lastIndexOf(held)));
          const held = revisions[Math.min(...orders)];
          if (held !== undefined) last.set(name, held);
          return [name, { held: last.get(name) ?? null, connected: connected.reduce((sum, report) => sum + report.connected, 0), conditions: distinct(all.flatMap(({ conditions }) => conditions)) }];
        }),
      );
    },
  };
}
