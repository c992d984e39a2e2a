import assert from 'node:assert/strict';
import { build } from '../../../src/core/plan/build.ts';
import { applyChange, emptyDesiredState } from '../../../src/core/desired-state.ts';
import { describeFault } from '../../../src/core/fault-text.ts';
import { parseManifests } from '../../../src/core/manifest/manifest.ts';
import type { TrustDomain } from '../../../src/core/spiffe-id.ts';
import type { ApiObject } from '../../../src/kubernetes/watch/reflection.ts';
import type { AdmissionRequest } from '../../../src/kubernetes/webhook/admission-review.ts';
import { reviewChange, type ValidateChange } from '../../../src/kubernetes/webhook/validation.ts';
import { apiObjects, rootNamespace, smallWorld } from './support/small-world.ts';

const header = (kind: string, name: string, namespace?: string) => `apiVersion: sallyport.dev/v1alpha1\nkind: ${kind}\nmetadata: {name: ${name}${namespace === undefined ? '' : `, namespace: ${namespace}`}}\n`;
const gateway = (name = 'gw') => `${header('EgressGateway', name)}spec: {class: sallyport, listen: [{address: 127.0.0.1, port: 15443}]}\n`;
const pool = (name = 'eu', addresses = '10.0.0.1-10.0.0.9') => `${header('SnatPool', name)}spec: {addresses: [${addresses}]}\n`;
const service = (spec = 'addresses: [10.9.0.1]') => `${header('ExternalService', 's', 'a')}spec: {${spec}, ports: [{port: 80}]}\n`;
const policy = (to = 's') => `${header('EgressPolicy', 'p', 'a')}spec: {subjects: [{namespace: a}], to: [{service: ${to}}]}\n`;
const binding = (name: string, spec: string, namespace = 'a') => `${header('SnatBinding', name, namespace)}spec: {subject: {namespace: ${namespace}}, ${spec}}\n`;
const older = `apiVersion: externalservice.example.com/v1alpha1\nkind: ExternalService\nmetadata: {name: o, namespace: default}\nspec: {targetIP: 192.0.2.7, sources: [{service: {namespace: ns1, name: s1}, sourceIP: 192.0.2.1}], ports: [{port: 8000}]}\n`;
const documents = (...texts: readonly string[]) => texts.join('---\n');

const world = apiObjects(documents(gateway(), pool(), service(), policy(), binding('b', 'addresses: [10.0.0.1]')));
const one = (text: string): ApiObject => apiObjects(text)[0]!;

type Parts = Partial<Pick<AdmissionRequest, 'operation'>> & { readonly before?: ApiObject };

function requestOf(object: ApiObject, { operation = 'CREATE', before }: Parts = {}): AdmissionRequest {
  const [group, version] = object.apiVersion!.split('/') as [string, string];
  const isGone = operation === 'DELETE';
  return { uid: 'u', kind: { group, version, kind: object.kind! }, operation, name: object.metadata.name, namespace: object.metadata.namespace ?? '', object: isGone ? null : { ...object }, oldObject: isGone ? { ...object } : before === undefined ? null : { ...before } };
}

const nothingSaid: ValidateChange = () => Promise.reject(new Error('nobody is to be asked'));
const review = (request: AdmissionRequest, objects: readonly ApiObject[] = world) => reviewChange(request, rootNamespace, smallWorld(objects));

