import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import pino from 'pino';
import { waitFor } from '../../../src/demo/processes.ts';
import { createApiClient } from '../../../src/kubernetes/client.ts';
import { reflect, type Mirror } from '../../../src/kubernetes/watch/reflect.ts';
import type { ApiObject } from '../../../src/kubernetes/watch/reflection.ts';
import { answer, events, refuse, startFakeApiServer, type FakeApiServer } from '../../support/fake-api-server.ts';

const item = (name: string, resourceVersion: number): ApiObject => ({ metadata: { name, uid: name, resourceVersion: String(resourceVersion) } });
const page = (resourceVersion: number, items: readonly ApiObject[], more?: string) => answer({ apiVersion: 'v1', kind: 'ThingList', metadata: { resourceVersion: String(resourceVersion), ...(more === undefined ? {} : { continue: more }) }, items });
const added = (name: string, resourceVersion: number): object => ({ type: 'ADDED', object: item(name, resourceVersion) });
const gone = { type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } };
const breakOff = (response: ServerResponse): void => {
  response.writeHead(200, { 'content-type': 'application/json' }).write('{"metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"h');
  setImmediate(() => response.destroy());
};

describe('the mirror of a resource at an API server that answers badly', () => {
  let server: FakeApiServer;
  let mirror: Mirror<ApiObject>;
  /** What was told, call by call: `+a` for what came, `-a` for what went. */
  let told: string[];
  afterEach(() => {
    mirror.close();
    server.close();
  });

  async function mirrorOf(...answers: readonly ((response: ServerResponse) => void)[]): Promise<void> {
    server = await startFakeApiServer(...answers);
    told = [];
    mirror = reflect<ApiObject>({ client: createApiClient(server.access), resource: { group: '', version: 'v1', plural: 'things' }, onChange: (changes) => void told.push(changes.map(({ name, after }) => `${after === null ? '-' : '+'}${name}`).join()), random: () => 0, log: pino({ level: 'silent' }) });
  }
  const wasTold = (...expected: readonly string[]) => waitFor(`${expected.join(' ')}, having ${told.join(' ')}`, 5_000, () => (told.length >= expected.length ? true : undefined)).then(() => assert.deepEqual(told, expected));
  const requests = (): readonly string[] => server.asked.map(({ query }) => (query.has('watch') ? `watch ${query.get('resourceVersion')!}` : `list ${query.get('continue') ?? ''}`.trim()));

  for (const [what, failure] of [['is refused', refuse(500, 'InternalError')], ['has gone', refuse(410, 'Expired')], ['breaks off', breakOff]] as const) {
    it(`tells nothing of a list one of whose pages ${what}, but all of the next one`, async () => {
      await mirrorOf(page(7, [item('a', 1), item('b', 2)], 'more'), failure, page(9, [item('a', 1)], 'rest'), page(9, [item('c', 8)]));
      await wasTold('+a,+c');
      await waitFor('the watch', 5_000, () => (requests().length === 5 ? true : undefined));
      assert.deepEqual(requests(), ['list', 'list more', 'list', 'list rest', 'watch 9']);
    });
  }

  it('asks for no watch sooner than it is told, and goes on where it was', async () => {
    await mirrorOf(page(7, [item('a', 1)]), refuse(429, 'TooManyRequests', { 'retry-after': '1' }), events(added('b', 8)));
    await wasTold('+a', '+b');
    assert.deepEqual(requests(), ['list', 'watch 7', 'watch 7']);
    const [, refused, next] = server.asked;
    assert.ok(next!.atMs - refused!.atMs >= 1_000, `after ${next!.atMs - refused!.atMs} ms`);
  });

  it('asks for no list sooner than it is told', async () => {
    await mirrorOf(refuse(429, 'TooManyRequests', { 'retry-after': '1' }), page(7, [item('a', 1)]));
    await wasTold('+a');
    const [refused, next] = server.asked;
    assert.ok(next!.atMs - refused!.atMs >= 1_000, `after ${next!.atMs - refused!.atMs} ms`);
  });

  it('loses nothing by watches that are refused or break off in the middle of an event', async () => {
    const half = (response: ServerResponse): void => {
      response.writeHead(200, { 'content-type': 'application/json' }).write(`${JSON.stringify(added('b', 8))}\n{"type":"ADDED","object":{"metadata":{"name":"h`);
      setTimeout(() => response.destroy(), 20);
    };
    await mirrorOf(page(7, [item('a', 1)]), refuse(500, 'InternalError'), half, refuse(503, 'ServiceUnavailable'), events(added('c', 9)));
    await wasTold('+a', '+b', '+c');
    assert.deepEqual(requests(), ['list', 'watch 7', 'watch 7', 'watch 8', 'watch 8']);
  });

  it('lists less and less often at a server that has always forgotten already where the list was', async () => {
    const rounds = Array.from({ length: 4 }, (_, round) => [page(7 + round, [item('a', 1)]), events(gone)]).flat();
    await mirrorOf(...rounds);
    await waitFor('four lists', 5_000, () => (server.asked.length === rounds.length ? true : undefined));
    const lists = server.asked.filter(({ query }) => !query.has('watch')).map(({ atMs }) => atMs);
    const pauses = lists.slice(1).map((atMs, index) => atMs - lists[index]!);
    assert.ok(pauses[1]! >= 190 && pauses[2]! >= 390, pauses.join());
  });
});
