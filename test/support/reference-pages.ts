/** The reference pages that are written from the program itself: docs/reference/kinds.md and cli.md. */
import type { Command } from 'commander';
import { createProgram } from '../../src/cli/program.ts';
import { schemaOf, type JsonSchema, type SchemaName } from '../../src/core/manifest/json-schema.ts';

interface KindText {
  readonly schema: SchemaName;
  readonly heading: string;
  readonly says: string;
  readonly example: string;
}

/** In the order in which a reader meets them. */
export const kindTexts: readonly KindText[] = [
  {
    schema: 'ExternalService',
    heading: 'ExternalService',
    says: 'What is out there: something outside the mesh that workloads reach through a gateway. Exactly one of `addresses` and `hosts`.',
    example: 'apiVersion: sallyport.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: partner-ftp, namespace: payments}\nspec:\n  hosts: [ftp.partner.example]\n  ports:\n    - {name: control, port: 21, protocol: FTP}',
  },
  {
    schema: 'EgressPolicy',
    heading: 'EgressPolicy',
    says: 'Who may go where. Policies only allow, and add up in any order; what none of them names is denied.',
    example: 'apiVersion: sallyport.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: statements, namespace: payments}\nspec:\n  subjects:\n    - {namespace: payments, serviceAccount: statement-upload}\n  to:\n    - {service: partner-ftp, ports: [control]}',
  },
  {
    schema: 'SnatPool',
    heading: 'SnatPool',
    says: 'Source addresses that the hosts of the gateways own. Pools do not overlap.',
    example: 'apiVersion: sallyport.dev/v1alpha1\nkind: SnatPool\nmetadata: {name: partner}\nspec:\n  addresses: [203.0.113.16/28]\n  exclude: [203.0.113.16, 203.0.113.31]\n  sharing: {mode: PortBlocks, blockSize: 4096}',
  },
  {
    schema: 'SnatBinding',
    heading: 'SnatBinding',
    says: 'As whom: the address of an identity, out of a pool or fixed. Exactly one of `pool` and `addresses`. The most specific binding wins; two that are equally specific are a fault.',
    example: 'apiVersion: sallyport.dev/v1alpha1\nkind: SnatBinding\nmetadata: {name: payments, namespace: payments}\nspec:\n  subject: {namespace: payments}\n  pool: partner',
  },
  {
    schema: 'EgressGateway',
    heading: 'EgressGateway',
    says: 'A data plane: where it listens, who it is, and its limits.',
    example: 'apiVersion: sallyport.dev/v1alpha1\nkind: EgressGateway\nmetadata: {name: egress-1}\nspec:\n  class: sallyport\n  listen:\n    - {address: 10.4.0.10, port: 15443}',
  },
  {
    schema: 'ReferenceGrant',
    heading: 'ReferenceGrant',
    says: "In a cluster: lets EgressPolicies and SnatBindings of other namespaces refer to ExternalServices of the grant's own. Its fields are those of Gateway API's kind of that name: each of `from` may refer to each of `to`. Files have one author, who needs none.",
    example: 'apiVersion: sallyport.dev/v1alpha1\nkind: ReferenceGrant\nmetadata: {name: batch-to-partner, namespace: payments}\nspec:\n  from:\n    - {group: sallyport.dev, kind: EgressPolicy, namespace: batch}\n  to:\n    - {group: sallyport.dev, kind: ExternalService, name: partner-ftp}',
  },
  {
    schema: 'WorkloadEntry',
    heading: 'WorkloadEntry',
    says: "Who is behind an address, where no pod is: for gateways of class `kernel`, which know workloads by that alone. Of pods it is known from the API server. In a cluster only the root namespace may write it (`workload-entry-foreign`).",
    example: 'apiVersion: sallyport.dev/v1alpha1\nkind: WorkloadEntry\nmetadata: {name: statement-host, namespace: payments}\nspec:\n  addresses: [10.4.7.21]\n  serviceAccount: statement-upload',
  },
  {
    schema: 'Namespace',
    heading: 'Namespace',
    says: 'The one of Kubernetes, as far as it is read: its labels are what a `namespaceSelector` matches.',
    example: 'apiVersion: v1\nkind: Namespace\nmetadata: {name: payments, labels: {zone: red}}',
  },
  {
    schema: 'Service',
    heading: 'Service',
    says: 'The one of Kubernetes, as far as it is read: the annotation names the service accounts of the workloads behind it, separated by commas.',
    example: 'apiVersion: v1\nkind: Service\nmetadata:\n  name: batch\n  namespace: payments\n  annotations: {alpha.istio.io/kubernetes-serviceaccounts: "statement-upload,statement-archive"}',
  },
  {
    schema: 'OlderExternalService',
    heading: 'ExternalService of externalservice.example.com/v1alpha1',
    says: 'The older form, accepted as it stands and converted to the kinds above. Mind its ports: `targetPort` is what workloads use, `port` is that of the external server.',
    example: 'apiVersion: externalservice.example.com/v1alpha1\nkind: ExternalService\nmetadata: {name: my-external-service1}\nspec:\n  targetIP: 192.168.122.139\n  sources:\n    - service: {namespace: ns1, name: my-service1}\n      sourceIP: 192.168.122.200\n  ports:\n    - {protocol: TCP, port: 8000, targetPort: 8000}',
  },
];

