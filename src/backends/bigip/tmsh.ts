/**
 * The AS3 declaration as a BIG-IP without AS3 takes it: a file for `tmsh load sys config file FILE merge`. It is made from the declaration's own
 * objects, each property of which is either said here or a fault, so the two cannot come apart.
 *
 * A file to merge, not a transaction of `create` and `modify`: it is the same whether the objects are there or not, `verify` tries it without
 * changing anything, and it is taken whole or not at all. What is left out stays on the box (docs/decisions/0806).
 *
 * Source: tmsh reference, by the name of each component. Where AS3's default is not the box's own and counts, it is said; that of
 * `min-active-members`, without which priority groups do nothing, and what AS3 makes of each property are in src/lib/map_as3.js and
 * properties.json of F5Networks/f5-appsvcs-extension.
 */
import { invariant } from '../../core/errors.ts';
import { familyOf, type IpAddress } from '../../core/ip-address.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { Plan, PlannedGateway } from '../../core/plan/plan.ts';
import { renderAs3, type As3Declaration } from './as3.ts';
import type { As3Object, As3Objects, Json } from './as3-object.ts';
import { application, pathOf } from './names.ts';
import { tmshText, type TmshObject, type TmshSettings, type TmshValue } from './tmsh-text.ts';

export interface RenderedTmsh {
  readonly text: string;
  /** What of the plan is refused, as by `renderAs3`. */
  readonly conditions: readonly Condition[];
}

/** Certificate and key are files on the box (`importedIdentity`); partition and folder are there before. */
export function renderTmsh(plan: Plan, gateway: PlannedGateway): RenderedTmsh {
  const { declaration, conditions } = renderAs3(plan, gateway);
  const { partition } = gateway.bigip!;
  const head = `# Gateway ${gateway.name}, revision ${plan.revision}.\n`;
  return { text: [head, ...tmshObjects(declaration, partition).map(tmshText)].join('\n'), conditions };
}

/** Servers first, then the application's objects in their order. */
export function tmshObjects(declaration: As3Declaration, partition: string): readonly TmshObject[] {
  const { class: _class, template: _template, ...objects } = (declaration[partition] as Readonly<Record<string, As3Objects>>)[application]! as As3Objects & { class: never; template: never };
  const at: Place = { objects, path: (name) => pathOf(partition, name), own: (name) => `/${partition}/${name}` };
  const nodes = new Map(Object.values(objects).flatMap((object) => nodesOf(object, at).map((node) => [node.path, node])));
  return [...nodes.values(), ...Object.entries(objects).flatMap(([name, object]) => objectOf(name, object, at))];
}

interface Place {
  readonly objects: As3Objects;
  /** Of an object of the application. */
  readonly path: (name: string) => string;
  /** Of an object of the partition itself: nodes and addresses, whose name is what they are. */
  readonly own: (name: string) => string;
}

/** What a property of AS3 is to the box. Properties that are one setting there are merged. */
type Property = (value: Json, at: Place, object: As3Object) => TmshSettings;

interface ObjectClass {
  readonly component: string;
  readonly path?: (object: As3Object, at: Place) => string;
  readonly properties: Readonly<Record<string, Property>>;
  /** Said by AS3 where the declaration does not. */
  readonly always?: TmshSettings;
}

function scalar(value: Json | undefined): string {
  invariant(typeof value === 'string' || typeof value === 'number', 'what is one word is text or a number');
  return String(value);
}

const word = (setting: string): Property => (value) => ({ [setting]: scalar(value) });
const onOff = (setting: string): Property => (value) => ({ [setting]: value === true ? 'enabled' : 'disabled' });
const joined = (setting: string): Property => (value) => ({ [setting]: (value as readonly string[]).join(':') });
const reference = (setting: string): Property => (value, at) => ({ [setting]: referred(value, at) });
/** Settings by the paths of objects, each with more about it. */
const references = (setting: string): Property => (value, at) => ({ [setting]: Object.fromEntries((value as readonly Json[]).map((each) => [referred(each, at), {}])) });
const option = (name: string): Property => (value) => ({ options: value === true ? [] : [name] });
const saidElsewhere: Property = () => ({});
const profile = (context: 'all' | 'clientside'): Property => (value, at) => ({ profiles: { [referred(value, at)]: { context } } });

/** A pointer by name or by `use`. */
const referred = (value: Json, { path }: Place): string => path(scalar(isUse(value) ? value.use : value));

const isUse = (value: Json): value is { readonly use: string } => typeof value === 'object' && value !== null && 'use' in value;

