/** `manifests/examples` as they stand, but for what loopback needs: each address in 127.0.0.0/8, the witness's port at the far end, and the class's own gateway. */
import { readFileSync } from 'node:fs';
import { sni, svid, unknownToKernel, unserved, way } from '../rows.ts';
import type { Attempt, Divergence, World } from '../world.ts';

const exampleOf = (name: string): string => readFileSync(new URL(`../../../manifests/examples/${name}`, import.meta.url), 'utf8');

/** Throws where an example has no such text any more. */
function replace(text: string, from: string | RegExp, to: string): string {
  const replaced = text.replaceAll(from, to);
  if (replaced === text) throw new Error(`${String(from)} is not in the example`);
  return replaced;
}

const onLoopback = (text: string): string => text.replaceAll(/\b(10|192|203)\.([0-9]+\.[0-9]+\.[0-9]+)\b/g, '127.$2');
const withoutGateway = (text: string): string => text.split(/^---$/m).filter((document) => !/^kind: EgressGateway$/m.test(document)).join('---');

const proxy = way(sni('outbound_.3128_._.bigip-proxy-svc.bookinfo.svc.cluster.local'), 'bookinfo/bigip-proxy-svc:httpconnect-3128');
const partner = way(sni('outbound_.21_._.partner-ftp.payments.svc.cluster.local'), 'payments/partner-ftp:control');
const older = way(sni('my-external-service1.external-services.svc.cluster.local'), 'external-services/my-external-service1:tcp-8000');

const handsOver: Divergence = { because: 'Envoy cannot relay FTP, and hands the connection over with its TLS untouched', servedBy: 'beside' };

const byOthers = (who: string): NonNullable<Attempt['but']> => ({ envoy: handsOver, bigip: unserved(partner, svid(who), 'a BIG-IP cannot limit what FTP sessions may do, and keeps to no block of source ports'), kernel: unknownToKernel('a kernel knows services by their addresses only') });

export const exampleWorlds: readonly World[] = [
  {
    example: 'bookinfo-forward-proxy.yaml',
    name: 'the example of a forward proxy',
    shows: 'One namespace goes through the forward proxy of its organisation, and nobody else does.',
    manifests: ({ witnessPort }) => replace(onLoopback(withoutGateway(exampleOf('bookinfo-forward-proxy.yaml'))), '- port: 3128', `- port: 3128\n      targetPort: ${witnessPort}`),
    attempts: [
      proxy.lets(svid('bookinfo/bookinfo-productpage'), { from: '127.4.0.65', to: '127.4.0.201', by: ['bookinfo/bookinfo-to-proxy'] }),
      proxy.lets(svid('bookinfo/bookinfo-reviews'), { from: '127.4.0.65', to: '127.4.0.201', by: ['bookinfo/bookinfo-to-proxy'] }),
      proxy.refuses(svid('sm-apigw-a/nettools'), 'no-policy'),
      proxy.refuses(svid('bookinfo-2/bookinfo-productpage'), 'no-policy'),
    ],
  },
  {
    example: 'ftp-partner.yaml',
    name: 'the example of an FTP partner',
    shows: 'Two service accounts share the one address that a partner lets in, each with source ports of its own.',
    manifests: ({ witnessPort }) => replace(replace(onLoopback(exampleOf('ftp-partner.yaml')), 'ftp.partner.example', 'localhost'), 'port: 21', `port: 21\n      targetPort: ${witnessPort}`),
    conditions: { bigip: ['gateway "egress-1" of class bigip cannot limit what FTP sessions may do, so nobody can use payments/partner-ftp:control'], kernel: ['gateway "egress-1" of class kernel knows services by their addresses only, so nobody can use payments/partner-ftp:control'] },
    attempts: [
      partner.lets(svid('payments/statement-archive'), { from: '127.0.113.20', ports: { first: 1_024, last: 5_119 }, to: '127.0.0.1', channel: 'ftp-control', by: ['payments/statements-to-partner'], but: byOthers('payments/statement-archive') }),
      partner.lets(svid('payments/statement-upload'), { from: '127.0.113.20', ports: { first: 5_120, last: 9_215 }, to: '127.0.0.1', channel: 'ftp-control', by: ['payments/statements-to-partner'], but: byOthers('payments/statement-upload') }),
      partner.refuses(svid('payments/statement-reader'), 'no-policy', { but: byOthers('payments/statement-reader') }),
    ],
  },
  {
    example: 'older-external-service.yaml',
    name: 'the example of the older form',
    shows: 'The older form, with the Kubernetes Services that its sources name.',
    manifests: ({ witnessPort }) => `${replace(onLoopback(exampleOf('older-external-service.yaml')), 'port: 8000,', `port: ${witnessPort},`)}
---
apiVersion: v1
kind: Service
metadata: {name: my-service1, namespace: ns1, annotations: {alpha.istio.io/kubernetes-serviceaccounts: "first"}}
---
apiVersion: v1
kind: Service
metadata: {name: my-service2, namespace: ns2, annotations: {alpha.istio.io/kubernetes-serviceaccounts: "second"}}
`,
    attempts: [
      older.lets(svid('ns1/first'), { from: '127.168.122.200', to: '127.168.122.139', by: ['external-services/my-external-service1'] }),
      older.lets(svid('ns2/second'), { from: '127.168.122.201', to: '127.168.122.139', by: ['external-services/my-external-service1'] }),
      older.refuses(svid('ns1/second'), 'no-policy'),
      older.refuses(svid('ns2/first'), 'no-policy'),
    ],
  },
];
