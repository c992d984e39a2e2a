/**
 * An FTP server inside the cluster, for partners outside, who come in passive mode: what to apply, and why it is as it is.
 *
 * Sources: RFC 959 and 2428 (the server names the port of each data connection, so no port may be translated on the way);
 * Kubernetes, Service (node ports, external traffic policy) and EndpointSlice (ports of a slice); F5 CIS, Service of type LoadBalancer
 * and Policy; F5 iRules reference, `FTP::port`; vsftpd.conf(5).
 */
import type { Fault } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import { familyOf } from '../core/ip-address.ts';
import type { PortRange } from '../core/plan/plan.ts';
import type { ExplainedObject, Reason } from './explained-yaml.ts';

/** How partners reach the server's pod. */
export const ftpServerModes = ['loadbalancer', 'nodeport', 'clusterip'] as const;
export type FtpServerMode = (typeof ftpServerModes)[number];

export interface FtpServerOptions {
  /** DNS label. */
  readonly name: string;
  /** DNS label. */
  readonly namespace: string;
  readonly mode: FtpServerMode;
  /** One port for each transfer that may run at a time. */
  readonly passivePorts: PortRange;
  /**
   * What the server tells partners to connect to: the load balancer's or the node's address. Default with `nodeport`: the address of the
   * pod's node; with `loadbalancer`: what a ConfigMap says once the load balancer has been given one.
   */
  readonly address?: IpAddress;
  /** CIS: the label by which F5's IPAM controller chooses the virtual server's address. */
  readonly ipamLabel?: string;
  /** The load balancer is a BIG-IP, told by F5 Container Ingress Services. */
  readonly cis: boolean;
  readonly loadBalancerClass?: string;
  /** A container image that runs vsftpd and takes PASV_ADDRESS, PASV_MIN_PORT, PASV_MAX_PORT, FTP_USER and FTP_PASS. */
  readonly image: string;
  /** A Kubernetes quantity. */
  readonly storage: string;
}

export interface FtpServer {
  readonly objects: readonly ExplainedObject[];
  /** What no object of the cluster can bring to the BIG-IP. */
  readonly iRule: { readonly name: string; readonly text: string } | null;
}

const controlPort = 21;
/** `--service-node-port-range` of the API server, where nobody changed it. */
const nodePorts: PortRange = { first: 30_000, last: 32_767 };
/** "Each slice may include a maximum of 100 ports" (EndpointSlice v1); one is the control connection's. */
const passivePortsMax = 99;
/** Kubernetes, Quantity: digits, and what they count. */
const quantity = /^(?=[0-9.]*[1-9])[0-9]+(?:\.[0-9]+)?(?:[KMGTPE]i|[kMGTPE]|[eE][0-9]+)?$/;
const dataPath = '/home/vsftpd';

/** Everything that cannot work, all of it at once; empty where it can. */
export function ftpServerFaults({ name, mode, passivePorts: { first, last }, address, cis, ipamLabel, loadBalancerClass, storage }: FtpServerOptions): readonly Fault[] {
  const faults: Fault[] = [];
  const refuse = (code: string, message: string, hint: string): void => void faults.push({ code, message, hint });
  const range = `${first}-${last}`;
  if (/^[0-9]/.test(name)) refuse('name-digit-first', `name ${JSON.stringify(name)} begins with a digit, which the name of a Service may not (RFC 1035 section 2.3.1)`, 'begin it with a letter');
  if (!quantity.test(storage)) refuse('storage-no-quantity', `storage ${JSON.stringify(storage)} is no quantity of Kubernetes greater than zero`, 'write it like 10Gi');
  if (last < first) refuse('passive-ports-reversed', `passive ports ${range} end before they begin`, `write ${last}-${first}`);
  if (last - first + 1 > passivePortsMax) refuse('passive-ports-too-many', `passive ports ${range} are ${last - first + 1}: a Service has room for ${passivePortsMax} beside the control port, the ports of one EndpointSlice`, `take as many as transfers may run at a time, such as ${first}-${first + 9}`);
  if (mode !== 'clusterip' && last >= first && (first < nodePorts.first || last > nodePorts.last)) {
    refuse('passive-ports-no-node-ports', `passive ports ${range} are not all node ports (${nodePorts.first}-${nodePorts.last}): the server names its own port to the partner, so the node has to offer each under the same number`, `take a range within ${nodePorts.first}-${nodePorts.last}, or --mode clusterip where the load balancer reaches pods directly`);
  }
  if (mode === 'clusterip' && first < 1_024) refuse('passive-ports-privileged', `passive ports ${range} begin below 1024, which FTP clients and firewalls refuse for data connections (RFC 2577 section 3)`, 'take ports from 1024 up');
  if (address === undefined && mode === 'clusterip') refuse('address-missing', `with --mode ${mode} the server cannot know the address that partners connect to, and would tell them its pod's`, 'add --address, the address of the load balancer');
  if (address !== undefined && familyOf(address) === 'ipv6') refuse('address-ipv6', `address ${address} does not fit into the answer to PASV, which has room for an IPv4 address only (RFC 959 section 4.1.2)`, 'give its IPv4 address; clients that come by IPv6 use EPSV, which names no address');
  if (cis && mode !== 'loadbalancer') refuse('cis-mode', `CIS attaches a Policy to a Service of type LoadBalancer only, not with --mode ${mode}`, 'use --mode loadbalancer, or leave out --cis');
  if (cis && mode === 'loadbalancer' && address === undefined && ipamLabel === undefined) refuse('cis-address-missing', 'CIS gives a virtual server no address of its own accord', "add --address, or --ipam-label where F5's IPAM controller gives addresses out");
  if (ipamLabel !== undefined && (!cis || address !== undefined)) refuse('ipam-label-idle', `ipam label ${JSON.stringify(ipamLabel)} has no meaning ${cis ? 'beside --address' : 'without --cis'}`, `leave out ${cis ? 'one of them' : '--ipam-label'}`);
  if (loadBalancerClass !== undefined && mode !== 'loadbalancer') refuse('load-balancer-class-mode', `loadBalancerClass ${JSON.stringify(loadBalancerClass)} has no meaning with --mode ${mode}`, 'use --mode loadbalancer, or leave out --load-balancer-class');
  return faults;
}

