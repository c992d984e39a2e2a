/** The iRule, run by an interpreter that has what iRules have (test/support/bigip/irules.tcl). */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { dataGroupsOf, servedPorts } from '../../../src/backends/bigip/data-groups.ts';
import { iruleText } from '../../../src/backends/bigip/irule-text.ts';
import { fixedNames, pathOf, poolName, snatPoolName } from '../../../src/backends/bigip/names.ts';
import { readLogLine, type BigipRecord } from '../../../src/backends/bigip/log-line.ts';
import type { ConnectionDenied } from '../../../src/core/ledger-record.ts';
import type { Plan, Revision } from '../../../src/core/plan/plan.ts';
import { createSyslogDeframer } from '../../../src/core/syslog/framing.ts';
import { parseSyslogMessage } from '../../../src/core/syslog/message.ts';
import { decide } from '../../../src/core/plan/decide.ts';
import type { RevokedCertificate } from '../../../src/core/revoked-certificate.ts';
import { workloadSpiffeId } from '../../../src/core/spiffe-id.ts';
import { clientAuth, extension, extensionIds, keyUsages, serverAuth } from '../../../src/core/x509/certificate.ts';
import { bitString, boolean, constructed, integer, namedBits, objectIdentifier, octetString, primitive, sequence, time, utf8String } from '../../../src/core/x509/der.ts';
import { parseX509Svid } from '../../../src/core/x509/x509-svid.ts';
import { everyone, ground, someObjects } from '../../core/plan/random-world.ts';
import * as world from '../../core/world.ts';
import { requirePeer } from '../../support/peers.ts';
import { makePki, type LeafOptions } from '../../support/pki.ts';
import { startTcl, type Effect, type Facts, type IruleEvent, type Tcl } from '../../support/bigip/tcl.ts';
import { comeTo, serverNameExtension, type Caller, type Verdict } from '../../support/bigip/visit.ts';

const partition = 'T';
const gateway = world.gateway('gw', { class: 'bigip', listen: [{ address: '127.0.0.1', port: 15443 }] });
const pki = makePki();
const certificateOf = (id: string, options?: LeafOptions): string => pki.issue(id, options).certificatePem;
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

const other = 'b'.repeat(64) as Revision;

