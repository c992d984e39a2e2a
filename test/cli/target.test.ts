import assert from 'node:assert/strict';
import type { AdminClient } from '../../src/api/admin-client.ts';
import { mergeProxies, mergeWhois, replicaLines, type LinesOptions } from '../../src/cli/replicas.ts';
import { chooseTarget, type ReplicaClient, type Surroundings, type Target } from '../../src/cli/target.ts';
import type { ProxyStatus, WhoisConnection } from '../../src/api/admin.ts';

const socketPath = '/state/admin.sock';
const home = { HOME: '/people/ada' };
const nothing: Surroundings = { namesCluster: false, namesServer: false, env: home, socketPath, exists: () => false };
const with_ = (...paths: readonly string[]) => (path: string): boolean => paths.includes(path);

describe('whom a command asks', () => {
  const cases: readonly [what: string, Partial<Surroundings>, Target, isGuess: boolean][] = [
    ['the cluster that is named, whatever the environment says', { namesCluster: true, env: { SALLYPORT_SERVER: 'a:1' }, exists: with_(socketPath) }, 'cluster', false],
    ['the control plane that is named, as a plugin of kubectl too', { namesServer: true, env: { SALLYPORT_KUBERNETES: 'true' } }, 'server', false],
    ['the cluster, as a plugin of kubectl, whatever runs here', { env: { SALLYPORT_KUBERNETES: 'true', SALLYPORT_SERVER: 'a:1' }, exists: with_(socketPath) }, 'cluster', false],
    ['the control plane that the environment names', { env: { ...home, SALLYPORT_SERVER: 'a:1' }, exists: with_('/people/ada/.kube/config') }, 'server', false],
    ['the control plane whose socket the environment names', { env: { ...home, SALLYPORT_SOCKET: '/s' }, exists: with_('/people/ada/.kube/config') }, 'server', false],
    ['the control plane that is here, before a cluster that could be meant', { exists: with_(socketPath, '/people/ada/.kube/config') }, 'server', true],
    ['the cluster of the kubeconfig, where no control plane is here', { exists: with_('/people/ada/.kube/config') }, 'cluster', true],
    ['the cluster of one of the files of KUBECONFIG', { env: { ...home, KUBECONFIG: '/a:/b' }, exists: with_('/b') }, 'cluster', true],
  ];
  for (const [what, surroundings, target, isGuess] of cases) it(`is ${what}`, () => assert.deepEqual(chooseTarget({ ...nothing, ...surroundings }), { target, isGuess }));

  it('is said by whoever names both to be one of them', () => {
    assert.throws(() => chooseTarget({ ...nothing, namesCluster: true, namesServer: true }), { code: 'usage' });
  });

  it('is nobody where nothing is there, and both ways are told', () => {
    assert.throws(() => chooseTarget(nothing), { code: 'unavailable', message: /no socket at "\/state\/admin\.sock", and no kubeconfig/, hint: /sallyport serve.*--server.*--kubeconfig/ });
  });

  it('is not the cluster of a kubeconfig that KUBECONFIG has put aside', () => {
    assert.throws(() => chooseTarget({ ...nothing, env: { ...home, KUBECONFIG: '/a' }, exists: with_('/people/ada/.kube/config') }), { code: 'unavailable' });
  });
});

describe('answers of several replicas', () => {
  const connection = (connectionId: string, time: string, isClosed: boolean) => ({ opened: { connectionId, time }, closed: isClosed ? { connectionId } : null }) as unknown as WhoisConnection;

  it('tell a connection once, with its end where one of them has heard of it', () => {
    const [open, closed, other] = [connection('a', '1', false), connection('a', '1', true), connection('b', '2', false)];
    assert.deepEqual(mergeWhois([{ connections: [open], nearest: null }, { connections: [closed, other], nearest: null }]), { connections: [closed, other], nearest: null });
    assert.deepEqual(mergeWhois([{ connections: [closed], nearest: null }, { connections: [open], nearest: null }]).connections, [closed]);
  });

  it('name the last that any of them knows, and nobody once one knows who it was', () => {
    const [early, late] = [connection('a', '2026-11-21T07:00:00Z', true), connection('b', '2026-11-21T08:00:00Z', true)];
    assert.equal(mergeWhois([{ connections: [], nearest: early }, { connections: [], nearest: late }, { connections: [], nearest: null }]).nearest, late);
    assert.deepEqual(mergeWhois([{ connections: [], nearest: late }, { connections: [early], nearest: null }]), { connections: [early], nearest: null });
  });

  describe('by records', () => {
    const replica = (name: string, ...times: readonly number[]): ReplicaClient => ({
      name,
      // eslint-disable-next-line @typescript-eslint/require-await -- a stream, of what is there already
      client: { lines: async function* () { for (const time of times) yield JSON.stringify({ time: String(time) }); } } as unknown as AdminClient,
    });
    const told = async (options: Omit<LinesOptions, 'signal'>, ...replicas: readonly [ReplicaClient, ...ReplicaClient[]]) => {
      const lines: string[] = [];
      for await (const { replica: name, line } of replicaLines(replicas, '/', {}, { ...options, signal: new AbortController().signal })) lines.push(`${name}${(JSON.parse(line) as { readonly time: string }).time}`);
      return lines;
    };

    it('tell them in the order of their times, and the last of all', async () => {
      assert.deepEqual(await told({ follow: false }, replica('a', 1, 4), replica('b', 2, 3)), ['a1', 'b2', 'b3', 'a4']);
      assert.deepEqual(await told({ follow: false, last: 2 }, replica('a', 1, 4), replica('b', 2, 3)), ['b3', 'a4']);
    });

    it('tell those that are followed as they come', async () => {
      assert.deepEqual((await told({ follow: true }, replica('a', 1, 4), replica('b', 2, 3))).toSorted(), ['a1', 'a4', 'b2', 'b3']);
    });
  });

  it('say of a proxy what the replica says that it is connected to', () => {
    const proxy = (node: string, connected: boolean, version: string) => ({ node, connected, version }) as unknown as ProxyStatus;
    assert.deepEqual(mergeProxies([[proxy('a', false, '1'), proxy('b', true, '1')], [proxy('a', true, '2'), proxy('b', false, '2'), proxy('c', true, '2')]]), [proxy('a', true, '2'), proxy('b', true, '1'), proxy('c', true, '2')]);
  });
});