/** For options without faults. */
export function generateFtpServer(options: FtpServerOptions): FtpServer {
  const { name, namespace, passivePorts, cis } = options;
  const iRule = cis ? { name: `/Common/${name.replaceAll('-', '_')}_ftp_ports`, text: `when SERVER_CONNECTED { FTP::port ${passivePorts.first} ${passivePorts.last} }` } : null;
  return {
    objects: [
      { object: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } } },
      storageOf(options),
      deploymentOf(options),
      ...(iRule === null ? [] : [policyOf(options, iRule.name)]),
      serviceOf(options),
    ],
    iRule,
  };
}

const labelsOf = ({ name }: FtpServerOptions): Readonly<Record<string, string>> => ({ 'app.kubernetes.io/name': name });
const claimOf = ({ name }: FtpServerOptions): string => `${name}-files`;
const credentialsOf = ({ name }: FtpServerOptions): string => `${name}-credentials`;
const addressMapOf = ({ name }: FtpServerOptions): string => `${name}-address`;
const policyNameOf = ({ name }: FtpServerOptions): string => `${name}-ftp`;

function storageOf(options: FtpServerOptions): ExplainedObject {
  return {
    why: 'What partners leave and fetch. It outlives the pod.',
    object: {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: claimOf(options), namespace: options.namespace, labels: labelsOf(options) },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: options.storage } } },
    },
  };
}

function deploymentOf(options: FtpServerOptions): ExplainedObject {
  const { name, namespace, passivePorts } = options;
  const credential = (key: string) => ({ valueFrom: { secretKeyRef: { name: credentialsOf(options), key } } });
  const announced = announcedAddress(options);
  const env = [
    { name: 'FTP_USER', ...credential('username') },
    { name: 'FTP_PASS', ...credential('password') },
    { name: 'PASV_ADDRESS', ...announced.source },
    { name: 'PASV_MIN_PORT', value: String(passivePorts.first) },
    { name: 'PASV_MAX_PORT', value: String(passivePorts.last) },
  ];
  const container = ['spec', 'template', 'spec', 'containers', 0] as const;
  return {
    why: `The server. Its user and password come from a Secret that you make, so that they stand in no file:\n  kubectl create secret generic ${credentialsOf(options)} -n ${namespace} --from-literal=username=partner --from-file=password=./password`,
    object: {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, namespace, labels: labelsOf(options) },
      spec: {
        replicas: 1,
        strategy: { type: 'Recreate' },
        selector: { matchLabels: labelsOf(options) },
        template: {
          metadata: { labels: labelsOf(options) },
          spec: {
            automountServiceAccountToken: false,
            containers: [
              {
                name: 'ftp',
                image: options.image,
                env,
                ports: [{ name: 'control', containerPort: controlPort }],
                readinessProbe: { tcpSocket: { port: 'control' } },
                volumeMounts: [{ name: 'files', mountPath: dataPath }],
              },
            ],
            volumes: [{ name: 'files', persistentVolumeClaim: { claimName: claimOf(options) } }],
          },
        },
      },
    },
    reasons: [
      { path: ['spec', 'replicas'], why: 'One: a data connection must reach the pod that holds its control connection, and the volume is mounted by one node.' },
      { path: ['spec', 'strategy'], why: 'The old pod gives the volume back before the new one starts.' },
      { path: [...container, 'image'], why: 'Pin it by digest.' },
      { path: [...container, 'env', 2], why: `What the answer to PASV names: ${announced.why}` },
      { path: [...container, 'env', 3], why: `The range of the data connections. At most ${passivePorts.last - passivePorts.first + 1} transfers run at a time; widen it here and in the Service${options.cis ? ' and the iRule' : ''} alike.` },
    ],
  };
}

