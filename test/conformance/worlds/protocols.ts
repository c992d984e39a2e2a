/** What a class of gateway can do beside passing bytes on, and who does it where it cannot. */
import { connectTo, sni, svid, unknownToKernel, unserved, way, type Way } from '../rows.ts';
import type { Attempt, Divergence, World } from '../world.ts';

const proxy = way(sni('proxy.egress'), 'egress/proxy:main');
const limited = (authority: string) => way(connectTo(sni('limited.egress'), authority), 'egress/limited:main');
const files = way(sni('files.egress'), 'egress/files:main');
const web = way(sni('web.egress'), 'egress/web:main');

const handsOver: Divergence = { because: 'Envoy cannot serve it, and hands the connection over with its TLS untouched', servedBy: 'beside' };

const byBigip = { ftp: 'data connections of FTP prove nothing at a BIG-IP ([0800](../decisions/0800-how-a-big-ip-enforces-a-plan.md)), and it hands nothing over', connect: 'a BIG-IP reads no CONNECT, and hands nothing over' } as const;
const notByBigip = ['gateway "egress-1" of class bigip relays FTP by data connections that prove nothing, so nobody can use egress/files:main', 'gateway "egress-1" of class bigip cannot limit the authorities of CONNECT, so nobody can use egress/limited:main'];
const byKernel = { ftp: {}, connect: { kernel: unknownToKernel('a kernel reads no CONNECT') } } as const satisfies Record<keyof typeof byBigip, Attempt['but']>;
const notByKernel = ['gateway "egress-1" of class kernel cannot limit the authorities of CONNECT, so nobody can use egress/limited:main'];
/** What Envoy has another do, and others refuse. */
const elsewhere = (there: Way, who: string, what: keyof typeof byBigip): NonNullable<Attempt['but']> => ({ envoy: handsOver, bigip: unserved(there, svid(who), byBigip[what]), ...byKernel[what] });

const manifests = (proxyPort: number, witnessPort: number, network: number): string => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: web, namespace: egress}
spec: {gateway: egress-1, addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: files, namespace: egress}
spec: {gateway: egress-1, addresses: [127.0.9.1], ports: [{name: main, port: 7001, targetPort: ${witnessPort}, protocol: FTP}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: limited, namespace: egress}
spec: {gateway: egress-1, addresses: [127.0.9.2], ports: [{name: main, port: 7002, targetPort: ${proxyPort}, protocol: HTTPConnect}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: open, namespace: egress}
spec: {subjects: [{namespace: readers}], to: [{service: web}, {service: files}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: limits, namespace: egress}
spec: {subjects: [{namespace: readers}, {namespace: writers}], to: [{service: limited}], constraints: {connectAuthorities: ["news.example:443", "*.press.example:443"]}}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.${network}.1-127.1.${network}.9]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: readers}
spec: {subject: {namespace: readers}, pool: pool}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: writers}
spec: {subject: {namespace: writers}, pool: pool}
`;

export const protocolWorlds: readonly World[] = [
  {
    name: 'a forward proxy that decides by itself',
    shows: 'HTTPConnect without limits: whoever may use the proxy may ask it for anything, and its bytes pass unread.',
    manifests: ({ proxyPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: proxy, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 3128, targetPort: ${proxyPort}, protocol: HTTPConnect}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: readers, namespace: egress}
spec: {subjects: [{namespace: readers}], to: [{service: proxy}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.12.1]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: readers}
spec: {subject: {namespace: readers}, pool: pool}
`,
    attempts: [
      way(connectTo(sni('proxy.egress'), 'anything.example:8443'), 'egress/proxy:main').lets(svid('readers/ann'), { from: '127.1.12.1', by: ['egress/readers'] }),
      proxy.refuses(svid('writers/bob'), 'no-policy'),
    ],
  },
  {
    name: 'FTP, and limits on CONNECT, with a gateway of class sallyport beside',
    shows: 'What a class cannot serve as exactly as the plan says it, it hands over; workloads reach it through the same entrance.',
    manifests: ({ proxyPort, witnessPort }) => manifests(proxyPort, witnessPort, 13),
    conditions: { bigip: notByBigip, kernel: notByKernel },
    attempts: [
      web.lets(svid('readers/ann'), { from: '127.1.13.1', by: ['egress/open'] }),
      web.refuses(svid('writers/bob'), 'no-policy'),
      files.lets(svid('readers/ann'), { from: '127.1.13.1', by: ['egress/open'], channel: 'ftp-control', but: elsewhere(files, 'readers/ann', 'ftp') }),
      files.refuses(svid('writers/bob'), 'no-policy', { but: elsewhere(files, 'writers/bob', 'ftp') }),
      limited('news.example:443').lets(svid('readers/ann'), { from: '127.1.13.1', to: '127.0.9.2', by: ['egress/limits'], channel: 'connect', but: elsewhere(limited('news.example:443'), 'readers/ann', 'connect') }),
      limited('late.press.example:443').lets(svid('writers/bob'), { from: '127.1.13.2', to: '127.0.9.2', by: ['egress/limits'], channel: 'connect', but: elsewhere(limited('late.press.example:443'), 'writers/bob', 'connect') }),
      limited('news.example:80').refuses(svid('readers/ann'), 'authority-not-allowed', { by: ['egress/limits'], but: elsewhere(limited('news.example:80'), 'readers/ann', 'connect') }),
      limited('press.example:443').refuses(svid('writers/bob'), 'authority-not-allowed', { by: ['egress/limits'], but: elsewhere(limited('press.example:443'), 'writers/bob', 'connect') }),
      limited('news.example:443').refuses(svid('others/carl'), 'no-policy', { but: elsewhere(limited('news.example:443'), 'others/carl', 'connect') }),
    ],
  },
  {
    name: 'the same, with nobody beside',
    shows: 'What a class cannot serve is refused to everybody, never served as something weaker, and the control plane says so.',
    alone: true,
    manifests: ({ proxyPort, witnessPort }) => manifests(proxyPort, witnessPort, 14),
    conditions: {
      envoy: ['gateway "egress-1" of class envoy cannot relay FTP, so nobody can use egress/files:main', 'gateway "egress-1" of class envoy cannot limit the authorities of CONNECT, so nobody can use egress/limited:main'],
      bigip: notByBigip,
      kernel: notByKernel,
    },
    attempts: [
      web.lets(svid('readers/ann'), { from: '127.1.14.1', by: ['egress/open'] }),
      ...([
        ['Envoy cannot relay FTP', 'ftp', files, files.lets(svid('readers/ann'), { from: '127.1.14.1', by: ['egress/open'], channel: 'ftp-control' })],
        ['Envoy cannot limit what a CONNECT names', 'connect', limited('news.example:443'), limited('news.example:443').lets(svid('writers/bob'), { from: '127.1.14.2', to: '127.0.9.2', by: ['egress/limits'], channel: 'connect' })],
      ] as const).map(([byEnvoy, what, there, attempt]) => ({ ...attempt, but: { envoy: unserved(there, attempt.as, byEnvoy), bigip: unserved(there, attempt.as, byBigip[what]), ...byKernel[what] } })),
    ],
  },
];
