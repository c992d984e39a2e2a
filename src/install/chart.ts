/**
 * The Helm chart: the same objects, made from options that are Helm's own expressions, so that it cannot say anything else than `sallyport
 * install`. What an option adds is found by leaving it out.
 */
import { stringify } from 'yaml';
import * as z from 'zod';
import { invariant } from '../core/errors.ts';
import { comment, formatExplained, type ExplainedObject } from '../generate/index.ts';
import { installParts, type InstallParts } from './objects.ts';
import { installOptions, type InstallOptions } from './options.ts';

/** Stands for the number in objects, where an expression would be a text. */
const replicasMark = 987_654;

/** Stands for the URL of the collector, and for its port where that stands alone. */
const collectorPortMark = 65_321;
const collectorMark = `https://collector.invalid:${collectorPortMark}`;

/** What stands for each value of a list, in the item that it makes. */
const lists = { bigipCredentials: '$secret', syslogAllow: '$sender' } as const satisfies Partial<Record<keyof InstallOptions, string>>;

const value = (name: keyof InstallOptions): string => `{{ $.Values.${name} }}`;

const everything: InstallOptions = {
  namespace: value('namespace'),
  image: value('image'),
  replicas: replicasMark,
  trustDomain: value('trustDomain'),
  clusterDomain: value('clusterDomain'),
  ledgerStorage: value('ledgerStorage'),
  storageClass: value('storageClass'),
  ledgerOtlp: collectorMark,
  ledgerOtlpCa: value('ledgerOtlpCa'),
  ledgerOtlpHeaders: value('ledgerOtlpHeaders'),
  bigipCredentials: [`{{ ${lists.bigipCredentials} }}`],
  syslogTls: true,
  syslogAllow: [`{{ ${lists.syslogAllow} }}`],
  gateways: [],
  webhooks: true,
  olderForm: true,
};

/** What a mark stands for, the longer before what it contains. */
const marks: readonly (readonly [mark: string, expression: string])[] = [
  [String(replicasMark), value('replicas')],
  [collectorMark, value('ledgerOtlp')],
  [String(collectorPortMark), '{{ (urlParse $.Values.ledgerOtlp).host | splitList ":" | last }}'],
];

/** Options that add lines to objects, by the expression that is true with them. One of several options is for what any of them adds. */
const additions: Readonly<Record<string, Partial<InstallOptions>>> = {
  '$.Values.storageClass': { storageClass: '' },
  '$.Values.webhooks': { webhooks: false },
  '$.Values.ledgerOtlp': { ledgerOtlp: '' },
  '$.Values.ledgerOtlpCa': { ledgerOtlpCa: '' },
  '$.Values.ledgerOtlpHeaders': { ledgerOtlpHeaders: '' },
  '$.Values.bigipCredentials': { bigipCredentials: [] },
  '(or $.Values.bigipCredentials (and $.Values.ledgerOtlp (or $.Values.ledgerOtlpCa $.Values.ledgerOtlpHeaders)))': { bigipCredentials: [], ledgerOtlpCa: '', ledgerOtlpHeaders: '' },
  '$.Values.syslogTls': { syslogTls: false },
  '$.Values.syslogAllow': { syslogAllow: [] },
  '(or $.Values.syslogTls $.Values.syslogAllow)': { syslogTls: false, syslogAllow: [] },
};

