/** A whole Sallyport for tests, from real processes: a control plane, one gateway with two threads, and an agent for each workload. */
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAdminClient, type AdminClient } from '../../src/api/admin-client.ts';
import type { FtpDataMode, GatewayClass } from '../../src/core/objects/index.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { openAsSidecar, openPlain, type Dialogue } from '../../src/demo/clients.ts';
import { createDeployment, type Deployment } from '../../src/demo/deployment.ts';
import { findFreePorts, thisHost, type Hosts } from '../../src/demo/processes.ts';

export const workloadIdentities = {
  productpage: 'spiffe://cluster.local/ns/bookinfo/sa/productpage' as SpiffeId,
  batch: 'spiffe://cluster.local/ns/reports/sa/batch' as SpiffeId,
  nettools: 'spiffe://cluster.local/ns/sm-apigw-a/sa/nettools' as SpiffeId,
} as const;
export type Workload = keyof typeof workloadIdentities;
const namespaces = { productpage: 'bookinfo', batch: 'reports', nettools: 'sm-apigw-a' } as const satisfies Record<Workload, string>;
const workloads = Object.keys(workloadIdentities) as readonly Workload[];

export const gateway = 'egress-1';
export const gatewayIdentity = `spiffe://cluster.local/ns/sallyport-system/sa/${gateway}`;

/** The pool begins with these; bookinfo and reports are bound to one each, sm-apigw-a is bound to the third. */
export const snatAddressesIn = (network: string) => ({ productpage: `${network}.11`, batch: `${network}.12`, nettools: `${network}.13` }) as const satisfies Record<Workload, string>;
const loopbackNetwork = '127.0.1';
export const snatAddresses = snatAddressesIn(loopbackNetwork);

export interface TestDeployment extends Deployment {
  /** What a command asks the control plane by, without a process for each question. */
  readonly admin: AdminClient;
  /** Where sidecars reach the gateway, on 127.0.0.1. */
  readonly gatewayPort: number;
  readonly agentAddress: (workload: Workload) => string;
  /** A plain connection of a workload to its own agent. */
  readonly openAtAgent: (workload: Workload, port: number) => Promise<Dialogue>;
  /** An mTLS connection to the gateway as a sidecar makes it, with the SVID that the agent wrote. */
  readonly openAsSidecar: (workload: Workload, serverName: string) => Promise<Dialogue>;
  readonly apply: (manifests: string) => Promise<void>;
  readonly launchWorkload: (workload: Workload) => void;
  readonly launchTheGateway: () => void;
}

export interface TestDeploymentOptions {
  readonly manifests: string;
  /** Whose agents run. Default: all. */
  readonly agents?: readonly Workload[];
  /** Where control plane and gateway listen. Default 127.0.0.1. */
  readonly meshAddress?: string;
  /** The first three numbers of the addresses that workloads leave from. Default 127.0.1. */
  readonly snatNetwork?: string;
  /** Where its processes run; on hosts elsewhere nothing can be opened from here. Default: here. */
  readonly hosts?: Hosts;
  /** Where agents listen that have no IPv4 address of their own. */
  readonly agentAddresses?: Partial<Record<Workload, string>>;
  /** The IPv6 addresses that workloads leave from, beside their IPv4 ones. */
  readonly ipv6SnatAddresses?: Partial<Record<Workload, string>>;
  /** Default: sallyport. */
  readonly gatewayClass?: GatewayClass;
  /** Of the gateway, as its manifest has them. */
  readonly limits?: Readonly<Record<string, unknown>>;
  readonly serveOptions?: readonly string[];
  /** Makes the CA. Default: `sallyport ca init`. */
  readonly makeCa?: (deployment: Deployment) => Promise<unknown>;
}

let compileCache: string | undefined;

/** One for all deployments of this process: the first command of the first one is the only slow one. */
function sharedCompileCache(): string {
  if (compileCache === undefined) {
    const directory = mkdtempSync(join(tmpdir(), 'sallyport-compile-cache-'));
    process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }));
    compileCache = directory;
  }
  return compileCache;
}

/**
 * Control plane with CA, gateway object, pool, bindings and `manifests`; everybody is admitted, nothing but the control plane runs.
 * @see startTestDeployment
 */
