/** The world of the demo: who there is, what they want to reach, and the manifests that say who may. */
import type { GatewayClass } from '../core/objects/index.ts';

export interface StoryPorts {
  readonly gateway: number;
  /** Of the gateway beside it, where there is one. */
  readonly beside: number;
  readonly forwardProxy: number;
  readonly ftpServer: number;
  readonly proxyAtAgent: number;
  readonly ftpAtAgent: number;
  readonly archiveAtAgent: number;
}

export const trustDomain = 'cluster.local';

export const identities = {
  productpage: `spiffe://${trustDomain}/ns/bookinfo/sa/productpage`,
  batch: `spiffe://${trustDomain}/ns/reports/sa/batch`,
  nettools: `spiffe://${trustDomain}/ns/sm-apigw-a/sa/nettools`,
} as const;
export type Workload = keyof typeof identities;
export const workloads = Object.keys(identities) as readonly Workload[];

export const gatewayName = 'egress-1';
export const gatewayIdentity = `spiffe://${trustDomain}/ns/sallyport-system/sa/${gatewayName}`;

export const serviceHosts = {
  proxy: 'bigip-proxy-svc.bookinfo.svc.cluster.local',
  partner: 'partner.bookinfo.svc.cluster.local',
  archive: 'archive.bookinfo.svc.cluster.local',
} as const;

/** What a gateway of class envoy cannot do, this one beside it does. */
export const besideName = 'egress-ftp';
export const besideIdentity = `spiffe://${trustDomain}/ns/sallyport-system/sa/${besideName}`;

const embeddedGateway = (name: string, port: number) => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: ${name}}
spec:
  class: sallyport
  listen: [{address: 127.0.0.1, port: ${port}}]
`;

const envoyGateway = (name: string, port: number) => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: ${name}}
spec:
  class: envoy
  listen: [{address: 127.0.0.1, port: ${port}}]
  handOver: ${besideName}
`;

/** Everything but the policy that a case takes away again. */
export function manifestsOf(ports: StoryPorts, gatewayClass: GatewayClass): string {
  return `${gatewayClass === 'envoy' ? `${envoyGateway(gatewayName, ports.gateway)}---${embeddedGateway(besideName, ports.beside)}` : embeddedGateway(gatewayName, ports.gateway)}---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: billing}
spec:
  addresses: [127.0.1.11-127.0.1.20]
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: bigip-proxy-svc, namespace: bookinfo, labels: {apps: bigip-proxy}}
spec:
  addresses: [127.0.0.1]
  ports: [{name: proxy, port: ${ports.proxyAtAgent}, targetPort: ${ports.forwardProxy}, protocol: HTTPConnect}]
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: partner, namespace: bookinfo}
spec:
  addresses: [127.0.0.1]
  ports: [{name: ftp, port: ${ports.ftpAtAgent}, targetPort: ${ports.ftpServer}, protocol: FTP}]
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: archive, namespace: bookinfo}
spec:
  addresses: [127.0.0.1]
  ports: [{name: ftp, port: ${ports.archiveAtAgent}, targetPort: ${ports.ftpServer}, protocol: FTP}]
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: proxy, namespace: bookinfo}
spec:
  subjects: [{namespace: bookinfo}, {namespace: reports}]
  to: [{service: bigip-proxy-svc}]
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: partner, namespace: bookinfo}
spec:
  subjects: [{namespace: bookinfo, serviceAccount: productpage}]
  to: [{service: partner}]
---
# Allowed by policy, but nobody has given this namespace an address.
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: archive-for-nettools, namespace: bookinfo}
spec:
  subjects: [{namespace: sm-apigw-a, serviceAccount: nettools}]
  to: [{service: archive}]
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: bookinfo, namespace: bookinfo}
spec:
  subject: {namespace: bookinfo}
  pool: billing
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: reports, namespace: reports}
spec:
  subject: {namespace: reports}
  pool: billing
---
${archivePolicy}`;
}

/** The permission that is taken away while a transfer runs. */
export const archivePolicyName = 'archive';
const archivePolicy = `
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: ${archivePolicyName}, namespace: bookinfo}
spec:
  subjects: [{namespace: bookinfo, serviceAccount: productpage}]
  to: [{service: archive}]
`;
