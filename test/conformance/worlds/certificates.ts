/** By what a workload proves who it is. */
import { expired, malformed, notYetValid, oldTls, proxyCertificate, revoked, several, sni, svid, untrusted, way, withoutCertificate, withoutTls } from '../rows.ts';
import type { Attempt, Divergence, MalformedForm, World } from '../world.ts';

const vault = way(sni('vault.egress'), 'egress/vault:main');
const reasonOnly: Divergence = { because: "a line of a BIG-IP's log has the reason, and no more words", words: true };
const byOthers = (envoy: Divergence, bigip: Divergence = reasonOnly): Pick<Attempt, 'but'> => ({ but: { envoy, bigip } });
const libraryWords = byOthers({ because: 'OpenSSL and BoringSSL name a failed handshake in their own words', words: true });
const namesOnly = byOthers({ because: 'Envoy tells the URIs of a certificate, not what else is in it', words: true });

/** What Envoy does not look at. */
const taken = (form: MalformedForm, because: string): Attempt => ({
  ...vault.refuses(malformed(form, 'tellers/ann'), 'certificate-invalid'),
  ...byOthers({ because, expect: vault.lets(malformed(form, 'tellers/ann'), { from: '127.1.11.1', by: ['egress/tellers'] }).expect }),
});

export const certificateWorlds: readonly World[] = [
  {
    name: 'certificates, good and bad',
    shows: 'An identity is proved by one valid certificate with one SPIFFE ID, or not at all. What was refused here is in the ledger with what it asked for, and proved nothing.',
    manifests: ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: vault, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: tellers, namespace: egress}
spec: {subjects: [{namespace: tellers}, {namespace: guards, serviceAccount: night}], to: [{service: vault}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.11.1-127.1.11.9]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: tellers}
spec: {subject: {namespace: tellers}, addresses: [127.1.11.1]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: guards}
spec: {subject: {namespace: guards}, addresses: [127.1.11.2]}
`,
    attempts: [
      vault.lets(svid('tellers/ann'), { from: '127.1.11.1', by: ['egress/tellers'] }),
      vault.lets(svid('guards/night'), { from: '127.1.11.2', by: ['egress/tellers'] }),
      vault.refuses(expired('tellers/ann'), 'certificate-expired', libraryWords),
      vault.refuses(notYetValid('tellers/ann'), 'certificate-not-yet-valid', libraryWords),
      vault.refuses(untrusted('tellers/ann'), 'certificate-untrusted', libraryWords),
      vault.refuses(withoutCertificate, 'certificate-missing', libraryWords),
      ...[several('tellers/ann', 'tellers/bob'), several('tellers/ann', 'guards/night'), several('guards/day', 'tellers/ann')].map((as) => vault.refuses(as, 'certificate-invalid', namesOnly)),
      ...['ann?x=1', 'an%6e', 'ann#x', '..'].map((account) => vault.refuses(svid(`spiffe://cluster.local/ns/tellers/sa/${account}`), 'certificate-invalid', namesOnly)),
      vault.refuses(proxyCertificate('tellers/eve'), 'certificate-invalid', namesOnly),
      vault.refuses(malformed('in-dns-name', 'tellers/ann'), 'certificate-invalid', namesOnly),
      vault.refuses(malformed('without-uri', 'tellers/ann'), 'certificate-invalid', namesOnly),
      vault.refuses(malformed('for-servers-only', 'tellers/ann'), 'certificate-invalid', libraryWords),
      taken('in-dns-name-too', 'Envoy reads the URI, which is signed and names one workload'),
      taken('ca', "Envoy does not ask whether a client's certificate is a CA's; whoever has the key of one could issue itself another"),
      taken('for-clients-only', 'Envoy does not ask whether it is for servers too; of ours only a proxy certificate is not, which has a second URI for that reason ([0600](../decisions/0600-what-envoy-proves-itself-with.md))'),
      vault.refuses(revoked('tellers/carl'), 'certificate-revoked', { but: { bigip: reasonOnly } }),
      vault.lets(svid('tellers/carl'), { from: '127.1.11.1', by: ['egress/tellers'] }),
      vault.refuses(revoked('guards/night'), 'certificate-revoked', { but: { bigip: reasonOnly } }),
      vault.refuses(revoked('strangers/dan'), 'certificate-revoked', { but: { bigip: reasonOnly } }),
      way(sni('nowhere.egress'), null).refuses(expired('tellers/ann'), 'certificate-expired', libraryWords),
      way(sni('nowhere.egress'), null).refuses(revoked('tellers/carl'), 'certificate-revoked', { but: { bigip: reasonOnly } }),
      way(sni('vault.egress'), null).refuses(withoutTls, 'handshake-failed', libraryWords),
      {
        ...way(sni('vault.egress'), null).refuses(oldTls, 'handshake-failed'),
        ...byOthers({ because: 'Envoy reads the SNI before the handshake, OpenSSL tells none of a handshake that failed', expect: vault.refuses(oldTls, 'handshake-failed').expect }),
      },
    ],
  },
];