/** A monitor that is only named is one of the box's own. */
const monitors: Property = (value, at) => ({ monitor: (value as readonly Json[]).map((each) => (isUse(each) ? referred(each, at) : `/Common/${scalar(each)}`)).join(' and ') });

/** The file itself, for AS3 makes an object of each which refers to it. */
const file = (setting: string): Property => (value, { objects }) => ({ [setting]: imported(objects[value as string]!['bundle']!) });

function imported(value: Json): string {
  invariant(typeof value === 'object' && value !== null && 'bigip' in value, 'certificates and keys are files on the box');
  return scalar(value.bigip);
}

const certKeyChain: Property = (value, { objects }) => {
  const entries = (value as readonly { readonly certificate: string }[]).map(({ certificate: name }, index) => {
    const { certificate, privateKey, chainCA } = objects[name]!;
    return [`set${index}`, { cert: imported(certificate!), key: imported(privateKey!), ...(chainCA === undefined ? {} : { chain: imported(chainCA) }) }] as const;
  });
  return { 'cert-key-chain': Object.fromEntries(entries) };
};

interface Member {
  readonly servicePort: number;
  readonly serverAddresses?: readonly IpAddress[];
  readonly hostname?: string;
  readonly fqdnPrefix?: string;
  readonly addressFamily?: string;
  readonly priorityGroup?: number;
}

/** An IPv6 address and a port are joined by a dot. */
const joinPort = (address: string, port: number): string => `${address}${address.includes(':') ? '.' : ':'}${port}`;

const members: Property = (value, { own }) => {
  const entries = (value as unknown as readonly Member[]).flatMap(({ servicePort, priorityGroup, hostname, fqdnPrefix = '', serverAddresses = [] }): readonly (readonly [string, TmshSettings])[] => {
    const group: TmshSettings = priorityGroup === undefined ? {} : { 'priority-group': String(priorityGroup) };
    const named = hostname === undefined ? [] : [[own(joinPort(fqdnPrefix + hostname, servicePort)), { fqdn: { autopopulate: 'enabled', name: hostname }, ...group }] as const];
    return [...named, ...serverAddresses.map((address) => [own(joinPort(address, servicePort)), { address, ...group }] as const)];
  });
  return { members: Object.fromEntries(entries) };
};

/** The servers of a pool. */
function nodesOf(object: As3Object, { own }: Place): readonly TmshObject[] {
  if (object.class !== 'Pool') return [];
  return (object['members'] as unknown as readonly Member[]).flatMap(({ hostname, fqdnPrefix = '', addressFamily, serverAddresses = [] }): readonly TmshObject[] => {
    if (hostname === undefined) return serverAddresses.map((address) => ({ component: 'ltm node', path: own(address), body: { address } }));
    return [{ component: 'ltm node', path: own(fqdnPrefix + hostname), body: { fqdn: { 'address-family': addressFamily!.toLowerCase(), autopopulate: 'enabled', name: hostname } } }];
  });
}

