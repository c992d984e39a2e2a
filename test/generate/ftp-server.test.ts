import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseAllDocuments } from 'yaml';
import type { IpAddress } from '../../src/core/ip-address.ts';
import { formatExplained, ftpServerFaults, ftpServerModes, generateFtpServer, type FtpServer, type FtpServerOptions } from '../../src/generate/index.ts';

const address = '203.0.113.40' as IpAddress;
const behindBigIp: FtpServerOptions = { name: 'partner-drop', namespace: 'ftp', mode: 'loadbalancer', passivePorts: { first: 30_100, last: 30_109 }, address, cis: true, image: 'vsftpd', storage: '1Gi' };

const { address: _, ...nowhere } = behindBigIp;

interface Port {
  readonly name: string;
  readonly port: number;
  readonly targetPort: number;
  readonly nodePort?: number;
}
interface Service {
  readonly metadata: { readonly annotations?: Record<string, string> };
  readonly spec: { readonly type: string; readonly loadBalancerClass?: string; readonly externalTrafficPolicy?: string; readonly selector: unknown; readonly ports: readonly Port[] };
}
interface Deployment {
  readonly spec: { readonly replicas: number; readonly template: { readonly metadata: { readonly labels: unknown }; readonly spec: { readonly containers: readonly [{ readonly env: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: unknown }[] }] } } };
}

const kindOf = (server: FtpServer, kind: string): unknown => server.objects.find(({ object }) => object['kind'] === kind)?.object;
const environment = (server: FtpServer): Readonly<Record<string, unknown>> => Object.fromEntries((kindOf(server, 'Deployment') as Deployment).spec.template.spec.containers[0].env.map(({ name, value, valueFrom }) => [name, value ?? valueFrom]));

/** Options without faults. */
const working = fc
  .record({ mode: fc.constantFrom(...ftpServerModes), first: fc.integer({ min: 30_000, max: 32_700 }), count: fc.integer({ min: 1, max: 67 }), cis: fc.boolean(), named: fc.boolean() })
  .map(({ mode, first, count, cis, named }): FtpServerOptions => ({ ...(named || mode === 'clusterip' || cis ? behindBigIp : nowhere), mode, passivePorts: { first, last: first + count - 1 }, cis: cis && mode === 'loadbalancer' }));

