/** How workloads ask for a service, and what a service may be. */
import { ownListener, sni, svid, unknownToKernel, way, withoutSni } from '../rows.ts';
import { deadAddress, type Attempt, type Divergence, type World } from '../world.ts';

const asked = (serverName: string) => way(sni(serverName), 'egress/billing:main');
const nothing = (serverName: string) => way(sni(serverName), null);
const lab = (door: Parameters<typeof way>[0]) => way(door, 'egress/lab:main');
const place = (name: string) => way(sni(`${name}.egress`), `egress/${name}:main`);

const byAddressOnly: Pick<Attempt, 'but'> = { but: { kernel: unknownToKernel('a kernel knows services by their addresses only') } };
const kernelWords: Divergence = { because: 'each names the failed connection in its own words', words: true };

export const serviceWorlds: readonly World[] = [
  {
    name: 'the names by which a service is asked for',
    shows: "The SNI chooses: as Istio's sidecars write it, as a plain host name where the service has one port, or by a name that the service adds. Anything else leads nowhere.",
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: billing, namespace: egress}
spec: {addresses: [127.0.9.1], serverNames: [billing.partner.example], ports: [{name: main, port: 3128, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: twin, namespace: egress}
spec: {addresses: [127.0.9.2], ports: [{port: 7001, targetPort: ${witnessPort}}, {port: 7002, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: all, namespace: egress}
spec: {subjects: [{namespace: bookinfo}], to: [{service: billing}, {service: twin}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.8.1]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: bookinfo}
spec: {subject: {namespace: bookinfo}, pool: pool}
`,
    attempts: [
      ...[
        'outbound_.3128_._.billing.egress.svc.cluster.local',
        'billing.egress.svc.cluster.local',
        'billing.egress.svc',
        'billing.egress',
        'Billing.EGRESS.svc.cluster.local',
        'billing.partner.example',
        'outbound_.3128_._.billing.partner.example',
      ].map((serverName) => asked(serverName).lets(svid('bookinfo/productpage'), { from: '127.1.8.1', by: ['egress/all'] })),
      way(sni('outbound_.7002_._.twin.egress.svc.cluster.local'), 'egress/twin:tcp-7002').lets(svid('bookinfo/productpage'), { from: '127.1.8.1', by: ['egress/all'], to: '127.0.9.2' }),
      ...[
        'twin.egress.svc.cluster.local',
        'outbound_.3129_._.billing.egress.svc.cluster.local',
        'outbound_.3128_.v1_._.billing.egress.svc.cluster.local',
        'billing',
        'billing.egress.svc.cluster.local.',
        'xbilling.egress',
        'nobody',
        'sallyport-control',
        'egress/billing:main',
      ].map((serverName) => nothing(serverName).refuses(svid('bookinfo/productpage'), 'no-such-service')),
      way(withoutSni, null).refuses(svid('bookinfo/productpage'), 'no-such-service'),
      nothing('twin.egress.svc.cluster.local').refuses(svid('sm-apigw-a/nettools'), 'no-such-service'),
    ],
  },
  {
    name: 'a listener of its own',
    shows: 'For clients that send no SNI. Who may use it is decided as on the shared listener, where the service is found too.',
    manifests: ({ witnessPort, ownPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: lab, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}, listen: {port: ${ownPort}}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: other, namespace: egress}
spec: {addresses: [127.0.9.2], ports: [{name: main, port: 7001, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: chemists, namespace: egress}
spec: {subjects: [{namespace: chemistry}], to: [{service: lab}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.9.1]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: chemistry}
spec: {subject: {namespace: chemistry}, pool: pool}
`,
    attempts: [
      lab(ownListener()).lets(svid('chemistry/flask'), { from: '127.1.9.1', by: ['egress/chemists'] }),
      lab(ownListener('lab.egress')).lets(svid('chemistry/flask'), { from: '127.1.9.1', by: ['egress/chemists'] }),
      lab(ownListener('other.egress')).lets(svid('chemistry/flask'), { from: '127.1.9.1', by: ['egress/chemists'] }),
      lab(sni('lab.egress')).lets(svid('chemistry/flask'), { from: '127.1.9.1', by: ['egress/chemists'] }),
      lab(ownListener()).refuses(svid('physics/flask'), 'no-policy'),
      lab(ownListener('other.egress')).refuses(svid('physics/flask'), 'no-policy'),
      way(sni('other.egress'), 'egress/other:main').refuses(svid('chemistry/flask'), 'no-policy'),
    ],
  },
  {
    name: 'several addresses, and host names',
    shows: 'Addresses are tried in turn, host names are looked up by the gateway. What cannot be reached is refused with that reason.',
    conditions: { kernel: ['gateway "egress-1" of class kernel knows services by their addresses only, so nobody can use egress/named:main'] },
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: first-is-down, namespace: egress}
spec: {addresses: [${deadAddress}, 127.0.9.2, 127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: named, namespace: egress}
spec: {hosts: [localhost], ports: [{name: main, port: 7001, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: down, namespace: egress}
spec: {addresses: [${deadAddress}], ports: [{name: main, port: 7002, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: all-down, namespace: egress}
spec: {addresses: [${deadAddress}, 127.0.9.98], ports: [{name: main, port: 7003, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: all, namespace: egress}
spec: {subjects: [{namespace: north}, {namespace: south}], to: [{service: first-is-down}, {service: named}, {service: down}, {service: all-down}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.10.1-127.1.10.9]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: north}
spec: {subject: {namespace: north}, pool: pool}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: south}
spec: {subject: {namespace: south}, pool: pool}
`,
    attempts: [
      ...([
        ['north', '127.1.10.1'],
        ['south', '127.1.10.2'],
      ] as const).flatMap(([namespace, from]) => [
        place('first-is-down').lets(svid(`${namespace}/any`), { from, to: '127.0.9.2', by: ['egress/all'] }),
        place('named').lets(svid(`${namespace}/any`), { from, to: '127.0.0.1', by: ['egress/all'], ...byAddressOnly }),
        place('down').refuses(svid(`${namespace}/any`), 'connect-failed', { by: ['egress/all'], but: { envoy: kernelWords, bigip: kernelWords } }),
      ]),
      place('all-down').refuses(svid('north/any'), 'connect-failed', { by: ['egress/all'], but: { envoy: kernelWords, bigip: kernelWords } }),
      place('named').refuses(svid('west/any'), 'no-policy', byAddressOnly),
    ],
  },
];
