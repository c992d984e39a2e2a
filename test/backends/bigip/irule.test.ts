/** The iRule, run by an interpreter that has what iRules have (test/support/bigip/irules.tcl). */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { dataGroupsOf, servedPorts } from '../../../src/backends/bigip/data-groups.ts';
import { iruleText } from '../../../src/backends/bigip/irule-text.ts';
import { fixedNames, pathOf, poolName, snatPoolName } from '../../../src/backends/bigip/names.ts';
import type { Plan } from '../../../src/core/plan/plan.ts';
import { decide } from '../../../src/core/plan/decide.ts';
import { workloadSpiffeId, type SpiffeId } from '../../../src/core/spiffe-id.ts';
import { clientAuth, serverAuth } from '../../../src/core/x509/certificate.ts';
import { parseX509Svid } from '../../../src/core/x509/x509-svid.ts';
import { everyone, ground, someObjects } from '../../core/plan/random-world.ts';
import * as world from '../../core/world.ts';
import { requirePeer } from '../../support/peers.ts';
import { makePki, type LeafOptions } from '../../support/pki.ts';
import { startTcl, type Tcl } from '../../support/bigip/tcl.ts';
import { comeTo, type Caller, type Verdict } from '../../support/bigip/visit.ts';

const partition = 'T';
const gateway = world.gateway('gw', { class: 'bigip', listen: [{ address: '127.0.0.1', port: 15443 }] });
const pki = makePki();
const certificateOf = (id: string, options?: LeafOptions): string => pki.issue(id as SpiffeId, options).certificatePem;
const bookinfo = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';

const plan = world.planOf(
  gateway,
  world.pool('own', ['127.1.0.1-127.1.0.9']),
  world.externalService('egress/bank', { ports: [{ port: 443 }] }),
  world.externalService('egress/own', { ports: [{ port: 444, listen: { address: '127.0.0.1', port: 16443 } }] }),
  world.policy('egress/books', { subjects: [{ namespace: 'bookinfo' }, { namespace: 'poor' }], to: [{ service: 'bank' }] }),
  world.policy('egress/ratings', { subjects: [{ namespace: 'bookinfo', serviceAccount: 'ratings' }], to: [{ service: 'bank' }, { service: 'own' }] }),
  world.binding('bookinfo/own', { subject: { namespace: 'bookinfo' }, pool: 'own' }),
  world.binding('bookinfo/ratings', { subject: { namespace: 'bookinfo', serviceAccount: 'ratings' }, addresses: ['127.1.0.9'] }),
);