describe('an FTP server for partners outside', () => {
  const faults: readonly (readonly [string, Partial<FtpServerOptions>, readonly string[]])[] = [
    ['a range that ends before it begins', { passivePorts: { first: 30_109, last: 30_100 } }, ['passive-ports-reversed']],
    ['more ports than a Service has room for', { passivePorts: { first: 30_100, last: 30_199 } }, ['passive-ports-too-many']],
    ['ports below the node ports', { passivePorts: { first: 29_999, last: 30_001 } }, ['passive-ports-no-node-ports']],
    ['ports above the node ports', { passivePorts: { first: 32_767, last: 32_768 } }, ['passive-ports-no-node-ports']],
    ['well-known ports where pods are reached directly', { mode: 'clusterip', cis: false, passivePorts: { first: 1_023, last: 1_030 } }, ['passive-ports-privileged']],
    ['an IPv6 address to announce', { address: '2001:db8::1' as IpAddress }, ['address-ipv6']],
    ['CIS without a load balancer', { mode: 'nodeport' }, ['cis-mode']],
    ['a class of no load balancer', { mode: 'nodeport', cis: false, loadBalancerClass: 'f5cis' }, ['load-balancer-class-mode']],
    ['an IPAM label beside an address', { ipamLabel: 'partners' }, ['ipam-label-idle']],
    ['an IPAM label without CIS', { ipamLabel: 'partners', cis: false }, ['ipam-label-idle']],
    ['a name that no Service may have', { name: '9-to-5' }, ['name-digit-first']],
    ['a volume of no size', { storage: '10 GB' }, ['storage-no-quantity']],
    ['a volume of nothing', { storage: '0Gi' }, ['storage-no-quantity']],
    ['everything at once', { mode: 'clusterip', passivePorts: { first: 20, last: 500 }, loadBalancerClass: 'f5cis' }, ['passive-ports-too-many', 'passive-ports-privileged', 'cis-mode', 'load-balancer-class-mode']],
  ];
  for (const [what, change, codes] of faults) {
    it(`is refused with ${what}`, () => assert.deepEqual(ftpServerFaults({ ...behindBigIp, ...change }).map(({ code }) => code), codes));
  }

  it('is refused where nobody can know what partners connect to', () => {
    const codes = (change: Partial<FtpServerOptions>) => ftpServerFaults({ ...nowhere, ...change }).map(({ code }) => code);
    assert.deepEqual(codes({}), ['cis-address-missing']);
    assert.deepEqual(codes({ mode: 'clusterip', cis: false }), ['address-missing']);
    for (const change of [{ ipamLabel: 'partners' }, { cis: false }, { cis: false, mode: 'nodeport' }] as const) assert.deepEqual(codes(change), []);
  });

  it('takes node ports from the first to the last, and any ports where pods are reached directly', () => {
    for (const [mode, first, last] of [['nodeport', 30_000, 30_098], ['nodeport', 32_767, 32_767], ['clusterip', 10_000, 10_002]] as const) assert.deepEqual(ftpServerFaults({ ...behindBigIp, cis: false, mode, passivePorts: { first, last } }), []);
  });

  it('offers every port that the server may name, under its own number everywhere', () => {
    fc.assert(
      fc.property(working, (options) => {
        assert.deepEqual(ftpServerFaults(options), []);
        const server = generateFtpServer(options);
        const { ports } = (kindOf(server, 'Service') as Service).spec;
        const { PASV_MIN_PORT, PASV_MAX_PORT } = environment(server);
        const data = ports.filter(({ name }) => name !== 'control');
        assert.deepEqual(data.map(({ port }) => port), Array.from({ length: Number(PASV_MAX_PORT) - Number(PASV_MIN_PORT) + 1 }, (_, index) => Number(PASV_MIN_PORT) + index));
        for (const { port, targetPort, nodePort } of data) assert.deepEqual([targetPort, nodePort], [port, options.mode === 'clusterip' ? undefined : port]);
        assert.deepEqual(ports[0], { name: 'control', port: 21, targetPort: 21 });
      }),
    );
  });

  it('says in YAML what it says as objects, and why', () => {
    fc.assert(
      fc.property(working, (options) => {
        const { objects } = generateFtpServer(options);
        const text = formatExplained(objects);
        assert.deepEqual(parseAllDocuments(text).map((document) => document.toJS() as unknown), objects.map(({ object }) => object));
        for (const { why } of objects.flatMap(({ reasons = [] }) => reasons)) assert.ok(text.replaceAll(/\n *# +/g, ' ').includes(why.replaceAll(/\n */g, ' ')), why);
      }),
      { numRuns: 20 },
    );
  });

  it("announces what partners connect to: the load balancer's address, or the node's", () => {
    assert.equal(environment(generateFtpServer(behindBigIp))['PASV_ADDRESS'], address);
    assert.deepEqual(environment(generateFtpServer({ ...nowhere, mode: 'nodeport', cis: false }))['PASV_ADDRESS'], { fieldRef: { fieldPath: 'status.hostIP' } });
    assert.deepEqual(environment(generateFtpServer({ ...nowhere, cis: false }))['PASV_ADDRESS'], { configMapKeyRef: { name: 'partner-drop-address', key: 'address' } });
  });

  it('tells a BIG-IP the same range and the same address', () => {
    const server = generateFtpServer(behindBigIp);
    const service = kindOf(server, 'Service') as Service;
    const policy = kindOf(server, 'Policy') as { readonly metadata: { readonly name: string }; readonly spec: { readonly iRuleList: readonly string[] } };
    assert.deepEqual(server.iRule, { name: '/Common/partner_drop_ftp_ports', text: 'when SERVER_CONNECTED { FTP::port 30100 30109 }' });
    assert.deepEqual(policy.spec.iRuleList, [server.iRule.name]);
    assert.deepEqual(service.metadata.annotations, { 'cis.f5.com/ip': address, 'cis.f5.com/policyName': policy.metadata.name });
    assert.deepEqual([service.spec.type, service.spec.loadBalancerClass, service.spec.externalTrafficPolicy], ['LoadBalancer', 'f5cis', 'Local']);
    assert.deepEqual((kindOf(generateFtpServer({ ...nowhere, ipamLabel: 'partners' }), 'Service') as Service).metadata.annotations, { 'cis.f5.com/ipamLabel': 'partners', 'cis.f5.com/policyName': policy.metadata.name });
    assert.equal(generateFtpServer({ ...behindBigIp, cis: false }).iRule, null);
  });

  it('keeps the password out of the manifests, and the pod apart from its Service by nothing', () => {
    const server = generateFtpServer(behindBigIp);
    const { template } = (kindOf(server, 'Deployment') as Deployment).spec;
    assert.deepEqual(environment(server)['FTP_PASS'], { secretKeyRef: { name: 'partner-drop-credentials', key: 'password' } });
    assert.deepEqual(template.metadata.labels, (kindOf(server, 'Service') as Service).spec.selector);
  });
});
