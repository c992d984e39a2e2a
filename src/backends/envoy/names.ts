/** The names by which rendered resources speak of each other, and of what a connection carries. */
import { formatEndpoint } from '../../core/ip-address.ts';
import type { Endpoint, ServicePortId, SnatSource, Subject } from '../../core/plan/plan.ts';
import { sidesOf } from '../../core/snat/snat-source.ts';
import type { SnatAddress } from '../../core/snat/snat-source.ts';

/** The cluster of the control plane, which the bootstrap defines. */
export const controlCluster = 'sallyport-control';
/** The way there that the access log takes, which the bootstrap defines too: it waits where the other fails. */
export const logCluster = 'sallyport-log';
/** The secret that holds the proxy's own SVID, as Istio's SDS names it. */
export const svidSecret = 'default';
/** The secret that holds the trust bundle. */
export const trustBundleSecret = 'ROOTCA';
/** The log that the control plane takes records from. */
export const accessLogName = 'sallyport';

/** Filter state: what the outer listener knows of a connection, and the inner one decides and logs by. */
export const stateKeys = {
  /** The SPIFFE ID, once the handshake has proved it. */
  identity: 'sallyport.identity',
  /** The serial number of its certificate. */
  serialNumber: 'sallyport.serial-number',
  /** The workload's end, `address:port`. */
  client: 'sallyport.client',
  /** Names the connection over both listeners. */
  connection: 'sallyport.connection',
  /** The gateway that it is handed over to, which has a log of its own. */
  handedOver: 'sallyport.handed-over',
} as const;

const servicePrefix = 'service|';
const sniPrefix = 'sni|';

/** The internal listener that decides who may use a service port. */
export const serviceListenerName = (id: ServicePortId): string => `${servicePrefix}${id}`;
/** The service port of an internal listener; undefined for any other. */
export const servicePortOfListener = (name: string): ServicePortId | undefined => (name.startsWith(servicePrefix) ? (name.slice(servicePrefix.length) as ServicePortId) : undefined);
/** The cluster that an SNI leads to. The prefix keeps clients from naming any other cluster. */
export const sniCluster = (serverName: string): string => `${sniPrefix}${serverName}`;
/** A listener on a socket. */
export const entranceName = (endpoint: Endpoint): string => `entrance|${formatEndpoint(endpoint)}`;
/** The filter chain of a grant. */
export const chainName = ({ namespace, serviceAccount }: Subject): string => (serviceAccount === undefined ? `ns/${namespace}` : `sa/${namespace}/${serviceAccount}`);
/** The cluster of everything that leaves from an address, and from these ports of it. */
export const snatCluster = ({ address, ports }: SnatAddress): string => `snat|${address}|${ports.first}-${ports.last}`;
/** The cluster of what leaves from a source to several targets, or to hosts. */
export const targetsCluster = (id: ServicePortId, snat: SnatSource, digest: string): string => `targets|${id}|${sidesOf(snat).map(({ address, ports }) => `${address}|${ports.first}-${ports.last}`).join('|')}|${digest}`;
/** The cluster of the gateway beside this one. */
export const handOverCluster = (gateway: string): string => `hand-over|${gateway}`;
/** A cluster without members: who is led there is refused. */
export const nobody = 'nobody';
/** A sidecar's listener for its workload. */
export const localListenerName = (endpoint: Endpoint): string => `local|${formatEndpoint(endpoint)}`;
/** A sidecar's way to the gateway of a service port. */
export const upstreamCluster = (id: ServicePortId): string => `gateway|${id}`;
/** A sidecar's way to that gateway for FTP's data connections. */
export const ftpDataCluster = (id: ServicePortId): string => `ftp-data|${id}`;