interface Difference {
  readonly subjects?: readonly { readonly namespace: string }[];
  readonly address?: string;
  readonly service?: string;
  readonly target?: string;
}
/** One service of one namespace's. */
const planWith = ({ subjects = [{ namespace: 'bookinfo' }, { namespace: 'more' }], address = '127.1.0.1', service = 'bank', target = '198.51.100.7' }: Difference): Plan =>
  world.planOf(
    gateway,
    world.pool('own', ['127.1.0.1-127.1.0.9']),
    world.externalService(`egress/${service}`, { addresses: [target], ports: [{ port: 443 }] }),
    world.policy('egress/books', { subjects: [...subjects], to: [{ service }] }),
    world.binding('bookinfo/own', { subject: { namespace: 'bookinfo' }, addresses: [address] }),
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

    it('a certificate whose serial number is revoked, and no other of its identity', async () => {
      const [stolen, other] = [certificateOf(bookinfo), certificateOf(bookinfo)];
      await enforce(tcl, plan, [stolen]);
      const { denied } = await came({ certificate: stolen });
      assert.deepEqual([denied?.reason, denied?.spiffeId, denied?.service], ['certificate-revoked', bookinfo, 'egress/bank:tcp-443']);
      assert.equal(await reasonOf({ certificate: other }), 'allowed');
      assert.equal(await reasonOf({ certificate: stolen, resumes: true }), 'certificate-revoked', 'also on resumption');
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

  describe('tells the ledger', () => {
    const accepted: Facts = { clientAddress: '10.1.0.1', clientPort: 40_000, virtualAddress: '127.0.0.1', virtualPort: 15443 };
    const connected: Facts = { snatAddress: '127.1.0.1', snatPort: 50_000, targetAddress: '198.51.100.7', targetPort: 443 };
    let id = 1_000_000;
    /** What every event brings about, as far as it goes. */
    async function lives(more: Facts, ...events: readonly (readonly [event: IruleEvent, facts?: Facts])[]): Promise<readonly Effect[]> {
      id += 1;
      const effects: Effect[] = [];
      const hello: Facts = { serverNameExtension: serverNameExtension('bank.egress'), certificate: certificateOf(bookinfo), verifyResult: 0, ...more };
      for (const [event, facts] of [['CLIENT_ACCEPTED', { ...accepted, ...hello }], ...events] as const) effects.push(...(await tcl.event(id, event, facts)));
      assert.deepEqual(effects.filter(({ kind }) => kind === 'error'), []);
      return effects;
    }
    const letIn = [['CLIENTSSL_CLIENTHELLO'], ['CLIENTSSL_CLIENTCERT'], ['CLIENTSSL_HANDSHAKE']] as const;
    const common = () => ({ origin: 'gw', revision: plan.revision, client: '10.1.0.1:40000', spiffeId: bookinfo, service: 'egress/bank:tcp-443', policies: ['egress/books'] });
    const ends = { snatAddress: '127.1.0.1', snatPort: 50_000, target: '198.51.100.7:443' };
    const told = (effects: readonly Effect[]): readonly object[] => recordsOf(effects).map(({ time, connectionId, ...rest }) => ('durationMs' in rest ? { ...rest, durationMs: 0 } : rest));

    it('of a connection when its source address and port are known, and when it has ended', async () => {
      const effects = await lives({}, ...letIn, ['SERVER_CONNECTED', connected], ['SERVER_CLOSED', { bytesIn: 20, bytesOut: 10 }], ['CLIENT_CLOSED']);
      assert.deepEqual(told(effects), [
        { type: 'connection-opened', ...common(), ...ends, channel: 'stream' },
        { type: 'connection-closed', ...common(), ...ends, reason: 'finished', bytesSent: 10, bytesReceived: 20, durationMs: 0 },
      ]);
      const [opened, closed] = recordsOf(effects);
      assert.equal(opened!.connectionId, closed!.connectionId);
      assert.deepEqual(effects.at(-1)!.kind, 'cancel', 'and watches it no longer');
    });

    it('of IPv6, and of addresses in a route domain', async () => {
      const effects = await lives({ clientAddress: '2001:db8::9%2', snatAddress: '2001:db8::1%2', snatPort: 1_025, targetAddress: '2001:db8::2%2', targetPort: 443 }, ...letIn, ['SERVER_CONNECTED']);
      assert.deepEqual(told(effects), [{ type: 'connection-opened', ...common(), client: '[2001:db8::9]:40000', snatAddress: '2001:db8::1', snatPort: 1_025, target: '[2001:db8::2]:443', channel: 'stream' }]);
    });

    it('of one that could not be made', async () => {
      const effects = await lives({}, ...letIn, ['LB_FAILED'], ['CLIENT_CLOSED']);
      assert.deepEqual(told(effects).map((record) => (record as ConnectionDenied).reason), ['connect-failed']);
    });

    it('of one whose client went before the server was there', async () => {
      const effects = await lives({}, ...letIn, ['CLIENT_CLOSED']);
      assert.deepEqual(told(effects).map((record) => (record as ConnectionDenied).reason), ['client-closed']);
    });

    it('what was asked for, in ASCII, whatever that is', async () => {
      for (const name of ['a"b\\c', 'x\n{y}[z]$w', '\0\u00ff\u007f', '}', '"'.repeat(200)]) {
        const effects = await lives({ serverNameExtension: serverNameExtension(name) }, ...letIn);
        const [line] = effects.flatMap((effect) => (effect.kind === 'send' ? [effect.line] : []));
        assert.match(line!, /^[\x20-\x7e]*$/);
        assert.equal((JSON.parse(line!.slice(line!.indexOf('{'))) as { readonly target: string }).target, name.toLowerCase());
        assert.equal(recordsOf(effects).length, 1);
      }
    });

    it('why a handshake failed, as far as the box knows, and whom the certificate names', async () => {
      const reasonOfEnd = async (more: Facts, ...events: readonly (readonly [IruleEvent])[]) => {
        const [record, ...others] = recordsOf(await lives(more, ...events, ['CLIENT_CLOSED']));
        assert.deepEqual(others, []);
        assert.ok(record?.type === 'connection-denied');
        return [record.reason, record.spiffeId, record.service];
      };
      assert.deepEqual(await reasonOfEnd({}), ['handshake-failed', null, null]);
      assert.deepEqual(await reasonOfEnd({}, ['CLIENTSSL_CLIENTHELLO']), ['handshake-failed', null, 'egress/bank:tcp-443']);
      assert.deepEqual(await reasonOfEnd({ certificate: '' }, ['CLIENTSSL_CLIENTHELLO'], ['CLIENTSSL_CLIENTCERT']), ['certificate-missing', null, 'egress/bank:tcp-443']);
      assert.deepEqual(await reasonOfEnd({ verifyResult: 10 }, ['CLIENTSSL_CLIENTHELLO'], ['CLIENTSSL_CLIENTCERT']), ['certificate-expired', bookinfo, 'egress/bank:tcp-443']);
    });

    it('nothing, where nobody is to be told', async () => {
      await tcl.load(iruleText({ partition, logs: false }));
      try {
        assert.deepEqual((await lives({ certificate: '' }, ...letIn)).map(({ kind }) => kind), ['reject']);
      } finally {
        await tcl.load(iruleText({ partition, logs: true }));
      }
    });

    it('of the end of a connection whose grant has gone, or whose certificate was revoked, and resets it', async () => {
      const certificate = certificateOf(bookinfo);
      const withdrawals: readonly (readonly [change: () => Promise<void>, reason: string | undefined])[] = [
        [() => enforce(tcl, { ...plan, revision: other }), undefined],
        [() => enforce(tcl, planWith({ subjects: [{ namespace: 'bookinfo' }] })), undefined],
        [() => enforce(tcl, planWith({ subjects: [{ namespace: 'poor' }] })), 'policy-revoked'],
        [() => enforce(tcl, planWith({ address: '127.1.0.5' })), 'policy-revoked'],
        [() => enforce(tcl, planWith({ service: 'elsewhere' })), 'policy-revoked'],
        [() => enforce(tcl, planWith({ target: '198.51.100.8' })), 'target-removed'],
        [() => enforce(tcl, planWith({}), [certificate]), 'certificate-revoked'], // of which the revision says nothing
        [() => enforce(tcl, planWith({}), [certificateOf(bookinfo)]), undefined],
      ];
      for (const [change, reason] of withdrawals) {
        await enforce(tcl, planWith({}));
        const begun = await lives({ certificate }, ...letIn, ['SERVER_CONNECTED', { ...connected, bytesIn: 7, bytesOut: 8 }]);
        const [watch] = begun.flatMap((effect) => (effect.kind === 'after' ? [effect] : []));
        assert.ok(watch !== undefined && watch.everyMs <= 500);
        assert.deepEqual(await tcl.timer(id, watch.timer), [], 'as long as nothing changes');
        await change();
        const effects = await tcl.timer(id, watch.timer);
        assert.deepEqual(effects.map(({ kind }) => kind), reason === undefined ? [] : ['send', 'reject']);
        const [, closed] = recordsOf([...begun, ...effects]);
        assert.deepEqual(closed?.type === 'connection-closed' ? [closed.reason, closed.bytesSent, closed.bytesReceived] : undefined, reason === undefined ? undefined : [reason, 8, 7]);
        assert.deepEqual((await tcl.event(id, 'SERVER_CLOSED')).filter(({ kind }) => kind === 'send').length, reason === undefined ? 1 : 0, 'once');
      }
    });
  });

  it('brings nothing about before the handshake is over, and resets a second one', async () => {
    const events = ['CLIENT_ACCEPTED', 'CLIENTSSL_CLIENTHELLO', 'CLIENTSSL_CLIENTCERT'] as const;
    const facts: Facts = { clientAddress: '10.1.0.1', clientPort: 1, virtualAddress: '127.0.0.1', virtualPort: 15443, serverNameExtension: serverNameExtension('bank.egress'), certificate: certificateOf(bookinfo), verifyResult: 0 };
    for (const event of events) assert.deepEqual(await tcl.event(2_000_000, event, facts), []);
    assert.ok((await tcl.event(2_000_000, 'CLIENTSSL_HANDSHAKE')).some(({ kind }) => kind === 'pool'));
    assert.deepEqual(await tcl.event(2_000_000, 'CLIENTSSL_HANDSHAKE'), [{ kind: 'reject' }]);
  });

  describe('reads certificates as the embedded gateway does', () => {
    /** What each of the two makes of it: SPIFFE ID and serial number, or nothing. */
    const byTcl = (der: Buffer): Promise<string | null> => tcl.call('svid', der).catch(() => null);
    const byCore = (der: Buffer): string | null => {
      const parsed = parseX509Svid(der);
      return parsed.ok ? `${parsed.svid.spiffeId} ${parsed.svid.serialNumber}` : null;
    };
    async function compare(der: Buffer): Promise<boolean> {
      const [tcls, cores] = [await byTcl(der), byCore(der)];
      assert.equal(tcls, cores, der.toString('hex'));
      return cores !== null;
    }

    it('whatever extensions they have', async () => {
      let valid = 0;
      await fc.assert(
        fc.asyncProperty(someExtensions, async (extensions) => {
          if (await compare(certificateWith(extensions))) valid += 1;
        }),
        { numRuns: 1_500 },
      );
      assert.ok(valid > 100, `${valid} were valid`);
    });

    it('whatever bytes of them are others, are missing or are there twice', async () => {
      const valid = [...[bookinfo, 'spiffe://cluster.local/ns/a/sa/b'].map((id) => new X509Certificate(certificateOf(id)).raw), certificateWith([svidUsage, alternativeNames(nameOf.uri(bookinfo))])];
      let stillValid = 0;
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...valid), fc.array(someMutation, { minLength: 1, maxLength: 3 }), async (der, mutations) => {
          if (await compare(mutations.reduce((bytes, mutate) => mutate(bytes), der))) stillValid += 1;
        }),
        { numRuns: 3_000 },
      );
      assert.ok(stillValid > 100, `${stillValid} were still valid`);
    });

    it('at each byte where it may end', async () => {
      const der = certificateWith([svidUsage, alternativeNames(nameOf.uri(bookinfo))]);
      assert.ok(await compare(der));
      for (let length = 0; length < der.length; length++) assert.ok(!(await compare(der.subarray(0, length))));
    });
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
      { numRuns: 8 },
    );
    assert.ok(compared > 300);
  });
});

