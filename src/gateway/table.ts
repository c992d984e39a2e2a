/** The gateway's share of the plan, in the shape that decisions need. */
import type { Endpoint, Revision, ServicePort, ServicePortId } from '../core/plan/plan.ts';
import { formatEndpoint } from '../core/ip-address.ts';
import type { GatewaySettings } from './protocol.ts';

/** What has changed since the last one. What is absent stays as it is. */
export interface TableChange {
  readonly revision: Revision;
  readonly settings?: GatewaySettings;
  /** New, or in place of the one with the same id. */
  readonly servicePorts?: readonly ServicePort[];
  readonly removed?: readonly ServicePortId[];
  /** The whole list: serial numbers in lower-case hexadecimal. */
  readonly revokedSerialNumbers?: readonly string[];
}

export interface GatewayTable {
  readonly revision: Revision | null;
  readonly settings: GatewaySettings | undefined;
  apply(change: TableChange): void;
  servicePort(id: ServicePortId): ServicePort | undefined;
  byServerName(serverName: string): ServicePort | undefined;
  byListener(listen: Endpoint): ServicePort | undefined;
  readonly isRevoked: (serialNumber: string) => boolean;
  /** Every endpoint to listen on. */
  endpoints(): readonly Endpoint[];
}

export function createTable(): GatewayTable {
  let revision: Revision | null = null;
  let settings: GatewaySettings | undefined;
  let revoked: ReadonlySet<string> = new Set();
  const servicePorts = new Map<ServicePortId, ServicePort>();
  const serverNames = new Map<string, ServicePort>();
  const listeners = new Map<string, ServicePort>();

  /** A name that has moved to another port in the same change belongs to that one by now. */
  function drop<Key>(index: Map<Key, ServicePort>, key: Key, servicePort: ServicePort): void {
    if (index.get(key)?.id === servicePort.id) index.delete(key);
  }

  function remove(id: ServicePortId): void {
    const servicePort = servicePorts.get(id);
    if (servicePort === undefined) return;
    for (const name of servicePort.serverNames) drop(serverNames, name, servicePort);
    if (servicePort.listen !== null) drop(listeners, formatEndpoint(servicePort.listen), servicePort);
    servicePorts.delete(id);
  }

  function add(servicePort: ServicePort): void {
    servicePorts.set(servicePort.id, servicePort);
    for (const name of servicePort.serverNames) serverNames.set(name, servicePort);
    if (servicePort.listen !== null) listeners.set(formatEndpoint(servicePort.listen), servicePort);
  }

  return {
    get revision() {
      return revision;
    },
    get settings() {
      return settings;
    },
    apply(change) {
      revision = change.revision;
      settings = change.settings ?? settings;
      if (change.revokedSerialNumbers !== undefined) revoked = new Set(change.revokedSerialNumbers);
      for (const id of change.removed ?? []) remove(id);
      for (const { id } of change.servicePorts ?? []) remove(id);
      for (const servicePort of change.servicePorts ?? []) add(servicePort);
    },
    servicePort: (id) => servicePorts.get(id),
    byServerName: (serverName) => serverNames.get(serverName.toLowerCase()),
    byListener: (listen) => listeners.get(formatEndpoint(listen)),
    isRevoked: (serialNumber) => revoked.has(serialNumber),
    endpoints: () => [...(settings?.listen ?? []), ...[...listeners.values()].flatMap(({ listen }) => listen ?? [])],
  };
}
