/** The control plane: its replicas, where it is found, and who may reach it. */
import type { ExplainedObject } from '../generate/index.ts';
import { labelsOf, metadataOf } from './metadata.ts';
import { caSecretName, controlAccount, controlPlaneName, ports, stateSecretName } from './names.ts';
import type { InstallOptions } from './options.ts';
import { containerSecurity, podSecurity, probes, stateClaim, stateMount, stateVariable } from './pod.ts';

const component = 'control-plane';

export function controlPlane(options: InstallOptions): readonly ExplainedObject[] {
  const metadata = (name: string) => metadataOf(component, name, options.namespace);
  return [
    { object: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: metadata(controlAccount) } },
    {
      object: { apiVersion: 'v1', kind: 'Secret', metadata: metadataOf(component, caSecretName, options.namespace, { kept: true }), type: 'Opaque' },
      why: "The CA's keys. Installed empty: the control plane may fill this one, and create none. Applied again, what is in it stays.",
    },
    {
      object: { apiVersion: 'v1', kind: 'Secret', metadata: metadataOf(component, stateSecretName, options.namespace, { kept: true }), type: 'Opaque' },
      why: 'Join tokens, hashed, and what is revoked. As the one before it; kept with it, since what the CA has signed may be revoked here.',
    },
    {
      object: {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: metadata(controlPlaneName),
        spec: {
          selector: labelsOf(component),
          ports: [{ name: 'grpc-mesh', port: ports.mesh, targetPort: ports.mesh }, ...(options.webhooks ? [{ name: 'https-webhook', port: 443, targetPort: ports.webhook }] : [])],
        },
      },
    },
    {
      object: { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: metadata(controlPlaneName), spec: { maxUnavailable: 1, selector: { matchLabels: labelsOf(component) } } },
      why: 'As a greatest number of absent ones, so that a node can be drained where there is one replica only.',
    },
    replicas(options),
  ];
}

function replicas(options: InstallOptions): ExplainedObject {
  const spread = (topologyKey: string): object => ({ topologyKey, maxSkew: 1, whenUnsatisfiable: 'ScheduleAnyway', labelSelector: { matchLabels: labelsOf(component) } });
  const listen = (port: number): string => `[::]:${port}`;
  return {
    why: 'A StatefulSet, for each replica has a ledger of its own, which is to outlive its pods.',
    object: {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: metadataOf(component, controlPlaneName, options.namespace),
      spec: {
        replicas: options.replicas,
        serviceName: controlPlaneName,
        podManagementPolicy: 'Parallel',
        selector: { matchLabels: labelsOf(component) },
        template: {
          metadata: { labels: labelsOf(component) },
          spec: {
            serviceAccountName: controlAccount,
            securityContext: podSecurity,
            topologySpreadConstraints: [spread('kubernetes.io/hostname'), spread('topology.kubernetes.io/zone')],
            containers: [
              {
                name: 'control',
                image: options.image,
                args: [
                  'serve',
                  '--kubernetes',
                  `--namespace=${options.namespace}`,
                  `--trust-domain=${options.trustDomain}`,
                  `--cluster-domain=${options.clusterDomain}`,
                  `--listen=${listen(ports.mesh)}`,
                  `--probe-listen=${listen(ports.probe)}`,
                  ...ledgerOtlpArguments(options),
                  ...(options.webhooks ? [`--webhook-listen=${listen(ports.webhook)}`, `--agent-image=${options.image}`, `--agent-control=${controlPlaneName}.${options.namespace}.svc:${ports.mesh}`] : []),
                ],
                env: [
                  { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
                  { name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
                  stateVariable,
                ],
                ports: [
                  { name: 'grpc-mesh', containerPort: ports.mesh },
                  { name: 'http-probe', containerPort: ports.probe },
                  ...(options.webhooks ? [{ name: 'https-webhook', containerPort: ports.webhook }] : []),
                ],
                ...probes(ports.probe),
                resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { memory: '512Mi' } },
                securityContext: containerSecurity,
                volumeMounts: [stateMount, ...collectorFiles(options).map(({ mount }) => mount)],
              },
            ],
            ...(collectorFiles(options).length === 0 ? {} : { volumes: collectorFiles(options).map(({ volume }) => volume) }),
          },
        },
        volumeClaimTemplates: [stateClaim(options.ledgerStorage, options.storageClass)],
      },
    },
    reasons: [
      { path: ['spec', 'podManagementPolicy'], why: 'Each serves from its own watch: none waits for another.' },
      { path: ['spec', 'template', 'spec', 'topologySpreadConstraints', 0], why: 'Apart where that can be; on one node where there is one.' },
      { path: ['spec', 'template', 'spec', 'containers', 0, 'resources', 'limits'], why: 'None of the processor: one that is held back issues no certificates.' },
    ],
  };
}

/** A file that is mounted for requests to the collector: as a folder, so that a changed one is seen. */
interface CollectorFile {
  readonly argument: string;
  readonly volume: object;
  readonly mount: object;
}

function collectorFiles({ ledgerOtlp, ledgerOtlpCa, ledgerOtlpHeaders }: InstallOptions): readonly CollectorFile[] {
  const fileOf = (option: string, key: string, source: object): CollectorFile => {
    const name = `ledger-otlp-${option}`;
    const mountPath = `/var/run/sallyport/${name}`;
    return { argument: `--${name}=${mountPath}/${key}`, volume: { name, ...source }, mount: { name, mountPath, readOnly: true } };
  };
  const items = (key: string): object => ({ items: [{ key, path: key }] });
  return [
    ...(ledgerOtlp === '' || ledgerOtlpCa === '' ? [] : [fileOf('ca', 'ca.crt', { configMap: { name: ledgerOtlpCa, ...items('ca.crt') } })]),
    ...(ledgerOtlp === '' || ledgerOtlpHeaders === '' ? [] : [fileOf('headers', 'headers', { secret: { secretName: ledgerOtlpHeaders, defaultMode: 0o440, ...items('headers') } })]),
  ];
}

function ledgerOtlpArguments(options: InstallOptions): readonly string[] {
  return options.ledgerOtlp === '' ? [] : [`--ledger-otlp=${options.ledgerOtlp}`, ...collectorFiles(options).map(({ argument }) => argument)];
}