describe('the iRule', function () {
  this.timeout(60_000);
  let tcl: Tcl;

  before(async function () {
    tcl = startTcl(requirePeer(this, 'tclsh'));
    await tcl.load(iruleText({ partition, logs: true }));
    await tcl.setObject(pathOf(partition, fixedNames.logPublisher));
  });
  after(() => (tcl as Tcl | undefined)?.stop());
  beforeEach(() => enforce(tcl, plan));

  const came = (caller: Partial<Caller> = {}): Promise<Verdict> => comeTo(tcl, { serverName: 'bank.egress', certificate: certificateOf(bookinfo), ...caller });
  const reasonOf = async (caller: Partial<Caller>) => (await came(caller)).denied?.reason ?? 'allowed';

  it('is written in the Tcl of BIG-IP alone', () => {
    const code = iruleText({ partition, logs: true }).replaceAll(/^\s*#.*$/gm, '');
    for (const newer of [/\{\*\}/, /\s(?:in|ni)\s+[[{"$]/, /\*\*/, /binary scan [^\n]*[cSsIiWw]u/]) assert.doesNotMatch(code, newer);
  });

  it('lets in whom a policy names, with the address that is his', async () => {
    const { allowed, effects } = await came();
    assert.deepEqual(allowed, { pool: '/T/shared/pool_egress_bank_tcp-443', snatPool: '/T/shared/snat_127.1.0.1' });
    assert.deepEqual(effects.map(({ kind }) => kind), ['snatpool', 'pool', 'after'], 'and is silent until the server is there');
  });

  it("takes the service account's grant before its namespace's", async () => {
    const certificate = certificateOf('spiffe://cluster.local/ns/bookinfo/sa/ratings');
    assert.equal((await came({ certificate })).allowed?.snatPool, '/T/shared/snat_127.1.0.9');
  });

  it('finds a service by its own listener whatever the SNI, and by SNI in any spelling', async () => {
    const certificate = certificateOf('spiffe://cluster.local/ns/bookinfo/sa/ratings');
    for (const serverName of [undefined, 'bank.egress', 'nothing']) assert.equal((await came({ certificate, serverName, at: { address: '127.0.0.1', port: 16443 } })).allowed?.pool, '/T/shared/pool_egress_own_tcp-444');
    assert.equal((await came({ certificate, serverName: 'BANK.Egress' })).allowed?.pool, '/T/shared/pool_egress_bank_tcp-443');
    assert.equal(await reasonOf({ certificate, serverName: undefined }), 'no-such-service');
  });

  describe('refuses', () => {
    const uri = (...values: readonly string[]): LeafOptions => ({ names: values.map((value) => ({ type: 'uri', value })) });
    const named = (type: NonNullable<LeafOptions['names']>[number]['type'], value: string): LeafOptions => ({ names: [{ type, value }] });
    const besides = (type: NonNullable<LeafOptions['names']>[number]['type'], value: string): LeafOptions => ({ names: [{ type, value: bookinfo }, { type: 'uri', value }] });
    const rows: readonly (readonly [name: string, reason: string, leaf: LeafOptions])[] = [
      ['a namespace that begins like one that is let in', 'no-policy', uri('spiffe://cluster.local/ns/bookinfo-evil/sa/reviews')],
      ['a namespace that one that is let in begins with', 'no-policy', uri('spiffe://cluster.local/ns/book/sa/info')],
      ['whom a policy names and no binding', 'no-snat-binding', uri('spiffe://cluster.local/ns/poor/sa/any')],
      ['another trust domain', 'trust-domain-mismatch', uri('spiffe://cluster.local.example/ns/bookinfo/sa/reviews')],
      ['what is no workload', 'not-a-workload', uri('spiffe://cluster.local/ns/bookinfo/sa/reviews/more')],
      ['a path that only ends like a workload', 'not-a-workload', uri('spiffe://cluster.local/x/ns/bookinfo/sa/reviews')],
      ['several URIs', 'certificate-invalid', uri(bookinfo, 'spiffe://cluster.local/ns/other/sa/any')],
      ['the same URI twice', 'certificate-invalid', uri(bookinfo, bookinfo)],
      ['a URI in another kind of name', 'certificate-invalid', named('other', bookinfo)],
      ['a URI in a directory name', 'certificate-invalid', named('directory', bookinfo)],
      ['a URI in another kind of name, beside another identity', 'no-policy', besides('other', 'spiffe://cluster.local/ns/evil/sa/any')],
      ['a URI in a directory name, beside another identity', 'no-policy', besides('directory', 'spiffe://cluster.local/ns/evil/sa/any')],
      ['a URI in a DNS name', 'certificate-invalid', named('dns', bookinfo)],
      ['a URI in a DNS name beside the same as a URI', 'certificate-invalid', besides('dns', bookinfo)],
      ['a URI in a DNS name in upper case, beside the same', 'certificate-invalid', { names: [{ type: 'dns', value: bookinfo.toUpperCase() }, { type: 'uri', value: bookinfo }] }],
      ['no URI', 'certificate-invalid', named('dns', 'reviews.bookinfo')],
      ['an empty URI', 'certificate-invalid', uri('')],
      ['upper case in the scheme', 'certificate-invalid', uri('SPIFFE://cluster.local/ns/bookinfo/sa/reviews')],
      ['upper case in the trust domain', 'certificate-invalid', uri('spiffe://Cluster.local/ns/bookinfo/sa/reviews')],
      ['upper case in the namespace', 'no-policy', uri('spiffe://cluster.local/ns/Bookinfo/sa/reviews')],
      ['a byte of zero', 'certificate-invalid', uri(`${bookinfo}\0.evil`)],
      ['a byte of zero within', 'certificate-invalid', uri('spiffe://cluster.local/ns/book\0info/sa/reviews')],
      ['a line feed at the end', 'certificate-invalid', uri(`${bookinfo}\n`)],
      ['a space', 'certificate-invalid', uri('spiffe://cluster.local/ns/bookinfo evil/sa/reviews')],
      ['a bracket, which Tcl would evaluate', 'certificate-invalid', uri('spiffe://cluster.local/ns/[reject]/sa/$reviews')],
      ['bytes beyond ASCII', 'certificate-invalid', uri('spiffe://cluster.local/ns/b\xf6\xf6kinfo/sa/reviews')],
      ['a path that goes up', 'certificate-invalid', uri('spiffe://cluster.local/ns/evil/../bookinfo/sa/reviews')],
      ['an empty segment', 'certificate-invalid', uri('spiffe://cluster.local/ns/bookinfo//sa/reviews')],
      ['a slash at the end', 'certificate-invalid', uri(`${bookinfo}/`)],
      ['a query', 'certificate-invalid', uri(`${bookinfo}?sa=other`)],
      ['a port', 'certificate-invalid', uri('spiffe://cluster.local:443/ns/bookinfo/sa/reviews')],
      ['a trust domain alone', 'certificate-invalid', uri('spiffe://cluster.local')],
      ['a URI longer than a SPIFFE ID', 'certificate-invalid', uri(`${bookinfo}${'s'.repeat(2_048)}`)],
      ['a CA', 'certificate-invalid', { ca: true }],
      ['a key that may sign certificates', 'certificate-invalid', { keyUsage: (1 << 0) | (1 << 5) }],
      ['a key that may not sign', 'certificate-invalid', { keyUsage: 1 << 2 }],
      ['a certificate for clients only', 'certificate-invalid', { extendedKeyUsage: [clientAuth] }],
      ['a certificate for servers only', 'certificate-invalid', { extendedKeyUsage: [serverAuth] }],
    ];
    for (const [name, reason, leaf] of rows) {
      it(name, async () => {
        const certificatePem = certificateOf(bookinfo, leaf);
        const { denied } = await came({ certificate: certificatePem });
        const svid = parseX509Svid(new X509Certificate(certificatePem).raw);
        assert.deepEqual([denied?.reason, denied?.spiffeId, denied?.service, denied?.revision], [reason, svid.ok ? svid.svid.spiffeId : null, 'egress/bank:tcp-443', plan.revision]);
      });
    }

    it('whoever shows no certificate, also on resumption', async () => {
      for (const resumes of [false, true]) assert.equal(await reasonOf({ certificate: undefined, resumes }), 'certificate-missing');
    });

    it('a chain that did not verify, should the profile let it pass', async () => {
      const reasons = { 9: 'certificate-not-yet-valid', 10: 'certificate-expired', 18: 'certificate-untrusted', 20: 'certificate-untrusted', 23: 'certificate-revoked', 26: 'certificate-invalid' };
      for (const [code, reason] of Object.entries(reasons)) assert.equal(await reasonOf({ verifyResult: Number(code) }), reason);
    });

    it('what its data groups name and the box does not have', async () => {
      await tcl.drop('/T/shared/snat_127.1.0.1');
      assert.equal(await reasonOf({}), 'no-gateway');
    });
  });

  it('decides on resumption as on a handshake in full', async () => {
    assert.ok((await came({ resumes: true })).allowed !== null);
    assert.equal(await reasonOf({ resumes: true, certificate: certificateOf('spiffe://cluster.local/ns/evil/sa/any') }), 'no-policy');
  });

  it('decides as the plan does, for anyone, at any place, in any world', async () => {
    const certificates = new Map(everyone.map((who) => [who, certificateOf(workloadSpiffeId(world.trustDomain, who))]));
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(someObjects, async (objects) => {
        const { compiled } = world.build(world.state(...[...ground, ...objects].map((object) => (object.kind === 'EgressGateway' ? gateway : object))));
        fc.pre(compiled.ok);
        await enforce(tcl, compiled.plan);
        for (const servicePort of compiled.plan.servicePorts.filter((each) => each.gateway === 'gw')) {
          for (const who of everyone) {
            const decision = decide(servicePort, workloadSpiffeId(world.trustDomain, who), world.trustDomain);
            const { allowed, denied } = await came({ serverName: servicePort.serverNames[0], certificate: certificates.get(who) });
            if (decision.allowed) assert.deepEqual(allowed, { pool: pathOf(partition, poolName(servicePort)), snatPool: pathOf(partition, snatPoolName(decision.grant.snat)) });
            else assert.deepEqual([denied?.reason, denied?.service, denied?.policies], [decision.reason, servicePort.id, decision.grant?.policies ?? []]);
            compared += 1;
          }
        }
      }),
      { numRuns: 12 },
    );
    assert.ok(compared > 500);
  });
});

/** Puts everything onto the box that the plan names. */
async function enforce(tcl: Tcl, enforced: Plan): Promise<void> {
  const [bigip] = enforced.gateways;
  const { served } = servedPorts(enforced, bigip!);
  const groups = dataGroupsOf(enforced, bigip!, partition, served);
  for (const name of ['services', 'grants', 'settings'] as const) await tcl.setGroup(pathOf(partition, fixedNames[name]), groups[name]);
  for (const { pool, departures, servicePort } of served) {
    if (pool !== null) await tcl.setPool(pathOf(partition, pool), servicePort.targets.map((target) => ({ address: target.kind === 'address' ? target.address : target.host, port: target.port })));
    for (const source of departures.sources.values()) await tcl.setObject(pathOf(partition, snatPoolName(source)));
  }
}