/** The records that the ledger gets of what was sent. */
function recordsOf(effects: readonly Effect[]): readonly BigipRecord[] {
  const stream = Buffer.from(effects.flatMap((effect) => (effect.kind === 'send' ? [effect.line] : [])).join(''), 'latin1');
  return createSyslogDeframer(8_192).push(stream).map((frame) => {
    assert.ok(frame.kind === 'message');
    const parsed = parseSyslogMessage(frame.bytes);
    assert.ok(parsed.ok, parsed.ok ? '' : parsed.reason);
    const reading = readLogLine(parsed.message, { origin: 'gw', plan, nowMs: Date.now() });
    assert.ok(reading.ok && reading.clockFault === undefined, reading.ok ? 'its time is wrong' : reading.reason);
    return reading.record;
  });
}

const nameOf = {
  uri: (text: string) => primitive(6, Buffer.from(text, 'latin1')),
  dns: (text: string) => primitive(2, Buffer.from(text, 'latin1')),
  other: (text: string) => constructed(0, objectIdentifier('1.2.3'), constructed(0, utf8String(text))),
};
const alternativeNames = (...names: readonly Buffer[]): Buffer => extension(extensionIds.subjectAltName, sequence(...names));
const svidUsage = extension(extensionIds.keyUsage, namedBits(keyUsages.digitalSignature), { critical: true });

