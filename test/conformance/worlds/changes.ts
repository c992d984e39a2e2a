/** What becomes of connections that live when the plan changes. */
import { enrolled, sni, svid } from '../rows.ts';
import { deadAddress, type Change, type Life, type World } from '../world.ts';

const bank = sni('bank.egress');
const post = sni('post.egress');

const stays = (as: Life['as'], to: Life['to'], but?: Life['but']): Life => ({ as, to, ends: 'finished', ...(but === undefined ? {} : { but }) });
const ends = (as: Life['as'], to: Life['to'], reason: Life['ends'], but?: Life['but']): Life => ({ as, to, ends: reason, ...(but === undefined ? {} : { but }) });

interface State {
  /** Policies that let the namespace shop, or one service account of it, use the bank. */
  readonly shopPolicies?: readonly { readonly name: string; readonly subject: string }[];
  readonly deskAddress?: string;
  /** Of the service account shop/clerk, where it has one of its own. */
  readonly clerkAddress?: string;
  /** Of the post; none: there is no such service. */
  readonly postAddresses?: readonly string[];
}

const wholeShop = { name: 'shop', subject: '{namespace: shop}' };
const bindingOf = (namespace: string, subject: string, address: string): string => `---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: ${subject.replaceAll(/[^a-z]+/gi, '-').replaceAll(/^-|-$/g, '').toLowerCase()}, namespace: ${namespace}}
spec: {subject: ${subject}, addresses: [${address}]}
`;
const policy = (name: string, subject: string, service: string): string => `---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: ${name}, namespace: egress}
spec: {subjects: [${subject}], to: [{service: ${service}}]}
`;

const state = ({ shopPolicies = [wholeShop], deskAddress = '127.1.15.2', clerkAddress, postAddresses = ['127.0.9.1', '127.0.9.2', deadAddress] }: State): World['manifests'] => ({ witnessPort }) => `
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [127.1.15.1-127.1.15.9]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: bank, namespace: egress}
spec: {addresses: [127.0.9.1], ports: [{name: main, port: 7000, targetPort: ${witnessPort}}]}
${shopPolicies.map(({ name, subject }) => policy(name, subject, 'bank')).join('')}${policy('desk', '{namespace: desk}', 'bank')}${
  postAddresses.length === 0
    ? ''
    : `---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: post, namespace: egress}
spec: {addresses: [${postAddresses.join(', ')}], ports: [{name: main, port: 7001, targetPort: ${witnessPort}}]}
${policy('mail', '{namespace: mail}', 'post')}`
}${bindingOf('shop', '{namespace: shop}', '127.1.15.1')}${bindingOf('desk', '{namespace: desk}', deskAddress)}${bindingOf('mail', '{namespace: mail}', '127.1.15.3')}${
  clerkAddress === undefined ? '' : bindingOf('shop', '{namespace: shop, serviceAccount: clerk}', clerkAddress)
}`;

const [till, clerk, desk, mail] = [svid('shop/till'), svid('shop/clerk'), svid('desk/any'), svid('mail/any')];
const again = { name: 'shop-again', subject: '{namespace: shop}' };

export const changes: readonly Change[] = [
  { name: 'a policy says what another says already', from: state({}), to: state({ shopPolicies: [wholeShop, again] }), lives: [stays(till, bank), stays(desk, bank)] },
  { name: 'one of two policies that say the same is deleted', from: state({ shopPolicies: [wholeShop, again] }), to: state({ shopPolicies: [again] }), lives: [stays(till, bank), stays(desk, bank)] },
  { name: 'the last policy that names it is deleted', from: state({}), to: state({ shopPolicies: [] }), lives: [ends(till, bank, 'policy-revoked'), stays(desk, bank), stays(mail, post)] },
  {
    name: 'a policy names a service account instead of its namespace',
    from: state({}),
    to: state({ shopPolicies: [{ name: 'shop', subject: '{namespace: shop, serviceAccount: till}' }] }),
    lives: [ends(clerk, bank, 'policy-revoked'), stays(till, bank, { envoy: { because: 'its filter chain was that of its namespace, which has gone', ends: 'policy-revoked' } }), stays(desk, bank)],
  },
  { name: 'its binding names another address', from: state({}), to: state({ deskAddress: '127.1.15.5' }), lives: [ends(desk, bank, 'policy-revoked'), stays(till, bank)] },
  {
    name: 'a service account gets an address of its own',
    from: state({}),
    to: state({ clerkAddress: '127.1.15.6' }),
    lives: [ends(clerk, bank, 'policy-revoked', { envoy: { because: 'it lives in the filter chain of its namespace, which is still there ([0610](../decisions/0610-envoy-as-a-gateway.md))', ends: 'finished' } }), stays(till, bank)],
  },
  { name: 'the address that it has reached is taken from the service', from: state({}), to: state({ postAddresses: ['127.0.9.2', deadAddress] }), lives: [ends(mail, post, 'target-removed'), stays(till, bank)] },
  {
    name: 'another address is taken from the service',
    from: state({}),
    to: state({ postAddresses: ['127.0.9.1', deadAddress] }),
    lives: [stays(mail, post, { envoy: { because: 'a filter chain has all addresses of its service, and goes with any of them ([0610](../decisions/0610-envoy-as-a-gateway.md))', ends: 'policy-revoked' } }), stays(till, bank)],
  },
  { name: 'the service is deleted', from: state({}), to: state({ postAddresses: [] }), lives: [ends(mail, post, 'policy-revoked'), stays(till, bank)] },
  {
    name: 'its certificate is revoked',
    from: state({}),
    to: state({}),
    revokes: 'spiffe://cluster.local/ns/mail/sa/thief',
    lives: [
      ends(enrolled('mail/thief'), post, 'certificate-revoked'),
      stays(mail, post, { envoy: { because: "all of a namespace's connections to that service begin anew ([0613](../decisions/0613-revoked-certificates-at-envoy.md))", ends: 'policy-revoked' } }),
      stays(till, bank),
    ],
  },
];