export function kindsPage(): string {
  return [
    '# Kinds',
    '',
    'What manifests may hold: YAML or JSON, any number of documents, also as `v1 List`. The same text works from a file and,',
    'later, as custom resources. Fields that are not here are refused; all [faults](faults.md) of an input are named at once.',
    '',
    'This page is written from the schemas that read manifests; `UPDATE_GOLDEN=1 npx mocha test/architecture/reference.test.ts`',
    'writes it again.',
    ...kindTexts.flatMap(({ schema, heading, says, example }) => ['', `## ${heading}`, '', says, '', '```yaml', example, '```', '', ...fieldTable(schemaOf(schema))]),
    '',
  ].join('\n');
}

function fieldTable(schema: JsonSchema): readonly string[] {
  return ['| field | type | meaning |', '|---|---|---|', ...rowsOf(schema, '')].map((row) => row.trimEnd());
}

const serverField = 'Set by the Kubernetes API server; ignored';

function rowsOf(schema: JsonSchema, path: string): readonly string[] {
  const required = new Set(schema.required);
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    if (field['description'] === serverField || (path === '' && name === 'status')) return [];
    const place = `${path}${name}`;
    const meaning = [required.has(name) ? 'required' : '', field['default'] === undefined ? '' : `default \`${textOf(field['default'])}\``, textOf(field['description'] ?? field.items?.['description'] ?? '')].filter((part) => part !== '').join('; ');
    return [`| \`${place}\` | ${typeOf(field)} | ${cell(meaning)} |`, ...innerRows(field, place)];
  });
}

/** The fields within a field: of a mapping, of the entries of a list, or of each form that either may have. */
function innerRows(field: JsonSchema, place: string): readonly string[] {
  if (field.items !== undefined) return innerRows(field.items, `${place}[]`);
  const forms = field.anyOf ?? field.oneOf;
  if (field.properties === undefined && forms !== undefined) return [...new Set(forms.flatMap((form) => rowsOf(form, `${place}.`)))];
  return rowsOf(field, `${place}.`);
}