/** In form alone: nobody has signed it. */
function certificateWith(extensions: readonly Buffer[]): Buffer {
  const algorithm = sequence(objectIdentifier('1.2.840.10045.4.3.2'));
  const content = sequence(constructed(0, integer(2)), integer(0x91ab), algorithm, sequence(), sequence(time(0), time(Date.UTC(2060, 1, 29))), sequence(), sequence(algorithm, bitString(Buffer.of(4, 1, 2))), constructed(3, sequence(...extensions)));
  return sequence(content, algorithm, bitString(Buffer.of(1, 2, 3)));
}

const someText = fc.constantFrom(bookinfo, `${bookinfo}/`, 'spiffe://cluster.local', 'spiffe://other/x', 'SPIFFE://cluster.local/x', 'https://example.com', '', `${bookinfo}\0`);
const someName = fc.tuple(fc.constantFrom(nameOf.uri, nameOf.uri, nameOf.dns, nameOf.other), someText).map(([form, text]) => form(text));
const someExtension = fc.oneof(
  { weight: 4, arbitrary: fc.array(someName, { maxLength: 2 }).map((names) => alternativeNames(...names)) },
  { weight: 4, arbitrary: fc.oneof(fc.constant(1), fc.integer({ min: 0, max: 0x1ff })).map((mask) => extension(extensionIds.keyUsage, namedBits(mask))) },
  fc.array(fc.constantFrom(clientAuth, serverAuth, '1.3.6.1.5.5.7.3.4'), { maxLength: 3 }).map((purposes) => extension(extensionIds.extendedKeyUsage, sequence(...purposes.map(objectIdentifier)))),
  fc.tuple(fc.option(fc.boolean()), fc.option(fc.nat())).map(([ca, pathLength]) => extension(extensionIds.basicConstraints, sequence(...(ca === null ? [] : [boolean(ca)]), ...(pathLength === null ? [] : [integer(pathLength)])))),
  fc.uint8Array({ maxLength: 9 }).map((bytes) => extension(extensionIds.subjectKeyId, octetString(bytes))),
  fc.tuple(fc.constantFrom('1.2.3', '2.5.29.32', '2.999.1', extensionIds.authorityKeyId), fc.uint8Array({ maxLength: 9 }), fc.boolean()).map(([id, bytes, critical]) => extension(id, bytes, { critical })),
);
const someExtensions = fc.tuple(fc.constantFrom([svidUsage, alternativeNames(nameOf.uri(bookinfo))], [svidUsage], []), fc.array(someExtension, { maxLength: 3 })).map(([some, more]) => [...some, ...more]);