const hostMasks = { ipv4: '255.255.255.255', ipv6: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff' } as const;

const destination: Property = (value, { own }, { virtualPort }) => {
  const [address] = value as readonly IpAddress[];
  return { destination: own(joinPort(address!, virtualPort as number)), mask: hostMasks[familyOf(address!)] };
};

const records: Property = (value) => ({ records: Object.fromEntries((value as readonly { readonly key: string; readonly value: string }[]).map(({ key, value: data }) => [key, { data }])) });

const classes: Readonly<Record<string, ObjectClass>> = {
  Cipher_Rule: { component: 'ltm cipher rule', properties: { cipherSuites: joined('cipher'), namedGroups: joined('dh-groups'), signatureAlgorithms: joined('signature-algorithms') } },
  Cipher_Group: { component: 'ltm cipher group', properties: { allowCipherRules: references('allow') } },
  TLS_Server: {
    component: 'ltm profile client-ssl',
    properties: {
      certificates: certKeyChain,
      authenticationMode: word('peer-cert-mode'),
      authenticationFrequency: (value) => ({ authenticate: value === 'every-time' ? 'always' : 'once' }),
      authenticationTrustCA: file('ca-file'),
      authenticationInviteCA: file('client-cert-ca'),
      cipherGroup: reference('cipher-group'),
      tls1_3Enabled: option('no-tlsv1.3'),
      tls1_1Enabled: option('no-tlsv1.1'),
      tls1_0Enabled: option('no-tlsv1'),
      ssl3Enabled: option('no-sslv3'),
      sslEnabled: option('no-ssl'),
      dtlsEnabled: option('no-dtls'),
      dtls1_2Enabled: option('no-dtlsv1.2'),
      renegotiationEnabled: onOff('renegotiation'),
      cacheTimeout: word('cache-timeout'),
      handshakeTimeout: word('handshake-timeout'),
    },
    always: { ciphers: 'none', options: ['dont-insert-empty-fragments'] }, // a list of options takes the place of the box's own, which forbids TLS 1.3
  },
  TCP_Profile: { component: 'ltm profile tcp', properties: { idleTimeout: word('idle-timeout'), synMaxRetrans: word('syn-max-retrans'), synRtoBase: word('syn-rto-base') } },
  FTP_Profile: { component: 'ltm profile ftp', properties: { port: word('port'), ftpsMode: word('ftps-mode'), activeModeEnabled: onOff('allow-active-mode'), inheritParentProfileEnabled: onOff('inherit-parent-profile') } },
  Monitor: {
    component: 'ltm monitor inband',
    properties: { monitorType: saidElsewhere, failures: word('failures'), failureInterval: word('failure-interval'), responseTime: word('response-time'), retryTime: word('retry-time') },
  },
  Pool: {
    component: 'ltm pool',
    properties: { members, reselectTries: word('reselect-tries'), monitors },
    always: { 'min-active-members': '1' },
  },
  SNAT_Pool: { component: 'ltm snatpool', properties: { snatAddresses: (value, { own }) => ({ members: (value as readonly string[]).map(own) }) } },
  SNAT_Translation: {
    component: 'ltm snat-translation',
    path: ({ address }, { own }) => own(scalar(address)),
    properties: { address: word('address'), maxConnections: word('connection-limit') },
  },
  Data_Group: { component: 'ltm data-group internal', properties: { records, keyDataType: word('type') } },
  Log_Destination: { component: 'sys log-config destination remote-high-speed-log', properties: { type: saidElsewhere, pool: reference('pool-name'), protocol: word('protocol') } },
  Log_Publisher: { component: 'sys log-config publisher', properties: { destinations: references('destinations') } },
  Service_TCP: {
    component: 'ltm virtual',
    properties: {
      virtualAddresses: destination,
      virtualPort: saidElsewhere,
      profileTCP: profile('all'),
      serverTLS: profile('clientside'),
      profileFTP: profile('all'),
      iRules: (value, { path }) => ({ rules: (value as readonly string[]).map(path) }),
      snat: (value) => ({ 'source-address-translation': { type: scalar(value) } }),
      translateClientPort: (value) => ({ 'source-port': value === true ? 'change' : 'preserve' }),
      persistenceMethods: (value) => {
        invariant((value as readonly Json[]).length === 0, 'nothing persists');
        return { persist: 'none' };
      },
    },
    always: { 'ip-protocol': 'tcp' },
  },
};

/** Files are no objects: what refers to them has their path. */
const fileClasses: readonly string[] = ['Certificate', 'CA_Bundle'];

function objectOf(name: string, object: As3Object, at: Place): readonly TmshObject[] {
  if (fileClasses.includes(object.class)) return [];
  if (object.class === 'iRule') return [{ component: 'ltm rule', path: at.path(name), body: object['iRule'] as string }];
  const known = classes[object.class];
  invariant(known !== undefined, `tmsh has words for class ${object.class}`);
  const { component, path, properties, always = {} } = known;
  const settings = Object.entries(object).flatMap(([property, value]) => {
    if (property === 'class') return [];
    const said = properties[property];
    invariant(said !== undefined, `tmsh has words for ${property} of class ${object.class}`);
    return [said(value, at, object)];
  });
  return [{ component, path: path?.(object, at) ?? at.path(name), body: [always, ...settings].reduce(merged, {}) }];
}

const merged = (some: TmshSettings, more: TmshSettings): TmshSettings => ({ ...some, ...Object.fromEntries(Object.entries(more).map(([setting, value]) => [setting, mergedValue(some[setting], value)])) });

/** Lists and settings grow by what comes; a word takes the place of another. */
function mergedValue(some: TmshValue | undefined, more: TmshValue): TmshValue {
  if (some === undefined || typeof some === 'string' || typeof more === 'string') return more;
  return Array.isArray(some) && Array.isArray(more) ? [...(some as readonly string[]), ...(more as readonly string[])] : { ...(some as TmshSettings), ...(more as TmshSettings) };
}
