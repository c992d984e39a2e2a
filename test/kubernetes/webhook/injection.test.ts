import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { V1Deployment, V1ObjectMeta, V1Pod, V1PodSpec } from '@kubernetes/client-node';
import fc from 'fast-check';
import { parseAllDocuments } from 'yaml';
import type { TrustDomain } from '../../../src/core/spiffe-id.ts';
import type { AgentSettings } from '../../../src/kubernetes/webhook/agent-sidecar.ts';
import { injectAgent, injectKey, type InjectionOutcome, type JsonPatch } from '../../../src/kubernetes/webhook/injection.ts';
import { commandLine } from '../../cli/support/command-line.ts';
import { applyJsonPatch } from './support/json-patch.ts';

const settings: AgentSettings = { image: 'sallyport:test', control: 'sallyport.sallyport-system.svc:15012', trustDomain: 'cluster.local' as TrustDomain, systemNamespace: 'sallyport-system' };
/** Of plain fields, as it comes from an API server. */
type Fields<Model> = Pick<Model, keyof Model>;
type PodSpec = Fields<V1PodSpec>;

const app = { name: 'app', image: 'app:1' };
const podOf = (spec: Partial<PodSpec> = {}, metadata: Fields<V1ObjectMeta> = {}): V1Pod => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'pod', ...metadata }, spec: { containers: [app], ...spec } });

function injected(pod: V1Pod, patch: JsonPatch | null): V1Pod {
  assert.ok(patch !== null);
  return applyJsonPatch(pod, patch) as V1Pod;
}