export async function prepareTestDeployment(options: TestDeploymentOptions): Promise<TestDeployment> {
  const { manifests, gatewayClass = 'sallyport', limits = {}, serveOptions = [], makeCa = (deployment: Deployment) => deployment.cli(['ca', 'init']), meshAddress = '127.0.0.1', snatNetwork = loopbackNetwork, hosts = thisHost, agentAddresses = {}, ipv6SnatAddresses = {} } = options;
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-e2e-'));
  const deployment = await createDeployment({ directory, controlAddress: meshAddress, serveOptions, compileCache: sharedCompileCache(), hosts });
  const [gatewayPort] = (await findFreePorts(1)) as [number];
  const agentAddress = (workload: Workload) => agentAddresses[workload] ?? `127.0.2.${workloads.indexOf(workload) + 1}`;
  const test: TestDeployment = {
    ...deployment,
    admin: createAdminClient({ kind: 'unix', socketPath: join(directory, 'control', 'admin.sock') }),
    gatewayPort,
    agentAddress,
    openAtAgent: (workload, port) => openPlain(port, agentAddress(workload)),
    openAsSidecar: (workload, serverName) => openAsSidecar(deployment.svidDirectory(workload), gatewayPort, serverName),
    async apply(text) {
      await deployment.cli(['apply', '-f', '-'], text);
    },
    launchWorkload: (workload) => deployment.launchAgent(workload, agentAddress(workload)),
    launchTheGateway: () => deployment.launchGateway(gateway, ['--workers', '2']),
  };
  try {
    await deployment.startControl();
    await makeCa(deployment);
    await test.apply(`${baseManifests({ class: gatewayClass, listen: [{ address: meshAddress, port: gatewayPort }], limits }, snatNetwork, ipv6SnatAddresses)}\n---\n${manifests}`);
    await deployment.admit({ [gateway]: gatewayIdentity, ...workloadIdentities });
    return test;
  } catch (error) {
    await deployment.close();
    throw error;
  }
}

/** The same, with gateway and agents running and ready. */
export async function startTestDeployment(options: TestDeploymentOptions): Promise<TestDeployment> {
  const deployment = await prepareTestDeployment(options);
  const { agents = workloads } = options;
  try {
    deployment.launchTheGateway();
    for (const workload of agents) deployment.launchWorkload(workload);
    await Promise.all([gateway, ...agents].map(deployment.ready));
    return deployment;
  } catch (error) {
    await deployment.close();
    throw error;
  }
}

function baseManifests(gatewaySpec: object, snatNetwork: string, ipv6SnatAddresses: Partial<Record<Workload, string>>): string {
  const bindings = workloads.map(
    (workload) => `
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own-address, namespace: ${namespaces[workload]}}
spec: {subject: {namespace: ${namespaces[workload]}}, addresses: ${JSON.stringify([snatAddressesIn(snatNetwork)[workload], ipv6SnatAddresses[workload]].filter(Boolean))}}`,
  );
  return [
    `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: ${gateway}}
spec: ${JSON.stringify(gatewaySpec)}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: ${JSON.stringify([`${snatNetwork}.11-${snatNetwork}.20`, ...Object.values(ipv6SnatAddresses)])}}`,
    ...bindings,
  ].join('\n---');
}

/** A service of namespace `bookinfo`, on 127.0.0.1 by default, and for each of `allowed` a policy NAME-WORKLOAD that lets it there. */
export interface ServiceManifestsShape {
  readonly name: string;
  readonly protocol?: string;
  /** FTP. */
  readonly dataMode?: FtpDataMode;
  readonly addresses?: readonly string[];
  readonly port: number;
  readonly targetPort: number;
  readonly allowed: readonly Workload[];
}

export function serviceManifests({ name, protocol = 'TCP', dataMode, addresses = ['127.0.0.1'], port, targetPort, allowed }: ServiceManifestsShape): string {
  const policies = allowed.map(
    (workload) => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: ${name}-${workload}, namespace: bookinfo}
spec: {subjects: [{namespace: ${namespaces[workload]}}], to: [{service: ${name}}]}`,
  );
  return [
    `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: ${name}, namespace: bookinfo}
spec: {addresses: ${JSON.stringify(addresses)}, ports: [{name: main, port: ${port}, targetPort: ${targetPort}, protocol: ${protocol}${dataMode === undefined ? '' : `, ftp: {dataMode: ${dataMode}}`}}]}`,
    ...policies,
  ].join('\n---');
}
