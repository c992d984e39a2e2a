/** As whom: from which address, and from which of its ports. */
import { sni, svid, way } from '../rows.ts';
import type { Divergence, World } from '../world.ts';

const bank = way(sni('bank.shop'), 'shop/bank:main');
const post = way(sni('post.shop'), 'shop/post:main');
const depot = way(sni('depot.egress'), 'egress/depot:main');
const partner = way(sni('partner.egress'), 'egress/partner:main');
const six = (name: string) => way(sni(`${name}.egress`), `egress/${name}:main`);

const tenantOf = (pool: string, namespace: string): string => `---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: ${namespace}}
spec: {subject: {namespace: ${namespace}}, pool: ${pool}}
`;

const beyondLocalPorts: Divergence = {
  because: "the kernel chooses Envoy's source ports, and keeps to a block only within `net.ipv4.ip_local_port_range` ([0611](../decisions/0611-envoys-log-and-its-limits.md))",
  expect: partner.refuses(svid('tenant/app'), 'no-gateway', { by: ['egress/tenants'] }).expect,
  words: true,
};

const anyPort = (who: string): Divergence => ({
  because: "a SNAT pool takes any port of its addresses, those of other holders too ([0800](../decisions/0800-how-a-big-ip-enforces-a-plan.md))",
  expect: partner.refuses(svid(who), 'no-snat-binding', { by: ['egress/tenants'] }).expect,
});
const overLimit = (who: string, from: string): Divergence => ({
  because: 'a BIG-IP limits the connections of an address, and says of one beyond that it could not be made',
  expect: partner.lets(svid(who), { from, atMost: 2, beyond: 'connect-failed', by: ['egress/tenants'] }).expect,
});
const noBlock = (ports: string, address: string): string => `gateway egress-1 refuses egress/partner:main: a BIG-IP cannot keep to ports ${ports} of ${address}: a SNAT pool takes any port`;