describe('review of a change', () => {
  const refused: readonly [what: string, object: string, words: RegExp, code?: number][] = [
    ['an address that no address is', pool('us', '10.0.0.9-10.0.0.1'), /^SnatPool us spec\.addresses\[0\]: .*\[address-invalid\]$/m],
    ['two faults at once', pool('us', '1.2.3, 4.5.6'), /^2 faults\nSnatPool us spec\.addresses\[0\]: .*\nSnatPool us spec\.addresses\[1\]: /],
    ['an address that another has', binding('c', 'addresses: [10.0.0.1]', 'b'), /^SnatBinding [ab]\/[bc] spec\.addresses\[0\]: .*10\.0\.0\.1.*\[address-held\]$/m],
    ['a binding as specific as another', binding('c', 'pool: eu'), /a\/b.*a\/c|a\/c.*a\/b/],
    ['pools that overlap', pool('us', '10.0.0.9'), /\[pools-overlap\]$/m],
    ['what is about another namespace', binding('c', 'pool: eu').replace('subject: {namespace: a}', 'subject: {namespace: b}'), /\[subject-foreign\]\n {2}hint: /],
  ];
  for (const [what, object, words] of refused) {
    it(`refuses ${what}`, async () => {
      const answer = await review(requestOf(one(object)));
      assert.ok(!answer.allowed);
      assert.deepEqual([answer.status.code, answer.status.reason], [422, 'Invalid']);
      assert.match(answer.status.message, words);
    });
  }

  it('says it as "sallyport validate" does', async () => {
    const [rival, file] = [binding('c', 'addresses: [10.0.0.1]', 'b'), { file: 'x.yaml', text: documents(gateway(), pool(), binding('b', 'addresses: [10.0.0.1]'), binding('c', 'addresses: [10.0.0.1]', 'b')) }];
    const built = build(applyChange(emptyDesiredState, { put: parseManifests([file]).objects.map(({ object }) => object), remove: [] }), [], { now: 0, trustDomain: 'cluster.local' as TrustDomain });
    const answer = await review(requestOf(one(rival)));
    assert.ok(!answer.allowed && !built.ok);
    assert.equal(answer.status.message, built.faults.flatMap(describeFault).join('\n'));
  });

  const dangling: readonly [what: string, object: string, warning: RegExp][] = [
    ['a policy of a service', policy('later').replace('name: p', 'name: q'), /^EgressPolicy a\/q spec\.to\[0\]\.service: .*\[policy-service-unknown\]/],
    ['a binding to a pool', binding('c', 'pool: later', 'b'), /^SnatBinding b\/c spec\.pool: .*\[pool-unknown\]/],
    ['a service of a gateway', service('addresses: [10.9.0.2], gateway: later').replace('name: s', 'name: t'), /^ExternalService a\/t spec\.gateway: .*\[gateway-unknown\]/],
  ];
  for (const [what, object, warning] of dangling) {
    it(`warns of ${what} that may yet come`, async () => {
      const answer = await review(requestOf(one(object)));
      assert.equal(answer.allowed, true);
      assert.equal(answer.warnings.length, 1);
      assert.match(answer.warnings[0]!, warning);
      assert.ok(!answer.warnings[0]!.includes('\n'));
    });
  }

  it('lets a change take nothing from those who use what is the platform’s', async () => {
    const before = world[1]!;
    const answer = await review(requestOf(one(pool('eu', '10.0.0.2-10.0.0.9')), { operation: 'UPDATE', before }));
    assert.ok(!answer.allowed);
    assert.match(answer.status.message, /SnatBinding a\/b .*\[address-outside-pools\]/);
  });

  it('refuses that a pool in use is deleted, as a clash with the others', async () => {
    const answer = await review(requestOf(world[1]!, { operation: 'DELETE' }));
    assert.ok(!answer.allowed);
    assert.equal(answer.status.code, 409);
    assert.match(answer.status.message, /SnatBinding a\/b /);
  });

  it('lets nobody hold on to what is in a namespace, so that namespaces can be deleted', async () => {
    const answer = await review(requestOf(world[2]!, { operation: 'DELETE' }));
    assert.equal(answer.allowed, true);
    assert.match(answer.warnings.join('\n'), /EgressPolicy a\/p .*\[policy-service-unknown\]/);
    const clash = { code: 'binding-conflict', message: 'of others, once it is gone' };
    assert.deepEqual(await reviewChange(requestOf(world[2]!, { operation: 'DELETE' }), rootNamespace, () => Promise.resolve({ faults: [clash], warnings: [] })), { allowed: true, warnings: ['of others, once it is gone [binding-conflict]'] });
  });

  it('has nothing against what is right, in the older form too', async () => {
    assert.deepEqual(await review(requestOf(one(binding('c', 'pool: eu', 'b')))), { allowed: true, warnings: [] });
    const answer = await review(requestOf(one(older)));
    assert.equal(answer.allowed, true);
    assert.match(answer.warnings.join(), /subject-service-unknown/);
    const faulty = await review(requestOf(one(older.replace('192.0.2.7', '192.0.2.777'))));
    assert.match(faulty.allowed ? '' : faulty.status.message, /^ExternalService default\/o spec\.targetIP: /);
  });

  const unreadable = one(pool('us', '1.2.3'));
  const unasked: readonly [what: string, request: AdmissionRequest][] = [
    ['a status', requestOf(one(`${pool('us', '1.2.3')}status: {assigned: 1}\n`), { operation: 'UPDATE', before: unreadable })],
    ['a finalizer that is taken from what was never valid', requestOf({ ...unreadable, metadata: { ...unreadable.metadata, resourceVersion: '2' } }, { operation: 'UPDATE', before: unreadable })],
    ['what is being deleted', requestOf({ ...unreadable, metadata: { ...unreadable.metadata, deletionTimestamp: '2026-11-21T00:00:00Z' } }, { operation: 'UPDATE', before: one(pool('us', '10.1.0.1')) })],
    ['a kind that users do not write', requestOf(one(`${header('SnatAssignment', 'x')}spec: {}\n`))],
    ['a kind of the same name of others', requestOf(one(service('addresses: [x]').replace('sallyport.dev/v1alpha1', 'example.org/v1')))],
  ];
  for (const [what, request] of unasked) {
    it(`passes over ${what}`, async () => assert.deepEqual(await reviewChange(request, rootNamespace, nothingSaid), { allowed: true, warnings: [] }));
  }

  it('tells of thousands no more than a few', async () => {
    const faults = Array.from({ length: 5_000 }, (_, index) => ({ code: 'pool-unknown', message: `m${index}`, object: { kind: 'SnatBinding', namespace: 'a', name: `b${index}` } }));
    const answer = await reviewChange(requestOf(world[1]!, { operation: 'DELETE' }), rootNamespace, () => Promise.resolve({ faults, warnings: [] }));
    const lines = answer.allowed ? [] : answer.status.message.split('\n');
    assert.deepEqual([lines[0], lines.length, lines.at(-2)], ['5000 faults', 23, '4980 more faults are not shown [faults-omitted]']);
  });
});
