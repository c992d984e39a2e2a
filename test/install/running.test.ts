import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createProcesses, findFreePorts, waitFor, type Processes } from '../../src/demo/processes.ts';
import { mergeContentType } from '../../src/kubernetes/client.ts';
import { createApiClient, type ApiClient } from '../../src/kubernetes/index.ts';
import { clusterOf, conditionsOf, manifestsIn, type Cluster, type Manifest } from '../support/cluster.ts';
import { useKubernetes } from '../support/kubernetes.ts';

const system = 'sallyport-system';
const example = (name: string): readonly Manifest[] => manifestsIn(new URL(`../../manifests/examples/${name}.yaml`, import.meta.url).pathname);

interface StatefulSet {
  readonly spec: { readonly template: { readonly spec: { readonly containers: readonly [{ readonly args: readonly string[] }] } } };
}

describe('the control plane, started as it is installed,', function () {
  let directory: string;
  let client: ApiClient;
  let cluster: Cluster;
  let processes: Processes;
  after(async () => {
    await processes.stop(); // before the API server
    await rm(directory, { recursive: true, force: true });
  });
  const server = useKubernetes(this, { record: true });
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-installed-'));
    client = createApiClient(server().kubeConfig());
    cluster = clusterOf(client);
    processes = createProcesses(directory, { ...process.env, SALLYPORT_STATE: directory, POD_NAME: 'sallyport-0' });
    process.once('exit', processes.killAll);
  });

  const get = async <Answer>(path: string): Promise<Answer> => await client.request<Answer>({ method: 'GET', path });
  const succeeds = async (...args: readonly string[]): Promise<true | undefined> => ((await processes.run(args)).status === 0 ? true : undefined);

  /** Its service account's, with the role that is installed. */
  async function tokenOfControl(): Promise<string> {
    const path = `/api/v1/namespaces/${system}/serviceaccounts/control/token`;
    return (await client.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path, body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } })).status.token;
  }

  /** Nobody is behind the Service here: the API server asks at the port itself. */
  async function leadWebhooksTo(port: number): Promise<void> {
    for (const [configuration, path] of [['mutatingwebhookconfigurations/sallyport-inject', 'inject'], ['validatingwebhookconfigurations/sallyport-validate', 'validate']] as const) {
      const place = `/apis/admissionregistration.k8s.io/v1/${configuration}`;
      const { webhooks } = await get<{ readonly webhooks: readonly object[] }>(place);
      await client.request({ method: 'PATCH', path: place, contentType: mergeContentType, body: { webhooks: webhooks.map((each) => ({ ...each, clientConfig: { url: `https://127.0.0.1:${port}/${path}` } })) } });
    }
  }

  it('comes up with the arguments of its manifest', async () => {
    assert.ok(await succeeds('install', '--kubeconfig', await server().kubeConfigFile(), '--older-form'));
    const [mesh, probe, webhook] = (await findFreePorts(3)) as [number, number, number];
    await leadWebhooksTo(webhook);
    const here = new Map([['15012', mesh], ['15020', probe], ['15017', webhook]]);
    const { spec } = await get<StatefulSet>(`/apis/apps/v1/namespaces/${system}/statefulsets/sallyport`);
    const args = spec.template.spec.containers[0].args.map((argument) => argument.replace(/\[::\]:(\d+)$/, (_, port: string) => `127.0.0.1:${here.get(port)!}`));
    processes.start('control', [...args, '--kubeconfig', await server().kubeConfigFile({ token: await tokenOfControl() })]);
    await waitFor('its CA', 20_000, async () => await succeeds('ca', 'init'));
    await waitFor('its readiness', 20_000, async () => ((await fetch(`http://127.0.0.1:${probe}/readyz`).catch(() => undefined))?.ok === true ? true : undefined));
  });

  it('does what it is for, and asks for nothing that it may not', async () => {
    const [forwardProxy, older] = [example('bookinfo-forward-proxy'), example('older-external-service')];
    const of = (kind: string): Manifest => forwardProxy.find((object) => object.kind === kind)!;
    const registered: Manifest = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'bigip-proxy-svc', namespace: 'bookinfo' } };
    await cluster.apply(...forwardProxy);
    await cluster.until(of('SnatBinding'), 'accepted', (live) => conditionsOf(live, 'Accepted') === 'Accepted=True');
    await cluster.until(registered, 'registered', () => true);
    await cluster.until({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'sallyport-trust-bundle', namespace: 'bookinfo' } }, 'there', () => true);
    assert.equal((await cluster.list('SnatAssignment')).length, 1);
    await cluster.apply(...older);
    await cluster.until(older[0]!, 'heard of', (live) => (live.status?.conditions?.length ?? 0) > 0);
    await cluster.remove(of('SnatBinding'), of('EgressPolicy'), of('ExternalService'));
    await waitFor('the registration to be taken back', 15_000, async () => ((await cluster.get(registered)) === undefined ? true : undefined));
    await waitFor('the address to be given back', 15_000, async () => (await cluster.list('SnatAssignment')).some(({ spec }) => spec['holder'] === 'ns/bookinfo' && spec['releasedAt'] !== undefined) || undefined);
    const asked = (await server().uses()).filter(({ user }) => user === `system:serviceaccount:${system}:control`);
    assert.ok(asked.length > 20);
    assert.deepEqual(asked.filter(({ isAllowed }) => !isAllowed), []);
  });
});