function announcedAddress(options: FtpServerOptions): { readonly source: Readonly<Record<string, unknown>>; readonly why: string } {
  const { name, namespace, mode, address } = options;
  if (address !== undefined) return { source: { value: address }, why: "where partners connect to, not the pod's address." };
  if (mode === 'nodeport') return { source: { valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } }, why: "the node's address, since that is where partners come in." };
  const map = addressMapOf(options);
  return {
    source: { valueFrom: { configMapKeyRef: { name: map, key: 'address' } } },
    why: `the load balancer's address. The pod waits until you have told it, once the Service has one:\n  kubectl create configmap ${map} -n ${namespace} --from-literal=address=$(kubectl get service ${name} -n ${namespace} -o jsonpath='{.status.loadBalancer.ingress[0].ip}')`,
  };
}

function serviceOf(options: FtpServerOptions): ExplainedObject {
  const { name, namespace, mode, passivePorts, address, cis } = options;
  const hasNodePorts = mode !== 'clusterip';
  const ports = [
    { name: 'control', port: controlPort, targetPort: controlPort },
    ...Array.from({ length: passivePorts.last - passivePorts.first + 1 }, (_, index) => {
      const port = passivePorts.first + index;
      return { name: `data-${port}`, port, targetPort: port, ...(hasNodePorts ? { nodePort: port } : {}) };
    }),
  ];
  const annotations = { ...(address === undefined ? { 'cis.f5.com/ipamLabel': options.ipamLabel } : { 'cis.f5.com/ip': address }), 'cis.f5.com/policyName': policyNameOf(options) };
  const loadBalancerClass = options.loadBalancerClass ?? (cis ? 'f5cis' : undefined);
  const reasons: Reason[] = [
    {
      path: ['spec', 'ports', 1],
      why: hasNodePorts
        ? "Each port of the range under its own number, at the node too: the server names it to the partner, and nobody on the way changes what it said."
        : 'Each port of the range under its own number: the server names it to the partner, and nobody on the way changes what it said.',
    },
  ];
  if (hasNodePorts) reasons.push({ path: ['spec', 'externalTrafficPolicy'], why: "Keeps the partner's address: with Cluster the two connections can come from different addresses of nodes, and the server refuses a data connection that is not from the peer of the control connection." });
  if (loadBalancerClass !== undefined) reasons.push({ path: ['spec', 'loadBalancerClass'], why: `Only the load balancer of this class takes the Service${cis ? ': CIS, started with --load-balancer-class=' + loadBalancerClass : ''}; the cloud's own leaves it alone.` });
  if (cis && address !== undefined) reasons.push({ path: ['metadata', 'annotations', 'cis.f5.com/ip'], why: "The virtual server's address, the same that the server announces (PASV_ADDRESS)." });
  return {
    object: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, labels: labelsOf(options), ...(cis ? { annotations } : {}) },
      spec: {
        type: { loadbalancer: 'LoadBalancer', nodeport: 'NodePort', clusterip: 'ClusterIP' }[mode],
        ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }),
        ...(hasNodePorts ? { externalTrafficPolicy: 'Local' } : {}),
        selector: labelsOf(options),
        ports,
      },
    },
    reasons,
  };
}

function policyOf(options: FtpServerOptions, iRuleName: string): ExplainedObject {
  return {
    object: {
      apiVersion: 'cis.f5.com/v1',
      kind: 'Policy',
      metadata: { name: policyNameOf(options), namespace: options.namespace, labels: { ...labelsOf(options), f5cr: 'true' } },
      spec: { iRuleList: [iRuleName], profiles: { ftpProfile: '/Common/ftp' } },
    },
    reasons: [
      { path: ['metadata', 'labels', 'f5cr'], why: 'CIS looks at objects with this label only.' },
      { path: ['spec', 'iRuleList'], why: 'Tells the BIG-IP on which ports data connections come.' },
      { path: ['spec', 'profiles', 'ftpProfile'], why: 'Reads the control connection and lets its data connections through.' },
    ],
  };
}