type Mutation = (der: Buffer) => Buffer;
const someMutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(fc.double({ min: 0, max: 0.999_999, noNaN: true }), fc.nat({ max: 255 })).map(([at, byte]): Mutation => (der) => Buffer.concat([der.subarray(0, Math.floor(at * der.length)), Buffer.of(byte), der.subarray(Math.floor(at * der.length) + 1)])),
  fc.tuple(fc.double({ min: 0, max: 0.999_999, noNaN: true }), fc.nat({ max: 7 })).map(([at, bit]): Mutation => (der) => der.map((byte, index) => (index === Math.floor(at * der.length) ? byte ^ (1 << bit) : byte)) as Buffer),
  fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat({ max: 3 })).map(([at, count]): Mutation => (der) => Buffer.concat([der.subarray(0, Math.floor(at * der.length)), der.subarray(Math.floor(at * der.length) + count)])),
  fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.uint8Array({ maxLength: 3 })).map(([at, bytes]): Mutation => (der) => Buffer.concat([der.subarray(0, Math.floor(at * der.length)), bytes, der.subarray(Math.floor(at * der.length))])),
);

function certificateToRevoke(pem: string): RevokedCertificate {
  const parsed = parseX509Svid(new X509Certificate(pem).raw);
  assert.ok(parsed.ok);
  return parsed.svid;
}

/** Puts everything onto the box that the plan names, and what is revoked. */
async function enforce(tcl: Tcl, enforced: Plan, revoked: readonly string[] = []): Promise<void> {
  const [bigip] = enforced.gateways;
  const { served } = servedPorts(enforced, bigip!);
  const groups = dataGroupsOf(enforced, bigip!, partition, served, revoked.map(certificateToRevoke));
  for (const name of ['services', 'grants', 'revoked', 'settings'] as const) await tcl.setGroup(pathOf(partition, fixedNames[name]), groups[name]);
  for (const { pool, departures, servicePort } of served) {
    if (pool !== null) await tcl.setPool(pathOf(partition, pool), servicePort.targets.map((target) => ({ address: target.kind === 'address' ? target.address : target.host, port: target.port })));
    for (const source of departures.sources.values()) await tcl.setObject(pathOf(partition, snatPoolName(source)));
  }
}
