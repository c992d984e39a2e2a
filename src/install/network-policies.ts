/** Who may speak with the control plane, and with whom it may. Gateways are on the network of their nodes, which no policy is about. */
import type { ExplainedObject } from '../generate/index.ts';
import { syslogPorts } from './control-plane.ts';
import { labelsOf, metadataOf } from './metadata.ts';
import { controlPlaneName, ports } from './names.ts';
import type { InstallOptions } from './options.ts';

/** Of a namespace whose pods may read the metrics. */
const metricsLabel = 'sallyport.dev/metrics';

export function networkPolicies(options: InstallOptions): readonly ExplainedObject[] {
  const { namespace, webhooks, ledgerOtlp } = options;
  const policy = (name: string, spec: object): ExplainedObject['object'] => ({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: metadataOf('control-plane', name, namespace), spec });
  const tcp = (...numbers: readonly number[]): readonly object[] => numbers.map((port) => ({ protocol: 'TCP', port }));
  const toCollector = ledgerOtlp === '' ? [] : [{ ports: tcp(Number(/:([0-9]+)(\/.*)?$/.exec(ledgerOtlp)?.[1])) }];
  const listened = syslogPorts(options).map(({ number }) => number);
  const fromBoxes = listened.length === 0 ? [] : [{ ports: tcp(...listened) }];
  return [
    { object: policy('default-deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }) },
    {
      object: policy(controlPlaneName, {
        podSelector: { matchLabels: labelsOf('control-plane') },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ ports: tcp(ports.mesh, ...(webhooks ? [ports.webhook] : [])) }, { from: [{ namespaceSelector: { matchLabels: { [metricsLabel]: 'enabled' } } }], ports: tcp(ports.probe) }, ...fromBoxes],
        egress: [{ ports: [{ protocol: 'UDP', port: 53 }, ...tcp(53)] }, { ports: tcp(443, 6_443) }, { to: [{ podSelector: { matchLabels: labelsOf('control-plane') } }], ports: tcp(ports.mesh) }, ...toCollector],
      }),
      reasons: [
        { path: ['spec', 'ingress', 0], why: 'From everywhere: agents in any namespace, and gateways and API servers, which have addresses of nodes. Who may what, TLS says.' },
        { path: ['spec', 'ingress', 1], why: "The kubelet's probes need no rule: what comes from a pod's own node is always let in." },
        ...fromBoxes.map(() => ({ path: ['spec', 'ingress', 2], why: 'BIG-IPs, with whatever addresses a load balancer leaves them. Whose log it is, TLS says, or the list of allowed senders.' })),
        { path: ['spec', 'egress', 0], why: 'Names, among them those of external services.' },
        { path: ['spec', 'egress', 1], why: 'The API server, and the management of BIG-IPs, whose addresses no selector names. Where one has another port, add a policy of your own: they add up.' },
        { path: ['spec', 'egress', 2], why: 'Each other: the leader is told what gateways hold that are connected elsewhere.' },
        ...toCollector.map(() => ({ path: ['spec', 'egress', 3], why: 'The collector of the ledger, wherever it is.' })),
      ],
    },
  ];
}
