/** What goes on within a session, or comes the other way: datagrams, FTP's data connections, FTPS, and the way back. */
import { inManner, sni, svid, unknownToKernel, unserved, way, type Way } from '../rows.ts';
import type { Attempt, Credential, Departure, Places, World } from '../world.ts';

const resolver = way(inManner('datagram', sni('outbound_.7000_.udp_.resolver.egress')), 'egress/resolver:questions');
const resolverByTcp = way(sni('resolver.egress'), 'egress/resolver:main');
const files = way(inManner('ftp', sni('files.egress')), 'egress/files:main');
const secured = way(inManner('ftp', sni('secured.egress')), 'egress/secured:main');
const sealed = way(inManner('ftps', sni('outbound_.7003_._.sealed.egress')), 'egress/sealed:main');
const sealedData = way(sni('outbound_.{witnessPort}_._.sealed.egress'), 'egress/sealed:main-{witnessPort}');
const callback = way(inManner('reverse', sni('reverse_.{reversePort}_._.callback.egress')), 'egress/callback:back');

const indented = (text: string): string => text.trim().replaceAll(/^/gm, '          ');

const manifests = ({ witnessPort, reversePort, caCertificates }: Places, network: number): string => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: resolver, namespace: egress}
spec:
  gateway: egress-1
  addresses: [127.0.9.1]
  ports: [{name: questions, port: 7000, targetPort: ${witnessPort}, protocol: UDP}, {name: main, port: 7000, targetPort: ${witnessPort}}]
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: files, namespace: egress}
spec: {gateway: egress-1, addresses: [127.0.9.2], ports: [{name: main, port: 7001, targetPort: ${witnessPort}, protocol: FTP}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: secured, namespace: egress}
spec:
  gateway: egress-1
  addresses: [127.0.9.1]
  ports:
    - name: main
      port: 7002
      targetPort: ${witnessPort}
      protocol: FTPS
      tls:
        caCertificates: |
${indented(caCertificates)}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: sealed, namespace: egress}
spec:
  gateway: egress-1
  addresses: [127.0.9.2]
  ports:
    - name: main
      port: 7003
      targetPort: ${witnessPort}
      protocol: FTPS
      tls: {mode: PassThrough, dataPorts: {first: ${witnessPort}, last: ${witnessPort}}}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: callback, namespace: egress}
