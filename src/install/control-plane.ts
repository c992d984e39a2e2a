/** The control plane: its replicas, where it is found, and who may reach it. */
import type { ExplainedObject } from '../generate/index.ts';
import { labelsOf, metadataOf } from './metadata.ts';
import { caSecretName, controlAccount, controlPlaneName, ports, stateSecretName, syslogName } from './names.ts';
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
    ...syslogService(options),
    {
      object: { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: metadata(controlPlaneName), spec: { maxUnavailable: 1, selector: { matchLabels: labelsOf(component) } } },
      why: 'As a greatest number of absent ones, so that a node can be drained where there is one replica only.',
    },
    replicas(options),
  ];
}

/** What is listened at for the log of BIG-IPs. */
export function syslogPorts({ syslogTls, syslogAllow }: InstallOptions): readonly { readonly name: string; readonly number: number; readonly argument: string }[] {
  return [
    ...(syslogTls ? [{ name: 'tls-syslog', number: ports.syslogTls, argument: '--syslog-tls' }] : []),
    ...(syslogAllow.length > 0 ? [{ name: 'tcp-syslog', number: ports.syslog, argument: '--syslog' }] : []),
  ];
}

function syslogService(options: InstallOptions): readonly ExplainedObject[] {
  const listened = syslogPorts(options);
  if (listened.length === 0) return [];
  return [
    {
      why: 'BIG-IPs are outside of the cluster. They come with their own addresses, by which they are known over plain TCP; any replica takes what they send.',
      object: {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: metadataOf(component, syslogName, options.namespace),
        spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', selector: labelsOf(component), ports: listened.map(({ name, number }) => ({ name, port: number, targetPort: number })) },
      },
    },
  ];
}

function replicas(options: InstallOptions): ExplainedObject {
  const files = mountedFiles(options);
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
                  ...(options.ledgerOtlp === '' ? [] : [`--ledger-otlp=${options.ledgerOtlp}`]),
                  ...files.map(({ argument }) => argument),
                  ...syslogPorts(options).map(({ argument, number }) => `${argument}=${listen(number)}`),
                  ...(options.syslogAllow.length === 0 ? [] : ['--syslog-allow', ...options.syslogAllow]),
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
                  ...syslogPorts(options).map(({ name, number }) => ({ name, containerPort: number })),
                ],
                ...probes(ports.probe),
                resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { memory: '512Mi' } },
                securityContext: containerSecurity,
                volumeMounts: [stateMount, ...files.map(({ mount }) => mount)],
              },
            ],
            ...(files.length === 0 ? {} : { volumes: files.map(({ volume }) => volume) }),
          },
        },
        volumeClaimTemplates: [stateClaim(options.ledgerStorage, options.storageClass)],
      },
    },
    reasons: [
      { path: ['spec', 'podManagementPolicy'], why: 'Each serves from its own watch: none waits for another.' },
      { path: ['spec', 'template', 'spec', 'topologySpreadConstraints', 0], why: 'Apart where that can be; on one node where there is one.' },
      { path: ['spec', 'template', 'spec', 'containers', 0, 'resources', 'limits'], why: 'None of the processor: one that is held back issues no certificates.' },
      ...files.flatMap(({ why }, index) => (why === undefined ? [] : [{ path: ['spec', 'template', 'spec', 'volumes', index, 'projected', 'sources'], why }])),
    ],
  };
}

/** What is mounted from objects that somebody else makes: as a folder, so that a changed one is seen. */
interface MountedFiles {
  readonly argument: string;
  readonly volume: object;
  readonly mount: object;
  readonly why?: string;
}

const mountedAt = (name: string) => ({ path: `/var/run/sallyport/${name}`, mount: { name, mountPath: `/var/run/sallyport/${name}`, readOnly: true } });

const mountedFiles = (options: InstallOptions): readonly MountedFiles[] => [...collectorFiles(options), ...boxCredentials(options)];

/** For requests to the collector. */
function collectorFiles({ ledgerOtlp, ledgerOtlpCa, ledgerOtlpHeaders }: InstallOptions): readonly MountedFiles[] {
  const fileOf = (option: string, key: string, source: object): MountedFiles => {
    const name = `ledger-otlp-${option}`;
    const { path, mount } = mountedAt(name);
    return { argument: `--${name}=${path}/${key}`, volume: { name, ...source }, mount };
  };
  const items = (key: string): object => ({ items: [{ key, path: key }] });
  return [
    ...(ledgerOtlp === '' || ledgerOtlpCa === '' ? [] : [fileOf('ca', 'ca.crt', { configMap: { name: ledgerOtlpCa, ...items('ca.crt') } })]),
    ...(ledgerOtlp === '' || ledgerOtlpHeaders === '' ? [] : [fileOf('headers', 'headers', { secret: { secretName: ledgerOtlpHeaders, defaultMode: 0o440, ...items('headers') } })]),
  ];
}

/** A folder for each Secret. */
function boxCredentials({ bigipCredentials }: InstallOptions): readonly MountedFiles[] {
  if (bigipCredentials.length === 0) return [];
  const name = 'bigip-credentials';
  const { path, mount } = mountedAt(name);
  const sources = bigipCredentials.map((secret) => ({ secret: { name: secret, optional: true, items: ['username', 'password', 'ca.pem'].map((key) => ({ key, path: `${secret}/${key}` })) } }));
  return [{ argument: `--credentials=${path}`, volume: { name, projected: { defaultMode: 0o440, sources } }, mount, why: 'Optional, so that a box without credentials keeps no control plane from starting: its status says what is missing.' }];
}
