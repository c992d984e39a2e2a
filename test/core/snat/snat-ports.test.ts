import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import { createSnatPorts } from '../../../src/core/snat/snat-ports.ts';
import type { SnatAddress } from '../../../src/core/snat/snat-source.ts';

const source = (first = 1024, last = 65535, address = '127.0.1.11'): SnatAddress => ({ address: address as IpAddress, ports: { first, last } });
const takeMany = (count: number, take: () => number | undefined): (number | undefined)[] => Array.from({ length: count }, take);

describe('source ports of a SNAT address', () => {
  it('carry more than 50,000 connections from one address to each of two destinations', () => {
    const ports = createSnatPorts(0.3);
    for (const destination of ['192.0.2.1:21', '192.0.2.2:21']) {
      const given = takeMany(60_000, () => ports.take(source(), destination));
      assert.equal(new Set(given).size, 60_000);
      assert.ok(given.every((port) => port !== undefined && port >= 1024));
      assert.equal(ports.taken(source(), destination), 60_000);
    }
  });

  it('stay within the holder\'s block, to the last one', () => {
    const ports = createSnatPorts(0.99);
    const block = source(2000, 2016);
    assert.deepEqual(takeMany(17, () => ports.take(block, 'a:1')).sort(), Array.from({ length: 17 }, (_, index) => 2000 + index));
    assert.equal(ports.take(block, 'a:1'), undefined);
    assert.notEqual(ports.take(block, 'b:1'), undefined);
  });

  it('keep two blocks of one address apart', () => {
    const ports = createSnatPorts(0);
    assert.equal(ports.take(source(2000, 2000), 'a:1'), 2000);
    assert.equal(ports.take(source(3000, 3000), 'a:1'), 3000);
    assert.equal(ports.take(source(2000, 2000), 'a:1'), undefined);
  });

  it('come round again last when given back', () => {
    const ports = createSnatPorts(0);
    const block = source(5000, 5099);
    const first = ports.take(block, 'a:1')!;
    ports.release(block, 'a:1', first);
    const next = takeMany(99, () => ports.take(block, 'a:1'));
    assert.ok(!next.includes(first));
    assert.equal(ports.take(block, 'a:1'), first);
  });

  it('begin where the worker is told to', () => {
    assert.equal(createSnatPorts(0).take(source(1000, 1999), 'a:1'), 1000);
    assert.equal(createSnatPorts(0.5).take(source(1000, 1999), 'a:1'), 1500);
  });

  it('lead to every port of a block when the kernel refuses one after the other', () => {
    for (const size of [1, 2, 3, 16, 17, 100, 256]) {
      const ports = createSnatPorts(0.7);
      const tried = Array.from({ length: size }, (_, refusals) => ports.take(source(1024, 1023 + size), 'a:1', refusals));
      assert.equal(new Set(tried).size, size);
      assert.ok(!tried.includes(undefined));
    }
  });

  it('leave a run of refused ports at once', () => {
    const ports = createSnatPorts(0);
    const taken = new Set(Array.from({ length: 20_000 }, (_, index) => 1024 + index)); // TIME_WAIT of a life before
    let refusals = 0;
    while (taken.has(ports.take(source(), 'a:1', refusals)!)) refusals += 1;
    assert.ok(refusals < 5, `${refusals} refusals`);
  });

  it('that are listened on lead no connection anywhere, until they are given back', () => {
    const ports = createSnatPorts(0);
    const block = source(3000, 3003);
    assert.equal(ports.takeToListen(block, 0.5), 3002);
    assert.deepEqual([ports.take(block, 'a:1'), ports.take(block, 'a:1'), ports.take(block, 'a:1'), ports.take(block, 'a:1')], [3000, 3001, 3003, undefined]);
    assert.deepEqual([ports.take(block, 'b:1'), ports.take(block, 'b:1'), ports.take(block, 'b:1'), ports.take(block, 'b:1')].sort(), [3000, 3001, 3003, undefined]);
    ports.releaseListening(block, 3002);
    assert.equal(ports.take(block, 'a:1'), 3002);
  });

  it('to listen on are sought where the caller says, and none is given twice', () => {
    const ports = createSnatPorts(0);
    const block = source(3000, 3003);
    const given = [0.99, 0.99, 0, 0.3].map((at) => ports.takeToListen(block, at));
    assert.deepEqual(given, [3003, 3000, 3001, 3002]);
    assert.equal(ports.takeToListen(block, 0.5), undefined);
    ports.releaseListening(block, 3001);
    assert.equal(ports.takeToListen(block, 0.9), 3001);
  });

  it('to listen on may have connections of their own already: their other ends tell them apart', () => {
    const ports = createSnatPorts(0);
    const block = source(3000, 3000);
    assert.equal(ports.take(block, 'a:1'), 3000);
    assert.equal(ports.takeToListen(block, 0), 3000);
  });

  it('hold, against a model, for any order of taking and giving back', () => {
    const step = fc.oneof(
      fc.record({ take: fc.constantFrom('a:1', 'b:1'), refusals: fc.nat(5) }),
      fc.record({ release: fc.nat(20), destination: fc.constantFrom('a:1', 'b:1') }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.integer({ min: 1, max: 12 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (steps, size, start) => {
        const block = source(4000, 3999 + size);
        const ports = createSnatPorts(start);
        const model = new Map([['a:1', new Set<number>()], ['b:1', new Set<number>()]]);
        for (const each of steps) {
          if ('take' in each) {
            const port = ports.take(block, each.take, each.refusals);
            const taken = model.get(each.take)!;
            if (taken.size === size) assert.equal(port, undefined);
            else assert.ok(port !== undefined && port >= 4000 && port < 4000 + size && !taken.has(port));
            if (port !== undefined) taken.add(port);
          } else {
            const port = 4000 + (each.release % size);
            model.get(each.destination)!.delete(port);
            ports.release(block, each.destination, port);
          }
          for (const [destination, taken] of model) assert.equal(ports.taken(block, destination), taken.size);
        }
      }),
      { numRuns: 200 },
    );
  });
});
