/** Whatever `generate ftp-server` writes holds against the schemas by which API servers and F5 CIS judge it. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { parseAllDocuments } from 'yaml';
import type { IpAddress } from '../../src/core/ip-address.ts';
import { formatExplained, ftpServerFaults, generateFtpServer, type FtpServerOptions } from '../../src/generate/index.ts';
import { loadKubernetesSchemas, type KubernetesObject, type KubernetesSchemas } from '../support/kubernetes-schemas.ts';
import { requirePeer } from '../support/peers.ts';

/** F5's, which are beside the checkout and no part of it: where they are not, its kinds are held to nothing here, and all others are. */
const cisDefinitions = join(import.meta.dirname, '../../../shared/cis/customresourcedefinitions.yml');
const knowsCis = existsSync(cisDefinitions);
const isHeld = ({ kind }: KubernetesObject): boolean => kind !== 'Policy' || knowsCis;

const address = '203.0.113.40' as IpAddress;
const server: FtpServerOptions = { name: 'partner-drop', namespace: 'ftp', mode: 'loadbalancer', passivePorts: { first: 30_100, last: 30_109 }, cis: false, image: 'vsftpd', storage: '10Gi' };
const servers: Readonly<Record<string, FtpServerOptions>> = {
  'a load balancer that is given an address': server,
  'a load balancer whose address is known': { ...server, address },
  'a load balancer of a class': { ...server, loadBalancerClass: 'example.com/partners' },
  'CIS and an address': { ...server, cis: true, address },
  "CIS and F5's IPAM": { ...server, cis: true, ipamLabel: 'partners' },
  'node ports': { ...server, mode: 'nodeport' },
  'node ports at an address': { ...server, mode: 'nodeport', address },
  'pods reached directly': { ...server, mode: 'clusterip', address },
};

/** As kubectl reads YAML: of version 1.1, where `on` is true. */
const written = (options: FtpServerOptions): readonly KubernetesObject[] => parseAllDocuments(formatExplained(generateFtpServer(options).objects), { version: '1.1' }).map((document) => document.toJS() as KubernetesObject);

type Path = readonly (string | number)[];

type Field = readonly [key: string, value: unknown];

/** The object with the field at this place made others, or none. */
const revised = (object: KubernetesObject, path: Path, revise: (field: Field) => readonly Field[]): KubernetesObject => revisedValue(object, path.map(String), revise) as KubernetesObject;

function revisedValue(value: unknown, [key, ...rest]: readonly string[], revise: (field: Field) => readonly Field[]): unknown {
  const fields = Object.entries(value as object).flatMap((field: Field) => (field[0] !== key ? [field] : rest.length === 0 ? revise(field) : [[key, revisedValue(field[1], rest, revise)] as const]));
  return Array.isArray(value) ? fields.map(([, element]) => element) : Object.fromEntries(fields);
}

const withValue = (object: KubernetesObject, path: Path, value: unknown): KubernetesObject => revised(object, path, ([key]) => [[key, value]]);
const without = (object: KubernetesObject, path: Path): KubernetesObject => revised(object, path, () => []);
const misspelt = (object: KubernetesObject, path: Path): KubernetesObject => revised(object, path, ([key, value]) => [[`${key}s`, value]]);

/** Whose keys are anybody's. */
const freeMaps = ['annotations', 'labels', 'matchLabels', 'requests', 'selector'];

/** Every field of the object that a schema names. */
function fieldsOf(value: unknown, path: Path = []): readonly Path[] {
  if (typeof value !== 'object' || value === null) return [];
  const isFree = freeMaps.includes(String(path.at(-1))) && !('matchLabels' in value);
  return Object.entries(value).flatMap(([key, inner]) => [...(Array.isArray(value) || isFree ? [] : [[...path, key]]), ...fieldsOf(inner, [...path, key])]);
}

