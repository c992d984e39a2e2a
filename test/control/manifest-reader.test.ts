import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createManifestReader, manifestReaderLimits, type ReadManifests } from '../../src/control/manifest-reader.ts';
import { refOf } from '../../src/core/desired-state.ts';
import type { Fault } from '../../src/core/errors.ts';
import type { PlanFault } from '../../src/core/plan-fault.ts';
import { startTestControl } from '../support/control.ts';
import { rejection } from '../support/rejection.ts';

const policy = (index: number, service = 'proxy') => `apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: p${index}, namespace: bookinfo}
spec: {subjects: [{namespace: bookinfo}], to: [{service: ${service}}]}
`;
const linesOfPolicy = 5; // with the line that parts it from the next
const many = (count: number, service?: string) => [{ file: 'pool.yaml', text: 'apiVersion: sallyport.dev/v1alpha1\nkind: SnatPool\nmetadata: {name: eu}\nspec: {addresses: [127.0.1.11-127.0.1.20]}\n' }, { file: 'policies.yaml', text: Array.from({ length: count }, (_, index) => policy(index, service)).join('---\n') }];
const inThread = { inlineCharsMax: 0 };
const inline = { inlineCharsMax: Infinity };
const objectsOf = (manifests: ReadManifests) => Promise.resolve(manifests.objects);

describe('reading manifests in a thread', () => {
  it('gives the same objects as reading them here', async () => {
    const sources = many(250);
    assert.equal((await createManifestReader(inThread)(sources, objectsOf)).length, 251);
    assert.deepStrictEqual(await createManifestReader(inThread)(sources, objectsOf), await createManifestReader(inline)(sources, objectsOf));
  });

  it('reads the older form as of the root namespace, as reading it here does', async () => {
    const sources = [{ file: 'older.yaml', text: readFileSync(new URL('../../manifests/examples/older-external-service.yaml', import.meta.url), 'utf8') }];
    for (const where of [inThread, inline]) {
      const objects = await createManifestReader({ ...where, rootNamespace: 'top' })(sources, objectsOf);
      assert.deepEqual(objects.flatMap((object) => (object.kind === 'EgressPolicy' ? [object.metadata.namespace] : [])), ['top']);
    }
  });

  it('gives the same faults as reading them here', async () => {
    const sources = [...many(3), { file: 'faulty.yaml', text: `${policy(7).replace('subjects', 'subject')}---\n${policy(8)}kind [\n` }];
    const faultOf = (name: string, unknown: string): PlanFault => ({ code: 'policy-service-unknown', message: 'told', object: { kind: 'EgressPolicy', namespace: 'bookinfo', name }, path: ['spec', 'to', 0, 'service'], restsOn: [{ kind: 'EgressPolicy', namespace: 'bookinfo', name: unknown }] });
    const faults = ({ faults: allOf }: ReadManifests) => allOf([faultOf('p0', 'nowhere'), faultOf('p1', 'p7'), faultOf('p8', 'nowhere')]);
    const here = await createManifestReader(inline)(sources, faults);
    assert.deepEqual(here.map(({ code, position }) => `${position?.file} ${code}`), ['policies.yaml policy-service-unknown', 'faulty.yaml field-unknown', 'faulty.yaml yaml-invalid']);
    assert.deepStrictEqual(await createManifestReader(inThread)(sources, faults), here);
  });

  it('places warnings that are found later, and leaves alone what it has not read', async () => {
    const place = async ({ objects, locate }: ReadManifests): Promise<readonly Fault[]> =>
      await locate([
        { code: 'a', message: 'in the last', object: refOf(objects.at(-1)!), path: ['spec', 'to', 0, 'service'] },
        { code: 'b', message: 'elsewhere', object: { kind: 'EgressPolicy', namespace: 'bookinfo', name: 'other' }, path: [] },
        { code: 'c', message: 'of no object' },
      ]);
    const here = await createManifestReader(inline)(many(5), place);
    assert.deepEqual(here[0]?.position, { file: 'policies.yaml', line: 4 * linesOfPolicy + 4, column: 58 });
    assert.deepEqual(await createManifestReader(inThread)(many(5), place), here);
  });

  it('lets the event loop turn meanwhile', async () => {
    let turns = 0;
    const turn = (): void => {
      turns += 1;
      timer = setImmediate(turn);
    };
    let timer = setImmediate(turn);
    try {
      await createManifestReader()(many(Math.ceil((2 * manifestReaderLimits.inlineCharsMax) / policy(100).length)), objectsOf);
    } finally {
      clearImmediate(timer);
    }
    assert.ok(turns > 20, `${turns} turns`);
  });

  it('says what to do where memory does not suffice, and reads the next', async () => {
    const read = createManifestReader({ ...inThread, heapMib: 48 });
    assert.equal((await rejection(read(many(10_000), objectsOf))).code, 'request-too-large');
    assert.equal((await read(many(1), objectsOf)).length, 2);
  });

  it('says that the thread has ended where it fails, and reads the next', async () => {
    const read = createManifestReader(inThread);
    const error = await rejection(read([{ file: 'broken', text: { length: 9 } as unknown as string }], objectsOf));
    assert.equal(error.code, 'unavailable');
    assert.ok(error.cause instanceof TypeError);
    assert.equal((await read(many(1), objectsOf)).length, 2);
  });

  it('waits for an answer no longer than it may', async () => {
    assert.equal((await rejection(createManifestReader({ ...inThread, answerTimeoutMs: 1 })(many(1), objectsOf))).code, 'timeout');
  });

  it('refuses when too many wait', async () => {
    const read = createManifestReader({ ...inThread, waitingMax: 1 });
    const first = read(many(1), objectsOf);
    assert.equal((await rejection(read(many(1), objectsOf))).code, 'unavailable');
    assert.equal((await first).length, 2);
  });

  it('is what applying does: faults of a large input have their places', async () => {
    const server = await startTestControl();
    try {
      const text = Array.from({ length: 600 }, (_, index) => policy(index, index === 599 ? 'prxy' : 'proxy')).join('---\n');
      assert.ok(text.length > manifestReaderLimits.inlineCharsMax);
      const proxy = 'apiVersion: sallyport.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: proxy, namespace: bookinfo}\nspec: {addresses: [10.4.0.201], ports: [{port: 3128}]}\n';
      const { faults } = await rejection(server.apply(`${text}---\n${proxy}`));
      assert.deepEqual(faults.map(({ code, position }) => [code, position?.line]), [['policy-service-unknown', 599 * linesOfPolicy + 4]]);
      const { changes } = await server.apply(`${text.replace('prxy', 'proxy')}---\n${proxy}`);
      assert.equal(changes.length, 601);
    } finally {
      await server.close();
    }
  });
});