/** The files of the chart, by their paths in it. */
export function chartFiles(version: string): ReadonlyMap<string, string> {
  const template = (part: (parts: InstallParts) => readonly ExplainedObject[]): string => {
    const text = (options: InstallOptions): string => {
      const marked = marks.reduce((text, [mark, expression]) => text.replaceAll(mark, expression), formatExplained(part(installParts(options))));
      return Object.entries(lists).reduce((text, [name, variable]) => withRange(text, variable, `$.Values.${name}`), marked);
    };
    return withConditions(text(everything), Object.entries(additions).map(([condition, without]) => ({ condition, text: text({ ...everything, ...without }), impliedBy: conditionsWithin(without) })));
  };
  const only = (condition: string, text: string): string => `{{- if ${condition} }}\n${text}{{- end }}\n`;
  const schema = installOptions(version);
  return new Map([
    ['Chart.yaml', stringify({ apiVersion: 'v2', name: 'sallyport', type: 'application', version, appVersion: version, kubeVersion: '>=1.30.0-0', description: 'The egress gate of a service mesh', annotations: { 'artifacthub.io/license': 'Apache-2.0' } })],
    ['values.yaml', valuesOf(schema)],
    ['values.schema.json', `${JSON.stringify(z.toJSONSchema(schema, { io: 'input', target: 'draft-7' }), null, 2)}\n`],
    ['templates/namespace.yaml', only('ne $.Release.Namespace $.Values.namespace', template(({ namespace }) => [namespace]))],
    ['templates/definitions.yaml', template(({ definitions }) => definitions)],
    ['templates/older-form.yaml', only('$.Values.olderForm', template(({ olderForm }) => olderForm))],
    ['templates/access.yaml', template(({ access }) => access)],
    ['templates/network-policies.yaml', template(({ networkPolicies }) => networkPolicies)],
    ['templates/control-plane.yaml', template(({ controlPlane }) => controlPlane)],
    ['templates/gateways.yaml', only('$.Values.gateways', `${template(({ gatewaysNamespace }) => [gatewaysNamespace])}{{- range $name := $.Values.gateways }}\n---\n${template(({ gateway }) => gateway('{{ $name }}'))}{{- end }}\n`)],
    ['templates/webhooks.yaml', only('$.Values.webhooks', template((parts) => parts.webhooks))],
  ]);
}

export interface Without {
  readonly condition: string;
  readonly text: string;
  /** Conditions beside which this one need not stand. */
  readonly impliedBy?: readonly string[];
}

/** Those of fewer of these options. */
function conditionsWithin(options: Partial<InstallOptions>): readonly string[] {
  const names = new Set(Object.keys(options));
  return Object.entries(additions).flatMap(([condition, fewer]) => (new Set(Object.keys(fewer)).isSubsetOf(names) && Object.keys(fewer).length < names.size ? [condition] : []));
}

/**
 * A template that is `whole` where all conditions hold, and each of `without` where its condition does not. Each has to be `whole` less
 * some lines.
 */
export function withConditions(whole: string, without: readonly Without[]): string {
  const lines = whole.split('\n');
  const conditions = lines.map((): string[] => []);
  for (const { condition, text, impliedBy = [] } of without) {
    const left = text.split('\n');
    let next = 0;
    for (const [index, line] of lines.entries()) {
      if (line === left[next]) next += 1;
      else if (!conditions[index]!.some((other) => impliedBy.includes(other))) conditions[index]!.push(condition);
    }
    invariant(next === left.length, `${condition} adds more than lines`);
  }
  return lines
    .flatMap((line, index) => {
      const [before, own, after] = [conditions[index - 1] ?? [], conditions[index]!, conditions[index + 1] ?? []].map((each) => (each.length > 1 ? `and ${each.join(' ')}` : each.join('')));
      return [...(own !== '' && own !== before ? [`{{- if ${own!} }}`] : []), line, ...(own !== '' && own !== after ? ['{{- end }}'] : [])];
    })
    .join('\n');
}

/** The item of a list in which `variable` stands first becomes one for each value of `list`. */
export function withRange(text: string, variable: string, list: string): string {
  const lines = text.split('\n');
  const depth = (line: string): number => line.search(/\S|$/);
  const named = lines.findIndex((line) => line.includes(`{{ ${variable} }}`));
  if (named === -1) return text;
  const isItem = (line: string): boolean => line.trimStart().startsWith('- ');
  const first = lines.findLastIndex((line, index) => isItem(line) && (index === named || (index < named && depth(line) < depth(lines[named]!))));
  const next = lines.findIndex((line, index) => index > first && depth(line) <= depth(lines[first]!));
  return lines.toSpliced(next, 0, '{{- end }}').toSpliced(first, 0, `{{- range ${variable} := ${list} }}`).join('\n');
}

function valuesOf(schema: ReturnType<typeof installOptions>): string {
  const defaults = schema.parse({});
  return Object.entries(schema.shape)
    .map(([name, { description = '' }]) => `${comment(`${description.charAt(0).toUpperCase()}${description.slice(1)}.`)}\n${stringify({ [name]: defaults[name as keyof InstallOptions] })}`)
    .join('\n');
}