function typeOf(schema: JsonSchema): string {
  const { minimum, maximum, minItems, maxItems } = schema as { minimum?: number; maximum?: number; minItems?: number; maxItems?: number };
  if (schema['const'] !== undefined) return `\`${textOf(schema['const'])}\``;
  if (Array.isArray(schema['enum'])) return schema['enum'].map((value) => `\`${textOf(value)}\``).join(' or ');
  if (schema.items !== undefined) return `list of ${typeOf(schema.items)}${maxItems === undefined ? '' : `, ${minItems ?? 0} to ${maxItems}`}`;
  if (schema.properties !== undefined) return 'mapping';
  const forms = schema.anyOf ?? schema.oneOf;
  if (forms !== undefined) return forms.every((form) => form.properties !== undefined) ? 'mapping with ' + forms.map((form) => (form.required ?? []).map((name) => `\`${name}\``).join(' and ')).join(', or with ') : forms.map(typeOf).join(' or ');
  if (typeof schema.additionalProperties === 'object') return `mapping to ${typeOf(schema.additionalProperties)}`;
  if (schema.type === 'integer' && minimum !== undefined) return maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? `number from ${minimum}` : `number, ${minimum} to ${maximum}`;
  return { string: 'text', integer: 'number', number: 'number', boolean: 'true or false' }[schema.type ?? ''] ?? 'anything';
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
const cell = (text: string): string => text.replaceAll('|', '\\|');

export function cliPage(): string {
  const program = createProgram({ env: {}, stdin: process.stdin, out: () => undefined, say: () => undefined, setExitStatus: () => undefined, interruption: () => new AbortController().signal });
  return [
    '# Command line',
    '',
    'stdout is data, stderr is talk. Letters mean what they mean in kubectl. Every command ends with one of:',
    '',
    '| status | means |',
    '|---|---|',
    ...['0 | ok', '1 | negative answer, or differences', '2 | usage, or invalid input', '3 | not found', '4 | not authorised', '5 | conflict, or exhausted', '6 | unavailable, or timed out', '70 | a bug of ours'].map((row) => `| ${row} |`),
    '',
    'The commands that ask the control plane find its Unix socket by themselves where `serve` runs with defaults; from elsewhere',
    'they speak mTLS with an administrator\'s certificate (`sallyport cert issue --purpose admin`). On Kubernetes objects are the',
    'API server\'s, asked with your own kubeconfig and rights, and answers come from the control plane\'s pods, by `kubectl exec`',
    '([guide](../guides/kubernetes.md#day-by-day)). Whom a command asks, the first that is so:',
    '',
    '1. `--kubeconfig` or `--context`: that cluster; `--server`: that control plane;',
    '2. it is run as `kubectl sallyport`, or with `SALLYPORT_KUBERNETES=true` in the environment: the cluster that kubectl asks;',
    '3. `SALLYPORT_SERVER` or `SALLYPORT_SOCKET` is in the environment: that control plane;',
    '4. the socket of a control plane is here: that one;',
    '5. there is a kubeconfig (`KUBECONFIG`, `~/.kube/config`): its cluster, which is then named on stderr.',
    '',
    ...optionList(sharedOptions(program)),
    '',
    'This page is written from the program; `UPDATE_GOLDEN=1 npx mocha test/architecture/reference.test.ts` writes it again.',
    ...program.commands.flatMap((command) => sections(command, 'sallyport')),
    '',
  ].join('\n');
}

const sharedGroup = 'Control plane:';
type CommandOption = Command['options'][number];

function sharedOptions(program: Command): readonly CommandOption[] {
  return program.commands.find((command) => command.name() === 'status')!.options.filter(({ helpGroupHeading }) => helpGroupHeading === sharedGroup);
}

function optionList(options: readonly CommandOption[]): readonly string[] {
  return options.map((option) => {
    const { flags, description, argChoices, envVar, mandatory } = option;
    const defaultValue: unknown = option.defaultValue;
    const notes = [mandatory ? 'required' : '', argChoices === undefined ? '' : argChoices.join(', '), defaultValue === undefined ? '' : `default \`${textOf(defaultValue)}\``, envVar === undefined ? '' : `or \`${envVar}\` of the environment`].filter((note) => note !== '');
    return `- \`${flags}\`: ${description}${notes.length === 0 ? '' : ` (${notes.join('; ')})`}`;
  });
}

function sections(command: Command, parent: string): readonly string[] {
  const name = `${parent} ${command.name()}`;
  if (command.commands.length > 0) return command.commands.flatMap((sub) => sections(sub, name));
  const own = command.options.filter(({ helpGroupHeading }) => helpGroupHeading !== sharedGroup);
  const asksControl = own.length < command.options.length;
  const summary = command.summary();
  return [
    '',
    `## ${name}`,
    '',
    `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.${command.description() === '' ? '' : ` ${command.description()}`}`,
    '',
    '```',
    `${name} ${command.usage()}`,
    '```',
    ...(command.registeredArguments.some(({ description }) => description !== '') ? ['', ...command.registeredArguments.filter(({ description }) => description !== '').map((argument) => `- \`${argument.name()}\`: ${argument.description}`)] : []),
    ...(own.length === 0 ? [] : ['', ...optionList(own)]),
    ...(asksControl ? ['', 'Asks the control plane: takes the options for that, above.'] : []),
    ...helpAfter(command),
  ];
}

/** What a command's help says after its options: examples, exit codes, and words of its own. */
function helpAfter(command: Command): readonly string[] {
  let text = '';
  command.configureOutput({ writeOut: (part) => void (text += part) });
  command.outputHelp();
  const after = text.slice(command.helpInformation().length).trim();
  return after === '' ? [] : ['', '```', after, '```'];
}
