import { Option, type Command } from 'commander';
import { SallyportError } from '../../core/errors.ts';
import { parseAddress } from '../../core/ip-address.ts';
import { parseManifests } from '../../core/manifest/manifest.ts';
import { apiVersion, protocols, transportOf, serviceAccountsAnnotation } from '../../core/objects/index.ts';
import type { CliContext } from '../context.ts';
import { formatYaml } from '../output.ts';
import { desiredObjectsOf, namespaceFlags, withServerOptions } from '../target.ts';
import { forceFlags, printChange } from './apply.ts';

interface RegisterOptions {
  readonly namespace?: string;
  readonly labels?: string;
  readonly annotations?: string;
  readonly serviceaccount?: string;
  readonly protocol?: string;
  readonly gateway?: string;
  readonly trustDomain: string;
  readonly dryRun?: true;
  readonly forceConflicts?: true;
  readonly output?: 'yaml';
}

/** An ExternalService as a user writes it. */
interface Manifest {
  readonly apiVersion: string;
  readonly kind: 'ExternalService';
  readonly metadata: { readonly name: string; readonly namespace: string; readonly labels?: Record<string, string>; readonly annotations?: Record<string, string> };
  readonly spec: Readonly<Record<string, unknown>> & { readonly addresses?: readonly string[]; readonly hosts?: readonly string[]; readonly ports: readonly { readonly port: number; readonly name?: string; readonly protocol?: string }[] };
}

export function addRegister(program: Command, context: CliContext): void {
  withServerOptions(program.command('register'))
    .summary('register an external service, as istioctl register did')
    .description('Registers an external service under a name of the mesh. What is registered already gets the further address and ports. Nobody may reach it until an EgressPolicy says so.')
    .argument('<name>', 'service name')
    .argument('<address>', 'IP address or host name of the external service')
    .argument('<ports...>', '[NAME:]PORT')
    .option(...namespaceFlags)
    .option('-l, --labels <labels>', 'k=v,k=v')
    .option('-a, --annotations <annotations>', 'k=v,k=v')
    .option('-s, --serviceaccount <name>', "a service account whose identity the server's certificate may carry (secure naming)")
    .addOption(new Option('--protocol <protocol>', 'what the ports speak').choices(protocols).default('TCP'))
    .option('--gateway <name>', 'the EgressGateway that serves it')
    .option('--trust-domain <name>', 'trust domain of --serviceaccount', 'cluster.local')
    .option('--dry-run', 'say what would change, and change nothing')
    .option(...forceFlags)
    .addOption(new Option('-o, --output <format>', 'with --dry-run: print the manifest, needing no control plane').choices(['yaml']))
    .addHelpText('after', '\nEXAMPLES\n  sallyport register -n bookinfo bigip-proxy-svc 10.4.0.201 3128 --labels apps=bigip-proxy --protocol HTTPConnect\n  sallyport register -n bank partner ftp.partner.example control:21 --protocol FTP --dry-run -o yaml\n\nEXIT CODES\n  0 registered   2 bad address, port or name   4 not allowed   5 others have set what is to be changed   6 control plane away')
    .action(async (name: string, address: string, ports: string[], options: RegisterOptions, command: Command) => {
      if (options.output === 'yaml') {
        if (options.dryRun !== true) throw new SallyportError('usage', 'the manifest is printed with --dry-run only', { hint: 'add --dry-run, or leave out -o yaml' });
        const manifest = manifestOf(name, address, ports, options.namespace ?? 'default', options);
        const faults = parseManifests([{ file: '(register)', text: JSON.stringify(manifest) }]).faults();
        if (faults.length > 0) throw new SallyportError('manifest-invalid', 'this cannot be registered', { faults });
        context.out(formatYaml(manifest).trimEnd());
        return;
      }
      const objects = await desiredObjectsOf(context, command);
      const { namespace = objects.defaultNamespace, dryRun = false, forceConflicts = false } = options;
      const manifest = manifestOf(name, address, ports, namespace, options);
      const known = (await objects.written({ kind: 'ExternalService', namespace, name })) as unknown as Manifest | undefined;
      if (known === undefined) context.say(`service ${JSON.stringify(`${namespace}/${name}`)} is not registered yet: it is created`);
      const source = { file: '(register)', text: JSON.stringify(known === undefined ? manifest : merge(known, manifest)) };
      printChange(context, await objects.apply([source], { dryRun, takeOver: forceConflicts }));
      if (known === undefined) context.say(`nobody may reach it yet; see what is missing: sallyport explain NAMESPACE/SERVICEACCOUNT --to ${namespace}/${name}:${String(manifest.spec.ports[0]!.port)}`);
    });
}

function manifestOf(name: string, address: string, portTexts: readonly string[], namespace: string, options: RegisterOptions): Manifest {
  const ip = parseAddress(address);
  const { labels, annotations, serviceaccount, gateway, protocol = 'TCP', trustDomain } = options;
  const allAnnotations = { ...parsePairs(annotations, '--annotations'), ...(serviceaccount === undefined ? {} : { [serviceAccountsAnnotation]: serviceaccount }) };
  return {
    apiVersion,
    kind: 'ExternalService',
    metadata: {
      name,
      namespace,
      ...(labels === undefined ? {} : { labels: parsePairs(labels, '--labels') }),
      ...(Object.keys(allAnnotations).length === 0 ? {} : { annotations: allAnnotations }),
    },
    spec: {
      ...(ip === undefined ? { hosts: [address] } : { addresses: [ip] }),
      ports: portTexts.map((text) => ({ ...parsePort(text), protocol })),
      ...(gateway === undefined ? {} : { gateway }),
      ...(serviceaccount === undefined ? {} : { subjectAltNames: [`spiffe://${trustDomain}/ns/${namespace}/sa/${serviceaccount}`] }),
    },
  };
}

