/** The shell of the support bundle: what somebody who is to help wants to see, as far as the asker may see it. No Secret's content is asked for. */
import { stringify } from 'yaml';
import { SallyportError } from '../core/errors.ts';
import { controlPlaneName, gatewayNamespace, leaseName, webhookConfigurations } from '../install/index.ts';
import { createAsker, customResourceDefinitions, desiredResources, listAll, objectPath, pathOf, type ApiClient, type Resource } from '../kubernetes/index.ts';
import { runChecks } from './checks.ts';
import { gatherFacts, type GatherOptions } from './gather.ts';
import { redacted, type Redaction } from './redaction.ts';
import { describeResults, summaryOf } from './report.ts';
import type { ArchivedFile } from './tar.ts';

/** A file before the redaction: a value, which is written as YAML, or text. */
export interface BundledFile {
  readonly path: string;
  readonly content: unknown;
}

export interface Collected {
  readonly files: readonly BundledFile[];
  /** What is not in it, and why. */
  readonly notes: readonly string[];
}

interface LiveObject {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly annotations?: Readonly<Record<string, string>>; readonly managedFields?: unknown };
}

interface Pod extends LiveObject {
  readonly spec: { readonly containers: readonly { readonly name: string }[] };
  readonly status?: { readonly containerStatuses?: readonly { readonly name: string; readonly restartCount: number }[] };
}

/** Of the log of a container: its end is what is wanted. */
const logLinesMax = 20_000;
const logSilentMs = 10_000;
/** As long as those of our pods are; somebody else's may be longer than an archive takes. */
const podNameMax = 65;
/** By which our events are known. */
const reportingController = 'sallyport.dev/control';

/** Throws where the API server is away; what it refuses is noted. */
export async function collectBundle(options: GatherOptions): Promise<Collected> {
  const { client, namespace, version } = options;
  const { ask } = createAsker(client);
  const files: BundledFile[] = [];
  const notes: string[] = [];
  const add = async (path: string, content: () => Promise<unknown>): Promise<void> => {
    try {
      files.push({ path, content: await content() });
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'unavailable') throw error;
      notes.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  const get = async (path: string): Promise<unknown> => bare(await ask<LiveObject>({ method: 'GET', path }));
  const list = async <Item extends LiveObject>(resource: Resource, isOptional = false): Promise<readonly Item[]> => (await listAll<Item>(ask, pathOf(resource), { isOptional, query: { fieldSelector: resource.fieldSelector } })).map(bare);

  await add('versions.yaml', async () => ({ sallyport: version, node: process.versions.node, kubernetes: await ask({ method: 'GET', path: '/version' }) }));
  await add('check.txt', async () => {
    const results = runChecks(await gatherFacts(options));
    return [...describeResults(results), summaryOf(results), ''].join('\n');
  });
  for (const { metadata } of customResourceDefinitions) await add(`definitions/${metadata.name}.yaml`, () => get(`/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${metadata.name}`));
  for (const resource of desiredResources) await add(`objects/${resource.plural}.${resource.group}.yaml`, () => list(resource, resource.isOptional));
  await add('objects/snatassignments.sallyport.dev.yaml', () => list({ group: 'sallyport.dev', version: 'v1alpha1', plural: 'snatassignments' }));
  await add('lease.yaml', () => get(`/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${leaseName}`));
  await add('events.yaml', () => list({ group: 'events.k8s.io', version: 'v1', plural: 'events', fieldSelector: `reportingController=${reportingController}` }));
  await add(`webhooks/${webhookConfigurations.inject}.yaml`, () => get(`/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/${webhookConfigurations.inject}`));
  await add(`webhooks/${webhookConfigurations.validate}.yaml`, () => get(`/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/${webhookConfigurations.validate}`));
  for (const place of [namespace, gatewayNamespace]) {
    const inPlace = (group: string, plural: string): Resource => ({ group, version: 'v1', plural, namespace: place });
    await add(`${place}/statefulsets.yaml`, () => list(inPlace('apps', 'statefulsets')));
    await add(`${place}/network-policies.yaml`, () => list(inPlace('networking.k8s.io', 'networkpolicies')));
    const pods: Pod[] = [];
    await add(`${place}/pods.yaml`, async () => {
      pods.push(...(await list<Pod>(inPlace('', 'pods'))));
      return pods;
    });
    for (const { metadata, spec, status } of pods) {
      const path = `${objectPath(inPlace('', 'pods'), { name: metadata.name })}/log`;
      const restarted = new Set(status?.containerStatuses?.filter(({ restartCount }) => restartCount > 0).map(({ name }) => name));
      for (const { name } of spec.containers) {
        const logs = `${place}/logs/${metadata.name.slice(0, podNameMax)}/${name}`;
        await add(`${logs}.log`, () => logOf(client, path, { container: name }));
        if (restarted.has(name)) await add(`${logs}.previous.log`, () => logOf(client, path, { container: name, previous: true })); // why it has ended
      }
    }
  }
  return { files, notes };
}

async function logOf(client: ApiClient, path: string, query: { readonly container: string; readonly previous?: true }): Promise<string> {
  const lines: string[] = [];
  for await (const line of client.lines(path, { ...query, tailLines: logLinesMax }, { signal: AbortSignal.timeout(logSilentMs * 6), silentMs: logSilentMs })) lines.push(line);
  return lines.map((line) => `${line}\n`).join('');
}

/** Without who has written which field, and what kubectl keeps for itself: both say again what the object says. */
function bare<Item extends LiveObject>(object: Item): Item {
  const { managedFields: _, annotations = {}, ...metadata } = object.metadata;
  return { ...object, metadata: { ...metadata, annotations: Object.fromEntries(Object.entries(annotations).filter(([name]) => name !== 'kubectl.kubernetes.io/last-applied-configuration')) } };
}

/** The files of the bundle: nothing is in them that has not passed the redaction. */
export function bundleFiles({ files, notes }: Collected, redaction: Redaction, { hidesAddresses }: { readonly hidesAddresses: boolean }): readonly ArchivedFile[] {
  const readme = [
    `What is in here is what ${controlPlaneName} and its cluster said of themselves: definitions, objects with their statuses, events, workloads, logs,`,
    'and what "sallyport check" says. Not in here: Secrets, of which nothing was asked but whether that of the CA is empty; private keys, tokens,',
    `passwords, and variables of processes, which are replaced by ${redacted}. Addresses ${hidesAddresses ? 'are replaced, each by the same word everywhere' : 'and names are as they are'}.`,
    '',
    ...(notes.length === 0 ? [] : ['What could not be had:', ...notes.map((note) => `- ${redaction.text(note)}`), '']),
  ].join('\n');
  return [{ path: 'README.txt', text: readme }, ...files.map(({ path, content }) => ({ path, text: typeof content === 'string' ? redaction.text(content) : stringify(redaction.value(content), { aliasDuplicateObjects: false }) }))].map((file) => ({ ...file, path: `sallyport-support/${file.path}` }));
}