describe('injection of the agent', () => {
  it('adds it before all other init containers, as one that goes on beside the application', () => {
    const pod = podOf({ initContainers: [{ name: 'migrate', image: 'app:1' }], volumes: [{ name: 'data', emptyDir: {} }] });
    const { initContainers, volumes, containers } = injected(pod, injectAgent(pod, 'bookinfo', settings).patch).spec!;
    assert.deepEqual(initContainers!.map(({ name, restartPolicy }) => [name, restartPolicy]), [['sallyport-agent', 'Always'], ['migrate', undefined]]);
    assert.deepEqual(volumes!.map(({ name }) => name), ['data', 'sallyport-identity', 'sallyport-state']);
    assert.deepEqual(containers, [app]);
  });

  it('tells it where the control plane is, and who', () => {
    const pod = podOf();
    const { args, image } = injected(pod, injectAgent(pod, 'bookinfo', { ...settings, control: 'sallyport.gate.svc:15012', trustDomain: 'example.org' as TrustDomain, systemNamespace: 'gate' }).patch).spec!.initContainers![0]!;
    assert.equal(image, 'sallyport:test');
    assert.ok(args!.includes('--control=sallyport.gate.svc:15012') && args!.includes('--control-identity=spiffe://example.org/ns/gate/sa/control') && args!.includes('--trust-domain=example.org'));
  });

  it('starts it with options that there are', async () => {
    const pod = podOf();
    const { args } = injected(pod, injectAgent(pod, 'bookinfo', settings).patch).spec!.initContainers![0]!;
    const { status, err } = await commandLine('/nonexistent/socket')(args!);
    assert.equal(status, 2);
    assert.match(err, /^error: "\/var\/run\/secrets\/sallyport\/trust\/trust-bundle.pem" cannot be read/); // and no word of an option
  });

  const sysctl = 'net.ipv4.ip_unprivileged_port_start';
  const sysctlCases: readonly [what: string, securityContext: object | undefined, expected: object][] = [
    ['where the pod says nothing', undefined, { sysctls: [{ name: sysctl, value: '0' }] }],
    ['beside what the pod says', { fsGroup: 7, sysctls: [{ name: 'net.ipv4.tcp_syncookies', value: '1' }] }, { fsGroup: 7, sysctls: [{ name: 'net.ipv4.tcp_syncookies', value: '1' }, { name: sysctl, value: '0' }] }],
    ['unless the pod says it otherwise', { sysctls: [{ name: sysctl, value: '80' }] }, { sysctls: [{ name: sysctl, value: '80' }] }],
  ];
  for (const [what, securityContext, expected] of sysctlCases) {
    it(`lets it offer ports below 1024 ${what}`, () => {
      const pod = podOf(securityContext === undefined ? {} : { securityContext });
      assert.deepEqual(injected(pod, injectAgent(pod, 'bookinfo', settings).patch).spec!.securityContext, expected);
    });
  }

  const annotated = (value: string) => podOf({}, { annotations: { [injectKey]: value } });
  const labelled = (value: string) => podOf({}, { labels: { [injectKey]: value } });
  const left: readonly [what: string, outcome: InjectionOutcome, pod: V1Pod, namespace: string, warning?: RegExp][] = [
    ['of kube-system', 'system-namespace', labelled('true'), 'kube-system'],
    ['of kube-public', 'system-namespace', podOf(), 'kube-public'],
    ['of its own namespace', 'system-namespace', labelled('true'), 'sallyport-system'],
    ['whose label says no', 'opted-out', labelled('false'), 'bookinfo'],
    ['whose annotation says no', 'opted-out', annotated('false'), 'bookinfo'],
    ['of which one of both says no', 'opted-out', podOf({}, { labels: { [injectKey]: 'true' }, annotations: { [injectKey]: 'false' } }), 'bookinfo'],
    ['with an agent of its own making', 'already-there', podOf({ containers: [app, { name: 'sallyport-agent' }] }), 'bookinfo'],
    ['that a kubelet has from a file', 'static-pod', podOf({}, { annotations: { 'kubernetes.io/config.mirror': 'x' } }), 'bookinfo'],
    ["in the node's network", 'host-network', podOf({ hostNetwork: true }), 'bookinfo', /hostNetwork .* loopback of the node/],
    ['of Windows', 'not-linux', podOf({ os: { name: 'windows' } }), 'bookinfo', /does not run on windows/],
  ];
  for (const [what, outcome, pod, namespace, warning] of left) {
    it(`leaves a pod ${what} as it is${warning === undefined ? '' : ', and says why'}`, () => {
      const injection = injectAgent(pod, namespace, settings);
      assert.deepEqual([injection.outcome, injection.patch, injection.warnings.length], [outcome, null, warning === undefined ? 0 : 1]);
      if (warning !== undefined) assert.match(injection.warnings[0]!, warning);
    });
  }

  it('takes what is neither yes nor no for no answer, and says so', () => {
    for (const pod of [labelled('no'), annotated('disabled')]) {
      const { outcome, warnings } = injectAgent(pod, 'bookinfo', settings);
      assert.equal(outcome, 'injected');
      assert.match(warnings.join(), /"true" or "false", not "(no|disabled)"/);
    }
  });

  it('is written out in the example for those who do without it', () => {
    const text = readFileSync(new URL('../../../manifests/kubernetes/agent-without-webhook.yaml', import.meta.url), 'utf8');
    const deployment = parseAllDocuments(text).map((document) => document.toJS() as V1Deployment).find(({ kind }) => kind === 'Deployment')!;
    const { initContainers: _initContainers, volumes: _volumes, securityContext: _securityContext, ...bare }: PodSpec = deployment.spec!.template.spec!;
    const [agent] = deployment.spec!.template.spec!.initContainers!;
    const pod = podOf(bare);
    const { patch } = injectAgent(pod, 'bookinfo', { ...settings, image: agent!.image!, control: 'sallyport.sallyport-system.svc.cluster.local:15012' });
    assert.deepEqual(injected(pod, patch).spec, deployment.spec!.template.spec);
  });

  const name = fc.stringMatching(/^[a-r][a-z]{0,5}$/); // none of ours
  const named = (more: fc.Arbitrary<object> = fc.constant({})) => fc.uniqueArray(fc.tuple(name, more).map(([text, rest]) => ({ name: text, ...rest })), { maxLength: 3, selector: (each) => each.name });
  const optional = <Value>(value: fc.Arbitrary<Value>, field: string) => fc.oneof(fc.constant({}), value.map((present) => ({ [field]: present })));
  const anyPod = fc
    .tuple(
      optional(named(), 'initContainers'),
      optional(named(fc.constant({ emptyDir: {} })), 'volumes'),
      optional(fc.tuple(optional(fc.uniqueArray(fc.constantFrom(sysctl, 'kernel.shm_rmid_forced').map((each) => ({ name: each, value: '1' })), { selector: (each) => each.name }), 'sysctls'), optional(fc.nat(), 'runAsUser')).map(([a, b]) => ({ ...a, ...b })), 'securityContext'),
      optional(fc.boolean(), 'hostNetwork'),
      fc.constantFrom<string | undefined>(undefined, 'true', 'false', 'yes'),
    )
    .map(([initContainers, volumes, securityContext, hostNetwork, wish]) => podOf({ ...initContainers, ...volumes, ...securityContext, ...hostNetwork }, wish === undefined ? {} : { labels: { [injectKey]: wish } }));

  it('happens once, and takes nothing from the pod', () => {
    fc.assert(
      fc.property(anyPod, fc.constantFrom('bookinfo', 'kube-system'), (pod, namespace) => {
        const { patch } = injectAgent(pod, namespace, settings);
        if (patch === null) return;
        const after = injected(pod, patch);
        assert.equal(injectAgent(after, namespace, settings).outcome, 'already-there');
        assert.deepEqual(after.spec!.initContainers!.slice(1), pod.spec!.initContainers ?? []);
        assert.deepEqual(after.spec!.volumes!.slice(0, -2), pod.spec!.volumes ?? []);
        const { sysctls, ...rest } = after.spec!.securityContext!;
        const { sysctls: before = [], ...restBefore } = pod.spec!.securityContext ?? {};
        assert.deepEqual([rest, sysctls!.slice(0, before.length)], [restBefore, before]);
        const untouched = (spec: PodSpec): object => ({ ...spec, initContainers: 0, volumes: 0, securityContext: 0 });
        assert.deepEqual(untouched(after.spec!), untouched(pod.spec!));
        for (const list of [after.spec!.volumes!, [...after.spec!.initContainers!, ...after.spec!.containers], sysctls!]) assert.equal(new Set(list.map((each) => each.name)).size, list.length);
      }),
    );
  });
});