function parsePort(text: string): { readonly name?: string; readonly port: number } {
  const match = /^(?:([a-z0-9]([-a-z0-9]*[a-z0-9])?):)?([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65535) throw new SallyportError('usage', `${JSON.stringify(text)} is not a port`, { value: text, hint: 'write PORT or NAME:PORT, with a port from 1 to 65535' });
  return match[1] === undefined ? { port } : { name: match[1], port };
}

function parsePairs(text: string | undefined, option: string): Record<string, string> {
  if (text === undefined) return {};
  return Object.fromEntries(
    text.split(',').map((pair) => {
      const equals = pair.indexOf('=');
      if (equals < 1) throw new SallyportError('usage', `${JSON.stringify(pair)} is not a pair k=v`, { place: option, value: pair });
      return [pair.slice(0, equals), pair.slice(equals + 1)];
    }),
  );
}

/** A second registration adds its address and ports to the first, as istioctl's did with endpoints. */
function merge(known: Manifest, added: Manifest): Manifest {
  const union = (field: 'addresses' | 'hosts') => [...new Set([...(known.spec[field] ?? []), ...(added.spec[field] ?? [])])];
  const addresses = union('addresses');
  const hosts = union('hosts');
  if (addresses.length > 0 && hosts.length > 0) throw new SallyportError('usage', 'the service is registered by address, and cannot have a host name too (or the other way round)', { hint: 'deregister it first, or register under another name' });
  const placeOf = ({ port, protocol = 'TCP' }: Manifest['spec']['ports'][number]) => `${port} ${transportOf(protocol)}`;
  const knownPorts = new Set(known.spec.ports.map(placeOf));
  return {
    ...known,
    metadata: {
      ...known.metadata,
      labels: { ...known.metadata.labels, ...added.metadata.labels },
      annotations: { ...known.metadata.annotations, ...added.metadata.annotations },
    },
    spec: {
      ...known.spec,
      ...(added.spec['subjectAltNames'] === undefined ? {} : { subjectAltNames: added.spec['subjectAltNames'] }),
      ...(addresses.length === 0 ? { hosts } : { addresses }),
      ports: [...known.spec.ports, ...added.spec.ports.filter((port) => !knownPorts.has(placeOf(port)))],
    },
  };
}

export function addDeregister(program: Command, context: CliContext): void {
  withServerOptions(program.command('deregister'))
    .summary('take a registration back')
    .description('Takes an external service out of the mesh, or only one of its addresses. Refused while policies name the service.')
    .argument('<name>', 'service name')
    .argument('[address]', 'only this address')
    .option(...namespaceFlags)
    .option(...forceFlags)
    .addHelpText('after', '\nEXAMPLES\n  sallyport deregister -n bookinfo bigip-proxy-svc\n\nEXIT CODES\n  0 done   2 policies still name it   3 not registered')
    .action(async (name: string, address: string | undefined, options: { namespace?: string; forceConflicts?: true }, command: Command) => {
      const objects = await desiredObjectsOf(context, command);
      const { namespace = objects.defaultNamespace, forceConflicts = false } = options;
      const known = (await objects.written({ kind: 'ExternalService', namespace, name })) as unknown as Manifest | undefined;
      const place = known?.spec.addresses === undefined ? 'hosts' : 'addresses';
      const rest = (known?.spec[place] ?? []).filter((other) => other !== (parseAddress(address ?? '') ?? address));
      if (known === undefined || (address !== undefined && rest.length === known.spec[place]!.length)) {
        throw new SallyportError('not-found', `${JSON.stringify(`${namespace}/${name}`)} is not registered${known === undefined ? '' : ` at ${address!}`}`, { hint: 'list them: sallyport get externalservices -A' });
      }
      if (address === undefined || rest.length === 0) {
        try {
          printChange(context, await objects.withdraw({ kind: 'ExternalService', namespace, name }));
        } catch (error) {
          throw stillNamed(error, namespace, name);
        }
        return;
      }
      const source = { file: '(deregister)', text: JSON.stringify({ ...known, spec: { ...known.spec, [place]: rest } }) };
      printChange(context, await objects.apply([source], { takeOver: forceConflicts }));
    });
}

/** The faults that a deletion would cause say what others lack then; whoever deregisters wants to hear who they are. */
function stillNamed(error: unknown, namespace: string, name: string): unknown {
  if (!(error instanceof SallyportError) || error.code !== 'manifest-invalid') return error;
  const faults = error.faults.map(({ hint, ...fault }) => fault);
  return new SallyportError('manifest-invalid', `${JSON.stringify(`${namespace}/${name}`)} is still named by others, nothing was changed`, { faults, hint: 'take it out of them, or delete them first: sallyport delete KIND NAME -n NAMESPACE' });
}