export const bindingWorlds: readonly World[] = [
  {
    name: 'the most specific binding decides',
    shows: "A service account's binding before its Kubernetes Service's before its namespace's; among those the one for a port before the one for a service before the one for all.",
    manifests: ({ witnessPort }) => `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, annotations: {alpha.istio.io/kubernetes-serviceaccounts: "desk,till"}}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: bank, namespace: shop}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: post, namespace: shop}
spec: {addresses: [127.0.9.2], ports: [{name: main, port: 7001, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: all, namespace: shop}
spec: {subjects: [{namespace: shop}, {namespace: other}], to: [{service: bank}, {service: post}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.4.1-127.1.4.9]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: namespace, namespace: shop}
spec: {subject: {namespace: shop}, addresses: [127.1.4.1]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: namespace-for-service, namespace: shop}
spec: {subject: {namespace: shop}, addresses: [127.1.4.2], targets: [{service: bank}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: namespace-for-port, namespace: shop}
spec: {subject: {namespace: shop}, addresses: [127.1.4.3], targets: [{service: bank, ports: [main]}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: web, namespace: shop}
spec: {subject: {service: {name: web}}, addresses: [127.1.4.4]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: till, namespace: shop}
spec: {subject: {namespace: shop, serviceAccount: till}, addresses: [127.1.4.5]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: clerk-for-post, namespace: shop}
spec: {subject: {namespace: shop, serviceAccount: clerk}, addresses: [127.1.4.6], targets: [{service: post}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: other, namespace: other}
spec: {subject: {namespace: other}, addresses: [127.1.4.7]}
`,
    attempts: [
      bank.lets(svid('shop/buyer'), { from: '127.1.4.3', by: ['shop/all'] }),
      bank.lets(svid('shop/desk'), { from: '127.1.4.4', by: ['shop/all'] }),
      bank.lets(svid('shop/till'), { from: '127.1.4.5', by: ['shop/all'] }),
      bank.lets(svid('shop/till-2'), { from: '127.1.4.3', by: ['shop/all'] }),
      bank.lets(svid('shop/clerk'), { from: '127.1.4.3', by: ['shop/all'] }),
      bank.lets(svid('other/till'), { from: '127.1.4.7', by: ['shop/all'] }),
      post.lets(svid('shop/buyer'), { from: '127.1.4.1', by: ['shop/all'], to: '127.0.9.2' }),
      post.lets(svid('shop/clerk'), { from: '127.1.4.6', by: ['shop/all'], to: '127.0.9.2' }),
      post.lets(svid('shop/desk'), { from: '127.1.4.4', by: ['shop/all'], to: '127.0.9.2' }),
    ],
  },
  {
    name: 'addresses out of a pool, and identities without one',
    shows: 'Whoever is bound to a pool has an address of it to itself. Whoever a policy allows but no binding gives an address is refused, also where the rest of its namespace is let out.',
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: depot, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: archive, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7001, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: haulage, namespace: egress}
spec:
  subjects: [{namespace: north}, {namespace: south}, {namespace: west}, {namespace: east, serviceAccount: driver}]
  to: [{service: depot}]
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: poor, namespace: egress}
spec: {subjects: [{namespace: poor}], to: [{service: depot}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: lorries}
spec: {addresses: [127.1.5.0/29], exclude: [127.1.5.0, 127.1.5.2]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: north}
spec: {subject: {namespace: north}, pool: lorries}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: south}
spec: {subject: {namespace: south}, pool: lorries}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: west-elsewhere, namespace: west}
spec: {subject: {namespace: west}, pool: lorries, targets: [{service: archive, namespace: egress}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: driver, namespace: east}
spec: {subject: {namespace: east, serviceAccount: driver}, pool: lorries}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: rich, namespace: poor}
spec: {subject: {namespace: poor, serviceAccount: rich}, addresses: [127.1.5.7]}
`,
    attempts: [
      depot.lets(svid('north/driver'), { from: '127.1.5.1', by: ['egress/haulage'] }),
      depot.lets(svid('south/driver'), { from: '127.1.5.3', by: ['egress/haulage'] }),
      depot.lets(svid('east/driver'), { from: '127.1.5.5', by: ['egress/haulage'] }),
      depot.refuses(svid('east/guard'), 'no-policy'),
      depot.refuses(svid('west/driver'), 'no-snat-binding', { by: ['egress/haulage'] }),
      depot.refuses(svid('poor/driver'), 'no-snat-binding', { by: ['egress/poor'] }),
      depot.lets(svid('poor/rich'), { from: '127.1.5.7', by: ['egress/poor'] }),
    ],
  },
  {
    name: 'one address, shared in blocks of source ports',
    shows: 'Four namespaces and a service account leave from the one address that a partner lets in, each from source ports of its own.',
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: partner, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: tenants, namespace: egress}
spec: {subjects: [{namespace: tenant-1}, {namespace: tenant-2}, {namespace: tenant-3}, {namespace: tenant-4}, {namespace: house}], to: [{service: partner}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: shared}
spec: {addresses: [127.1.6.1], sharing: {mode: PortBlocks, blockSize: 8192}}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: own}
spec: {addresses: [127.1.6.2]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: house, namespace: house}
spec: {subject: {namespace: house}, pool: own}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: lodger, namespace: house}
spec: {subject: {namespace: house, serviceAccount: lodger}, addresses: [127.1.6.1]}
${['tenant-1', 'tenant-2', 'tenant-3', 'tenant-4'].map((namespace) => tenantOf('shared', namespace)).join('')}`,
    conditions: {
      envoy: ['1024-9215', '9216-17407', '17408-25599', '25600-33791'].map((ports) => `gateway egress-1 refuses egress/partner:main: ports ${ports} of 127.1.6.1 are outside the range`),
      bigip: ['1024-9215', '9216-17407', '17408-25599', '25600-33791', '33792-41983'].map((ports) => noBlock(ports, '127.1.6.1')),
    },
    attempts: [
      ...([
        ['house/lodger', { first: 1_024, last: 9_215 }],
        ['tenant-3/app', { first: 25_600, last: 33_791 }],
      ] as const).map(([who, ports]) =>
        partner.lets(svid(who), {
          from: '127.1.6.1',
          ports,
          by: ['egress/tenants'],
          but: { envoy: beyondLocalPorts, bigip: anyPort(who) },
        }),
      ),
      partner.lets(svid('house/owner'), { from: '127.1.6.2', by: ['egress/tenants'] }),
      // Several, since a gateway that keeps to no block hits this one now and then.
      ...['one', 'two', 'three', 'four'].map((account) => partner.lets(svid(`tenant-4/${account}`), { from: '127.1.6.1', ports: { first: 33_792, last: 41_983 }, by: ['egress/tenants'], but: { bigip: anyPort(`tenant-4/${account}`) } })),
    ],
  },
  {
    name: 'source ports that the host of a gateway gives',
    shows: "`localPorts` says which ports the kernel of an Envoy's host gives: more than Linux does of its own accord, or fewer. What the embedded gateway leaves from does not depend on it.",
    gateway: { localPorts: { first: 25_600, last: 37_887 } }, // the kernel keeps to a block as far as it gives ports of it at all
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: partner, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: tenants, namespace: egress}
spec: {subjects: [{namespace: tenant-1}, {namespace: tenant-2}, {namespace: tenant-3}, {namespace: tenant-4}], to: [{service: partner}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: shared}
spec: {addresses: [127.1.19.1], sharing: {mode: PortBlocks, blockSize: 12288}}
${['tenant-1', 'tenant-2', 'tenant-3', 'tenant-4'].map((namespace) => tenantOf('shared', namespace)).join('')}`,
    conditions: {
      envoy: ['1024-13311', '13312-25599', '37888-50175'].map((ports) => `gateway egress-1 refuses egress/partner:main: ports ${ports} of 127.1.19.1 are outside the range 25600-37887`),
      bigip: ['1024-13311', '13312-25599', '25600-37887', '37888-50175'].map((ports) => noBlock(ports, '127.1.19.1')),
    },
    attempts: [
      partner.lets(svid('tenant-3/app'), { from: '127.1.19.1', ports: { first: 25_600, last: 37_887 }, by: ['egress/tenants'], but: { bigip: anyPort('tenant-3/app') } }),
      ...([
        ['tenant-2/app', { first: 13_312, last: 25_599 }],
        ['tenant-4/app', { first: 37_888, last: 50_175 }],
      ] as const).map(([who, ports]) => partner.lets(svid(who), { from: '127.1.19.1', ports, by: ['egress/tenants'], but: { envoy: beyondLocalPorts, bigip: anyPort(who) } })),
    ],
  },
  {
    name: 'connections at a time',
    shows: 'Of three that come as one identity two are let out, where that is the limit. Another identity has its own.',
    inTurn: true,
    gateway: { limits: { connectionsPerIdentity: 2 } },
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: partner, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: tenants, namespace: egress}
spec: {subjects: [{namespace: tenant-1}, {namespace: tenant-2}], to: [{service: partner}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: own}
spec: {addresses: [127.1.20.1-127.1.20.9]}
${['tenant-1', 'tenant-2'].map((namespace) => tenantOf('own', namespace)).join('')}`,
    attempts: [
      ...([
        ['tenant-1/app', '127.1.20.1'],
        ['tenant-2/app', '127.1.20.2'],
      ] as const).map(([who, from]) => partner.lets(svid(who), { from, atMost: 2, by: ['egress/tenants'], but: { envoy: { because: 'Envoy counts what leaves from an address, or a block of its ports ([0610](../decisions/0610-envoy-as-a-gateway.md))', words: true }, bigip: overLimit(who, from), kernel: { because: 'a kernel says that there are too many, and not how many', words: true } } })),
      partner.refuses(svid('tenant-3/app'), 'no-policy'),
    ],
  },
  {
    name: 'IPv4 and IPv6',
    shows: 'An identity leaves by the family of the target, from its address of that family. A target of a family that it has no address of is passed over.',
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: only-six, namespace: egress}
spec: {addresses: ["::1"], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: both, namespace: egress}
spec: {addresses: ["::1", 127.0.9.1], ports: [{name: main, port: 7001, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: only-four, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7002, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: dual, namespace: egress}
spec: {subjects: [{namespace: dual}], to: [{service: only-six}, {service: both}, {service: only-four}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: four, namespace: egress}
spec: {subjects: [{namespace: four}], to: [{service: both}, {service: only-four}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.7.1-127.1.7.9, "::1"]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: dual}
spec: {subject: {namespace: dual}, addresses: [127.1.7.1, "::1"]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: four}
spec: {subject: {namespace: four}, addresses: [127.1.7.2]}
`,
    attempts: [
      six('only-six').lets(svid('dual/any'), { from: '::1', to: '::1', by: ['egress/dual'] }),
      six('both').lets(svid('dual/any'), {
        from: '::1',
        to: '::1',
        by: ['egress/dual'],
        but: { bigip: { because: 'a pool of servers is for whoever uses it, so it has those that all of them have an address for ([0800](../decisions/0800-how-a-big-ip-enforces-a-plan.md))', expect: six('both').lets(svid('dual/any'), { from: '127.1.7.1', by: ['egress/dual'] }).expect } },
      }),
      six('only-four').lets(svid('dual/any'), { from: '127.1.7.1', by: ['egress/dual'] }),
      six('both').lets(svid('four/any'), { from: '127.1.7.2', by: ['egress/four'] }),
      six('only-four').lets(svid('four/any'), { from: '127.1.7.2', by: ['egress/four'] }),
      six('only-six').refuses(svid('four/any'), 'no-policy'),
    ],
  },
];
