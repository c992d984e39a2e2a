import { KubernetesObjectApi, type KubernetesObject } from '@kubernetes/client-node';
import assert from 'node:assert/strict';
import pino from 'pino';
import { waitFor } from '../../../src/demo/processes.ts';
import { createApiClient } from '../../../src/kubernetes/client.ts';
import { customResourceDefinitions } from '../../../src/kubernetes/index.ts';
import { reflect, type Mirror } from '../../../src/kubernetes/watch/reflect.ts';
import type { ApiObject, ObjectChange } from '../../../src/kubernetes/watch/reflection.ts';
import { useKubernetes } from '../../support/kubernetes.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';

const resource = { group: 'sallyport.dev', version: 'v1alpha1', plural: 'snatpools' };
const pool = (name: string, addresses = ['192.0.2.0/24']) => ({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'SnatPool', metadata: { name }, spec: { addresses } });

describe('the mirror of a resource at a real API server', function () {
  const server = useKubernetes(this);
  let objects: KubernetesObjectApi;
  before(async function () {
    objects = KubernetesObjectApi.makeApiClient(server().kubeConfig());
    await objects.create(customResourceDefinitions.find(({ metadata }) => metadata.name === 'snatpools.sallyport.dev') as unknown as KubernetesObject);
    await waitFor('the definition', 10_000, async () => (await objects.list('sallyport.dev/v1alpha1', 'SnatPool').catch(() => undefined)) ?? undefined);
  });

  async function withMirror(use: (mirror: Mirror<ApiObject>, changes: readonly ObjectChange<ApiObject>[]) => Promise<void>, address = `127.0.0.1:${server().port}`): Promise<void> {
    const changes: ObjectChange<ApiObject>[] = [];
    const mirror = reflect({ client: createApiClient(server().kubeConfig({ address })), resource, onChange: (made) => void changes.push(...made), random: Math.random, log: pino({ level: 'silent' }) });
    try {
      await mirror.synced;
      await use(mirror, changes);
    } finally {
      mirror.close();
    }
  }

  const names = (mirror: Mirror<ApiObject>): string => [...mirror.objects.keys()].sort().join();
  const becomes = (mirror: Mirror<ApiObject>, expected: string) => waitFor(`${expected}, having ${names(mirror)}`, 50_000, () => (names(mirror) === expected ? true : undefined));

  it('sees what is there, what comes and what goes', async () => {
    await objects.create(pool('a'));
    await withMirror(async (mirror, changes) => {
      assert.equal(names(mirror), 'a');
      await objects.create(pool('b'));
      await becomes(mirror, 'a,b');
      await objects.delete(pool('a'));
      await becomes(mirror, 'b');
      assert.deepEqual(changes.map(({ name, before, after }) => `${before === null ? '+' : after === null ? '-' : '~'}${name}`), ['+a', '+b', '-a']);
      await objects.delete(pool('b'));
    });
  });

  it('is not cut off from a server that does not know what may be there or not', async () => {
    const client = createApiClient(server().kubeConfig());
    const mirror = reflect({ client, resource: { ...resource, plural: 'moats' }, isOptional: true, random: Math.random, log: pino({ level: 'silent' }) });
    try {
      await mirror.synced;
      await waitFor('an answer', 5_000, () => mirror.isConnected || undefined);
      await server().kill();
      await waitFor('the loss to be noticed', 40_000, () => (mirror.isConnected ? undefined : true));
    } finally {
      mirror.close();
      await server().restart();
    }
  });

  it('is connected again as soon as its watch is taken, though nothing has changed', async () => {
    const proxy = await startTcpProxy(server().port);
    try {
      await withMirror(async (mirror) => {
        await waitFor('the loss to be noticed', 5_000, () => {
          proxy.cut();
          return mirror.isConnected ? undefined : true;
        });
        await waitFor('its return', 10_000, () => mirror.isConnected || undefined);
      }, proxy.address);
    } finally {
      proxy.close();
    }
  });

  it('lists more than a page', async () => {
    const many = Array.from({ length: 520 }, (_, index) => pool(`p${index}`));
    for (let from = 0; from < many.length; from += 40) await Promise.all(many.slice(from, from + 40).map((each) => objects.create(each)));
    await withMirror(async (mirror) => {
      assert.equal(mirror.objects.size, many.length);
      for (let from = 0; from < many.length; from += 40) await Promise.all(many.slice(from, from + 40).map((each) => objects.delete(each)));
      await becomes(mirror, '');
    });
  });

  it('keeps what it knows while the server is killed, and learns what changed behind its back', async () => {
    await objects.create(pool('kept'));
    await withMirror(async (mirror) => {
      await server().kill();
      await waitFor('the loss to be noticed', 10_000, () => (mirror.isConnected ? undefined : true));
      assert.equal(names(mirror), 'kept');
      await server().restart();
      await objects.create(pool('new'));
      await becomes(mirror, 'kept,new');
    });
    await objects.delete(pool('kept'));
    await objects.delete(pool('new'));
  });

  it('lists again where the history that it would go on from is compacted', async () => {
    await objects.create(pool('old'));
    const way = await startTcpProxy(server().port);
    await withMirror(async (mirror, changes) => {
      way.refuses = true;
      way.cut();
      await waitFor('the loss to be noticed', 10_000, () => (mirror.isConnected ? undefined : true));
      await objects.delete(pool('old'));
      await objects.create(pool('young'));
      await server().compact();
      await server().kill(); // it has a history of its own in memory
      await server().restart();
      way.refuses = false;
      await becomes(mirror, 'young');
      assert.deepEqual(changes.map(({ name, before, after }) => `${before === null ? '+' : after === null ? '-' : '~'}${name}`), ['+old', '-old', '+young']);
    }, way.address);
    way.close();
    await objects.delete(pool('young'));
  });
});