describe('what is written of an FTP server', () => {
  let schemas: KubernetesSchemas;

  before(function () {
    schemas = loadKubernetesSchemas(requirePeer(this, 'kubernetesOpenApi'), knowsCis ? cisDefinitions : undefined);
  });

  const kind = (name: string): KubernetesObject => written(servers['CIS and an address']!).find((object) => object.kind === name)!;

  for (const [what, options] of Object.entries(servers)) {
    it(`has every object as its schema wants it, with ${what}`, () => {
      assert.deepEqual(ftpServerFaults(options), []);
      assert.deepEqual(written(options).map((object) => [object.kind, ...(isHeld(object) ? schemas.faultsOf(object) : [])]), ['Namespace', 'PersistentVolumeClaim', 'Deployment', ...(options.cis ? ['Policy'] : []), 'Service'].map((name) => [name]));
    });
  }

  it('reads as the same names whoever reads it', () => {
    const name = fc.oneof(fc.constantFrom('on', 'off', 'yes', 'no', 'y', 'n', 'true', 'null', 'o12'), fc.stringMatching(/^[a-z]([-a-z0-9]{0,8}[a-z0-9])?$/));
    const namespace = fc.oneof(fc.constantFrom('0777', '1e3', '0x1f', '0b1', '12'), name);
    fc.assert(
      fc.property(name, namespace, (name, namespace) => {
        const objects = written({ ...servers['CIS and an address']!, name, namespace });
        assert.deepEqual(objects.filter(isHeld).flatMap((object) => schemas.faultsOf(object)), []);
        assert.deepEqual(objects, generateFtpServer({ ...servers['CIS and an address']!, name, namespace }).objects.map(({ object }) => object));
      }),
      { numRuns: 30 },
    );
  });

  describe('is held by schemas that refuse', () => {
    it('any field misspelt', () => {
      for (const object of written(servers['CIS and an address']!).filter(isHeld)) {
        const fields = fieldsOf(object).filter(([first]) => first !== 'apiVersion' && first !== 'kind');
        assert.ok(fields.length > 0);
        for (const field of fields) assert.ok(schemas.faultsOf(misspelt(object, field)).some((fault) => fault.includes(`"${String(field.at(-1))}s"`)), `${object.kind} ${field.join('.')}`);
      }
    });

    type Broken = readonly [what: string, object: () => KubernetesObject, faults: readonly string[]];
    const ofCis: readonly Broken[] = [
      ['an iRule by less than its path', () => withValue(kind('Policy'), ['spec', 'iRuleList', 0], 'ports of ftp'), [`/spec/iRuleList/0: must match pattern`]],
      ['a profile by less than its path', () => withValue(kind('Policy'), ['spec', 'profiles', 'ftpProfile'], 'ftp'), ['/spec/profiles/ftpProfile: must match pattern']],
      ['labels of a Policy that are no text', () => withValue(kind('Policy'), ['metadata', 'labels', 'f5cr'], true), ['/metadata/labels/f5cr: must be string']],
    ];
    const faults: readonly Broken[] = [
      ['a port that is text', () => withValue(kind('Service'), ['spec', 'ports', 1, 'nodePort'], '30100'), ['/spec/ports/1/nodePort: must be integer']],
      ['a port with a fraction', () => withValue(kind('Service'), ['spec', 'ports', 1, 'port'], 30_100.5), ['/spec/ports/1/port: must be integer', '/spec/ports/1/port: must match format "int32"']],
      ['a port that no int32 holds', () => withValue(kind('Service'), ['spec', 'ports', 1, 'nodePort'], 2 ** 31), ['/spec/ports/1/nodePort: must match format "int32"']],
      ['a port of no number', () => without(kind('Service'), ['spec', 'ports', 1, 'port']), ["/spec/ports/1: must have required property 'port'"]],
      ['an annotation that is no text', () => withValue(kind('Service'), ['metadata', 'annotations', 'cis.f5.com/ip'], true), ['/metadata/annotations/cis.f5.com~1ip: must be string']],
      ['a Deployment that selects nothing', () => without(kind('Deployment'), ['spec', 'selector']), ["/spec: must have required property 'selector'"]],
      ['an environment whose value is a number', () => withValue(kind('Deployment'), ['spec', 'template', 'spec', 'containers', 0, 'env', 3, 'value'], 30_100), ['/spec/template/spec/containers/0/env/3/value: must be string']],
      ['a container without a name', () => without(kind('Deployment'), ['spec', 'template', 'spec', 'containers', 0, 'name']), ["/spec/template/spec/containers/0: must have required property 'name'"]],
      ['access modes that are no list', () => withValue(kind('PersistentVolumeClaim'), ['spec', 'accessModes'], 'ReadWriteOnce'), ['/spec/accessModes: must be array']],
      ...(knowsCis ? ofCis : []),
    ];
    for (const [what, object, expected] of faults) {
      it(what, () => {
        const found = schemas.faultsOf(object());
        assert.equal(found.length, expected.length, found.join('\n'));
        for (const [index, beginning] of expected.entries()) assert.ok(found[index]!.startsWith(beginning), found[index]);
      });
    }

    it('an object of another version', () => assert.throws(() => schemas.faultsOf({ ...kind('Deployment'), apiVersion: 'apps/v1beta1' }), /there is no schema of apps\/v1beta1 Deployment/));
  });
});
