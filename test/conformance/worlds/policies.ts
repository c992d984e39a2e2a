/** Who may go where. */
import { sni, svid, way } from '../rows.ts';
import type { World } from '../world.ts';

const billing = way(sni('billing.egress'), 'egress/billing:main');
const clinic = way(sni('clinic.egress'), 'egress/clinic:main');
const bank = (port: number) => way(sni(`outbound_.${port}_._.bank.shop.svc.cluster.local`), port === 443 ? 'shop/bank:api' : `shop/bank:tcp-${port}`);

export const policyWorlds: readonly World[] = [
  {
    name: 'a namespace, a service account, and what only looks like them',
    shows: 'What no policy names is refused, however much it looks like what one names.',
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: billing, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: whole-namespace, namespace: egress}
spec: {subjects: [{namespace: bookinfo}], to: [{service: billing}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: one-account, namespace: egress}
spec: {subjects: [{namespace: shop, serviceAccount: reviews}], to: [{service: billing}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.1.1-127.1.1.9]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: bookinfo, namespace: bookinfo}
spec: {subject: {namespace: bookinfo}, addresses: [127.1.1.1]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: shop, namespace: shop}
spec: {subject: {namespace: shop}, addresses: [127.1.1.2]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: bookinfo-evil, namespace: bookinfo-evil}
spec: {subject: {namespace: bookinfo-evil}, addresses: [127.1.1.3]}
`,
    attempts: [
      billing.lets(svid('bookinfo/productpage'), { from: '127.1.1.1', by: ['egress/whole-namespace'] }),
      billing.lets(svid('bookinfo/details'), { from: '127.1.1.1', by: ['egress/whole-namespace'] }),
      billing.lets(svid('shop/reviews'), { from: '127.1.1.2', by: ['egress/one-account'] }),
      billing.refuses(svid('bookinfo-evil/productpage'), 'no-policy'),
      billing.refuses(svid('bookinf/productpage'), 'no-policy'),
      billing.refuses(svid('shop/reviews-v2'), 'no-policy'),
      billing.refuses(svid('shop/review'), 'no-policy'),
      billing.refuses(svid('bookinfo-evil/reviews'), 'no-policy'),
      billing.refuses(svid('sm-apigw-a/nettools'), 'no-policy'),
      billing.refuses(svid('spiffe://cluster.local/ns/bookinfo/sa/productpage/more'), 'not-a-workload'),
      billing.refuses(svid('spiffe://cluster.local/host/ns/bookinfo/sa/productpage'), 'not-a-workload'),
      billing.refuses(svid('spiffe://else.where/ns/bookinfo/sa/productpage'), 'trust-domain-mismatch'),
      billing.refuses(svid('spiffe://cluster.local.else/ns/bookinfo/sa/productpage'), 'trust-domain-mismatch'),
      billing.refuses(svid('spiffe://clusterxlocal/ns/bookinfo/sa/productpage'), 'trust-domain-mismatch'),
    ],
  },
  {
    name: 'subjects by the labels of a namespace, and by a Kubernetes Service',
    shows: 'A selector means every namespace with its labels; a Service means the service accounts that it names.',
    manifests: ({ witnessPort }) => `
apiVersion: v1
kind: Namespace
metadata: {name: ward-1, labels: {zone: red}}
---
apiVersion: v1
kind: Namespace
metadata: {name: ward-2, labels: {zone: red, night: "yes"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: kitchen, labels: {zone: blue}}
---
apiVersion: v1
kind: Service
metadata: {name: desk, namespace: lobby, annotations: {alpha.istio.io/kubernetes-serviceaccounts: "porter, guard"}}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: clinic, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: wards, namespace: egress}
spec: {subjects: [{namespaceSelector: {matchLabels: {zone: red}}}], to: [{service: clinic}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: cooks, namespace: egress}
spec: {subjects: [{namespaceSelector: {matchLabels: {zone: blue}}, serviceAccount: cook}], to: [{service: clinic}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: desk, namespace: egress}
spec: {subjects: [{service: {namespace: lobby, name: desk}}], to: [{service: clinic}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.2.1-127.1.2.9]}
${['ward-1', 'ward-2', 'kitchen', 'lobby']
  .map(
    (namespace, index) => `---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: ${namespace}}
spec: {subject: {namespace: ${namespace}}, addresses: [127.1.2.${index + 1}]}
`,
  )
  .join('')}`,
    attempts: [
      clinic.lets(svid('ward-1/nurse'), { from: '127.1.2.1', by: ['egress/wards'] }),
      clinic.lets(svid('ward-2/nurse'), { from: '127.1.2.2', by: ['egress/wards'] }),
      clinic.lets(svid('kitchen/cook'), { from: '127.1.2.3', by: ['egress/cooks'] }),
      clinic.refuses(svid('kitchen/nurse'), 'no-policy'),
      clinic.lets(svid('lobby/porter'), { from: '127.1.2.4', by: ['egress/desk'] }),
      clinic.lets(svid('lobby/guard'), { from: '127.1.2.4', by: ['egress/desk'] }),
      clinic.refuses(svid('lobby/cook'), 'no-policy'),
      clinic.refuses(svid('lobby/guard-2'), 'no-policy'),
    ],
  },
  {
    name: 'policies that add up, across namespaces and for single ports',
    shows: 'Policies only ever allow; a service account has what its namespace has, and more. Ports that no policy names stay closed.',
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: bank, namespace: shop}
spec:
  addresses: [127.0.9.1]
  ports:
    - {name: api, port: 443, targetPort: ${witnessPort}}
    - {port: 22, targetPort: ${witnessPort}}
    - {port: 80, targetPort: ${witnessPort}}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: everyone, namespace: shop}
spec: {subjects: [{namespace: shop}], to: [{service: bank, ports: [api]}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: till, namespace: shop}
spec: {subjects: [{namespace: shop, serviceAccount: till}], to: [{service: bank, ports: [443, 22]}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: auditors, namespace: office}
spec: {subjects: [{namespace: office, serviceAccount: auditor}], to: [{service: bank, namespace: shop}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.3.1-127.1.3.9]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: shop, namespace: shop}
spec: {subject: {namespace: shop}, addresses: [127.1.3.1]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: office, namespace: office}
spec: {subject: {namespace: office}, addresses: [127.1.3.2]}
`,
    attempts: [
      bank(443).lets(svid('shop/clerk'), { from: '127.1.3.1', by: ['shop/everyone'] }),
      bank(443).lets(svid('shop/till'), { from: '127.1.3.1', by: ['shop/everyone', 'shop/till'] }),
      bank(22).lets(svid('shop/till'), { from: '127.1.3.1', by: ['shop/till'] }),
      bank(22).refuses(svid('shop/clerk'), 'no-policy'),
      bank(80).refuses(svid('shop/till'), 'no-policy'),
      bank(80).lets(svid('office/auditor'), { from: '127.1.3.2', by: ['office/auditors'] }),
      bank(22).lets(svid('office/auditor'), { from: '127.1.3.2', by: ['office/auditors'] }),
      bank(443).refuses(svid('office/clerk'), 'no-policy'),
    ],
  },
];
