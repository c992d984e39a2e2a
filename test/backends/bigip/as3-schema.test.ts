/** Declarations hold against F5's schema, and against what it says of pointers: what AS3 would otherwise answer 422 to. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import fc from 'fast-check';
import { issuedIdentity, renderAs3, type As3Declaration } from '../../../src/backends/bigip/index.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import type { Plan } from '../../../src/core/plan/plan.ts';
import { ground, someObjects } from '../../core/plan/random-world.ts';
import * as world from '../../core/world.ts';
import { as3Faults, as3Formats, as3SchemaFile, formatsOf, readAs3Schema } from '../../support/bigip/as3-schema.ts';
import { bigipOf, exampleWorld } from './example-world.ts';

const formatExamples: Readonly<Record<string, { readonly accepted: readonly string[]; readonly refused: readonly string[] }>> = {
  uri: { accepted: ['https://example.com/a?b#c', 'urn:uuid:1', 'file:/x'], refused: ['', 'example.com', '/path', 'https://exa mple.com', 'http://'] },
  f5ip: {
    accepted: ['', '192.0.2.1', '192.0.2.1%0', '192.0.2.1%65535/32', '0.0.0.0/0', '2001:db8::1', '2001:db8::%2/64', '::', '::ffff:192.0.2.1'],
    refused: ['192.0.2', '192.0.2.256', '192.0.2.01', '192.0.2.1/33', '192.0.2.1%65536', '192.0.2.1%', '192.0.2.1/', '192.0.2.1/24/24', '2001:db8::/129', '2001:db8::1::2', ':1', 'any', '192.0.2.1 '],
  },
  'date-time': { accepted: ['2026-02-28T23:59:59Z', '2026-02-28t00:00:00.5+02:00'], refused: ['', '2026-02-29T00:00:00Z', '2026-02-28T24:00:01Z', '2026-02-28 00:00:00Z', '2026-02-28T00:00:00', '2026-02-28'] },
  hostname: { accepted: ['a', 'a.partner.example', '1.example', 'A-1.example'], refused: ['', '-a.example', 'a-.example', 'a..example', 'a_b.example', `${'a'.repeat(64)}.example`, 'a.example.', Array.from({ length: 64 }, () => 'abc').join('.')] },
  f5pointer: { accepted: ['pool', '/tenant/app/pool', '/@/@/pool', '@', '@/pool', '1/pool', '0#', 'pool#', 'members/0'], refused: ['po ol', 'pool-1', '/tenant//pool', 'p'.repeat(65), 'pool##', '_pool'] },
  f5bigip: { accepted: ['/Common/pool', '/Common/folder/a.b-c_d:443', '/Common/2001:db8::1%1'], refused: ['', 'Common/pool', '/', '/Common/a b', '/Common/a"b', "/Common/a'b", '/Common/[a]', '/Common/{a}', '/Common/a|b', '/Common/a\\b', '/Common/a#b', '/Common/<a>', '/Common/a\n'] },
  email: { accepted: ['who@example.com', 'a.b+c@x'], refused: ['', 'who', '@example.com', 'who@', 'who@a@b', 'w ho@example.com', 'who@exam_ple'] },
};

describe("the formats of F5's schema", () => {
  for (const [format, { accepted, refused }] of Object.entries(formatExamples)) {
    it(`takes what is ${format}, and nothing else`, () => {
      assert.deepEqual(accepted.filter((text) => !as3Formats[format]!(text)), []);
      assert.deepEqual(refused.filter((text) => as3Formats[format]!(text)), []);
    });
  }

  it('each have examples', () => {
    assert.deepEqual(Object.keys(formatExamples).sort(), Object.keys(as3Formats).sort());
  });
});

if (!existsSync(as3SchemaFile)) process.stderr.write(`\n  F5's schema of AS3 is not at ${as3SchemaFile}: no declaration is held against it here\n`);
else describe('an AS3 declaration', () => holdAgainstSchema());

function holdAgainstSchema(): void {
  let faultsOf: ReturnType<typeof as3Faults>;
  const render = (plan: Plan): As3Declaration => renderAs3(plan, bigipOf(plan)).declaration;
  /** The declaration with one object of the application as something else makes of it. */
  const revised = (name: string, revise: (object: Record<string, unknown>) => unknown): unknown => {
    const declaration = structuredClone(render(exampleWorld())) as unknown as { Sallyport: { shared: Record<string, unknown> } };
    declaration.Sallyport.shared[name] = revise(declaration.Sallyport.shared[name] as Record<string, unknown>);
    return declaration;
  };

  before(function () {
    this.timeout(60_000);
    faultsOf = as3Faults();
  });

  it('knows every format that the schema uses', () => {
    assert.deepEqual([...formatsOf(readAs3Schema())].sort(), Object.keys(as3Formats).sort());
  });

  it('is as the schema wants it', () => {
    assert.deepEqual(faultsOf(render(exampleWorld())), []);
  });

  it('is as the schema wants it with an identity that was issued', () => {
    const plan = exampleWorld();
    const pem = (name: string): string => `-----BEGIN ${name}-----\nAAAA\n-----END ${name}-----\n`;
    const identity = issuedIdentity({ certificateChainPem: pem('CERTIFICATE') + pem('CERTIFICATE'), privateKeyPem: pem('PRIVATE KEY'), trustBundlePem: pem('CERTIFICATE') });
    assert.deepEqual(faultsOf(renderAs3(plan, bigipOf(plan), { identity }).declaration), []);
  });

  const slips: readonly (readonly [what: string, name: string, revise: (object: Record<string, unknown>) => unknown, fault: RegExp])[] = [
    ['a SNAT address that is none', 'snat_203.0.113.21', (object) => ({ ...object, snatAddresses: ['203.0.113.256'] }), /snatAddresses\/0 must match format "f5ip"/],
    ['an SNAT pool without addresses', 'snat_203.0.113.21', (object) => ({ ...object, snatAddresses: [] }), /fewer than 1/],
    ['a property that no class has', 'client-ssl', (object) => ({ ...object, sessionTicket: false }), /additional properties/],
    ['a profile that asks for a certificate without an authority to believe', 'client-ssl', ({ authenticationTrustCA: _, ...object }) => object, /authenticationTrustCA/],
    ['a pointer to what is not there', 'vs_10.4.0.10_21', (object) => ({ ...object, iRules: ['sallyport', 'other'] }), /f5PostProcess/],
    ['a pointer to something of another class', 'vs_10.4.0.10_21', (object) => ({ ...object, serverTLS: 'tcp' }), /f5PostProcess/],
    ['a name that ends in a hyphen', 'pool-', () => ({ class: 'Pool' }), /property name must be valid/],
  ];
  for (const [what, name, revise, fault] of slips) it(`is held to it: it refuses ${what}`, () => assert.match(faultsOf(revised(name, revise)).join('\n'), fault));

  const someLimits = fc.record({
    connectionsPerIdentity: fc.integer({ min: 1, max: 1_000_000 }),
    handshakeTimeout: fc.constantFrom('1ms', '10s', '24d'),
    connectTimeout: fc.constantFrom('1ms', '100ms', '10s', '1h', '24d'),
    idleTimeout: fc.constantFrom('1ms', '1h', '24d'),
  });
  const someGateway = fc
    .record({ partition: fc.constantFrom(undefined, 'P', 'a-b.c_d'), hasLog: fc.boolean(), passivePorts: fc.constantFrom(undefined, { first: 30_000, last: 30_009 }), limits: someLimits })
    .map(({ partition, hasLog, passivePorts, limits }) =>
      world.gateway('gw', { class: 'bigip', listen: [{ address: '10.0.0.1', port: 15443 }, { address: '2001:db8::', port: 15443 }], bigip: { acceptRisks: ['UnprovenFtpData'], ...(partition && { partition }), ...(hasLog && { logTo: [{ address: '10.0.0.5', port: 514 }] }) }, ...(passivePorts && { ftp: { passivePorts } }), limits }),
    );
  const files = world.externalService('a/files', { agentAddress: '127.0.9.9', ports: [{ port: 21, protocol: 'FTP', listen: { port: 21 } }] });
  const toFiles = world.policy('a/to-files', { subjects: [{ namespace: 'a' }], to: [{ service: 'files' }] });

  it('is as the schema wants it in any world', function () {
    this.timeout(60_000);
    let count = 0;
    fc.assert(fc.property(someObjects, someGateway, (objects: readonly DesiredObject[], gateway) => {
      const { compiled } = world.build(world.state(...ground.filter(({ kind }) => kind !== 'EgressGateway'), gateway, files, toFiles, ...objects));
      fc.pre(compiled.ok);
      assert.deepEqual(faultsOf(render(compiled.plan)), []);
      count += 1;
    }), { numRuns: 60 });
    assert.ok(count >= 30);
  });
}
