import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeGatewaySettings, encodeRevocationList, encodeServicePort } from '../../src/api/table-codec.ts';
import { typeUrls } from '../../src/api/type-urls.ts';
import { SallyportError } from '../../src/core/errors.ts';
import type { PlannedGateway } from '../../src/core/plan/plan.ts';
import { createTableStore, emptyTable, holdUpdate, isComplete, wholeTable, type HeldTable } from '../../src/gateway/held-table.ts';
import { grantTo, servicePort, settings, trustDomain } from '../support/gateway.ts';

const port = servicePort({ targetPort: 21, grants: [grantTo('bookinfo', '127.0.1.11'), grantTo('reports', '127.0.1.12', { connectAuthorities: ['a.example:443'] }), grantTo('unbound', '', { snat: null, binding: null })] });
const planned: PlannedGateway = { ...settings, class: 'sallyport', localPorts: { first: 32_768, last: 60_999 }, handOver: null, bigip: null, kernel: null, advertise: [], listen: [{ address: settings.listen[0]!.address, port: 15443 }] };
const resource = (name: string, value: Uint8Array, version = '1') => ({ name, value, version });
const update = (typeUrl: string, changed: readonly ReturnType<typeof resource>[], removed: readonly string[] = [], systemVersion = 'r1') => ({ typeUrl, systemVersion, changed, removed });

const updates = [
  update(typeUrls.gatewaySettings, [resource('gate', encodeGatewaySettings(planned, trustDomain))]),
  update(typeUrls.servicePort, [resource(port.id, encodeServicePort(port))]),
  update(typeUrls.revocationList, [resource('revocations', encodeRevocationList(['0a']))], [], 'r2'),
];
const held = (): HeldTable => updates.reduce((table, each) => holdUpdate(table, each).table, emptyTable);

describe('the table that a gateway holds', () => {
  it('is complete once every type has been answered for, and not before', () => {
    let table = emptyTable;
    for (const [index, each] of updates.entries()) {
      assert.equal(isComplete(table), false, `after ${index} updates`);
      ({ table } = holdUpdate(table, each));
    }
    assert.equal(isComplete(table), true);
    assert.equal(isComplete(holdUpdate(table, update(typeUrls.gatewaySettings, [], ['gate'])).table), false);
  });

  it('comes out as the plan that went in', () => {
    const { name, identity, ftpPassivePorts, limits, kernel } = settings;
    assert.deepEqual(wholeTable(held()), { revision: 'r2', settings: { name, trustDomain, identity, listen: planned.listen, ftpPassivePorts, limits, kernel }, servicePorts: [port], removed: [], revokedSerialNumbers: ['0a'] });
  });

  it('passes on only what an update changes', () => {
    const { change, table } = holdUpdate(held(), update(typeUrls.servicePort, [], [port.id], 'r3'));
    assert.deepEqual(change, { revision: 'r3', servicePorts: [], removed: [port.id] });
    assert.deepEqual(wholeTable(table).servicePorts, []);
  });

  it('refuses a malformed resource by name, and keeps what it had', () => {
    const table = held();
    for (const [bad, pattern] of [
      [resource('egress/bad:main', Buffer.from('////', 'base64')), /"egress\/bad:main"/],
      [resource('egress/other:main', encodeServicePort(port)), /"egress\/other:main" holds service port "egress\/partner:main"/],
      [resource(port.id, encodeServicePort({ ...port, protocol: 'GOPHER' as never })), /"egress\/partner:main".*GOPHER/],
      [resource(port.id, encodeServicePort({ ...port, targets: [{ kind: 'host', host: '', port: 1 }] })), /target/],
    ] as const) {
      assert.throws(
        () => holdUpdate(table, update(typeUrls.servicePort, [bad])),
        (error: unknown) => error instanceof SallyportError && error.code === 'request-invalid' && pattern.test(error.message),
      );
    }
    assert.deepEqual(wholeTable(table), wholeTable(held()));
  });

  it('survives on disk as it was', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'sallyport-'));
    try {
      const store = createTableStore(join(directory, 'table'));
      assert.equal(await store.load(), undefined);
      await store.save(held());
      const loaded = (await store.load())!;
      assert.deepEqual(wholeTable(loaded), wholeTable(held()));
      assert.equal(loaded.types.get(typeUrls.servicePort)!.get(port.id)!.version, '1');
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