spec: {gateway: egress-1, addresses: [127.0.9.2], ports: [{name: main, port: 7004, targetPort: ${witnessPort}}], reverse: [{name: back, port: ${reversePort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: open, namespace: egress}
spec: {subjects: [{namespace: readers}, {namespace: writers, serviceAccount: bob}], to: [{service: resolver}, {service: files}, {service: secured}, {service: sealed}, {service: callback}]}
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
metadata: {name: bob, namespace: writers}
spec: {subject: {namespace: writers, serviceAccount: bob}, pool: pool}
`;

const [ann, bob, carl] = [svid('readers/ann'), svid('writers/bob'), svid('writers/carl')];

const handsNothingOver = 'and a BIG-IP hands nothing over';
const notByBigip = [
  'gateway "egress-1" of class bigip cannot relay UDP, so nobody can use egress/resolver:questions',
  'gateway "egress-1" of class bigip relays FTP by data connections that prove nothing, so nobody can use egress/files:main',
  'gateway "egress-1" of class bigip cannot secure FTP towards the server, so nobody can use egress/secured:main',
  'gateway "egress-1" of class bigip cannot let a service connect to workloads, so nobody can use egress/callback:back',
];

const notByKernel = ['gateway "egress-1" of class kernel cannot secure FTP towards the server, so nobody can use egress/secured:main'];

/** What Envoy leaves to the gateway beside it and others refuse, and why; null where they do not. */
const sessions: readonly { readonly there: Way; readonly passage: { readonly to?: string; readonly channel: Departure['channel'] }; readonly why: string; readonly byBigip: string | null; readonly byKernel?: string }[] = [
  { there: resolver, passage: { channel: 'udp' }, why: 'Envoy cannot relay UDP', byBigip: 'a BIG-IP takes no datagrams out of a TLS connection, and hands nothing over' },
  { there: files, passage: { to: '127.0.9.2', channel: 'ftp-control' }, why: 'Envoy cannot relay FTP', byBigip: `data connections of FTP prove nothing there ([0800](../decisions/0800-how-a-big-ip-enforces-a-plan.md)), ${handsNothingOver}` },
  { there: secured, passage: { channel: 'ftp-control' }, why: 'Envoy cannot relay FTP', byBigip: `a BIG-IP cannot secure FTP towards the server, ${handsNothingOver}`, byKernel: 'a kernel secures nothing' },
  { there: sealed, passage: { to: '127.0.9.2', channel: 'ftp-control' }, why: 'Envoy cannot relay FTP', byBigip: null },
  { there: sealedData, passage: { to: '127.0.9.2', channel: 'stream' }, why: 'a data port is served where its control port is', byBigip: null },
  { there: callback, passage: { to: '127.0.9.2', channel: 'reverse' }, why: 'Envoy cannot let a service connect to workloads', byBigip: 'a BIG-IP cannot let a service connect to workloads, and hands nothing over' },
];

const refusedByBigip = (there: Way, as: Credential, why: string | null): NonNullable<Attempt['but']> => (why === null ? {} : { bigip: unserved(there, as, why) });
const unknownThere = (because: string | undefined): NonNullable<Attempt['but']> => (because === undefined ? {} : { kernel: unknownToKernel(because) });

export const sessionWorlds: readonly World[] = [
  {
    name: 'datagrams, data connections and the way back, with a gateway of class sallyport beside',
    shows: "UDP, a file over FTP, over FTP that the gateway secures, FTP that the workload secures itself, and connections from the service to the workload: all from and to the identity's own address.",
    manifests: (places) => manifests(places, 17),
    conditions: { bigip: notByBigip, kernel: notByKernel },
    attempts: [
      ...sessions.flatMap(({ there, passage, why, byBigip, byKernel }) => {
        const but = (as: Credential) => ({ envoy: { because: `${why}, so the connection is handed over with its TLS untouched`, servedBy: 'beside' }, ...refusedByBigip(there, as, byBigip), ...unknownThere(byKernel) }) as const;
        return [
          there.lets(ann, { from: '127.1.17.1', by: ['egress/open'], ...passage, but: but(ann) }),
          there.lets(bob, { from: '127.1.17.2', by: ['egress/open'], ...passage, but: but(bob) }),
          there.refuses(carl, 'no-policy', { but: but(carl) }),
        ];
      }),
      resolverByTcp.lets(ann, { from: '127.1.17.1', by: ['egress/open'] }),
      resolverByTcp.refuses(carl, 'no-policy'),
    ],
  },
  {
    name: 'datagrams, data connections and the way back, with nobody beside',
    shows: 'What a class cannot serve is refused to everybody, the TCP port of the same number is not.',
    alone: true,
    manifests: (places) => manifests(places, 18),
    conditions: {
      envoy: [
        'gateway "egress-1" of class envoy cannot relay UDP, so nobody can use egress/resolver:questions',
        ...['files', 'secured', 'sealed'].map((service) => `gateway "egress-1" of class envoy cannot relay FTP, so nobody can use egress/${service}:main`),
        'gateway "egress-1" of class envoy cannot let a service connect to workloads, so nobody can use egress/callback:back',
      ],
      bigip: notByBigip,
      kernel: notByKernel,
    },
    attempts: [
      ...sessions.map(({ there, passage, why, byBigip, byKernel }) => there.lets(ann, { from: '127.1.18.1', by: ['egress/open'], ...passage, but: { envoy: unserved(there, ann, why), ...refusedByBigip(there, ann, byBigip), ...unknownThere(byKernel) } })),
      resolverByTcp.lets(ann, { from: '127.1.18.1', by: ['egress/open'] }),
    ],
  },
];
