/** What a declaration says of traffic, its names looked up: as the AS3 schema reference has each class. */
import type { JsonObject, RunningTenants } from './management.ts';

/** Path, as `/TENANT/APPLICATION/NAME`, and object. */
export type DeclaredObjects = ReadonlyMap<string, JsonObject>;

export interface VirtualServer {
  readonly address: string;
  readonly port: number;
  readonly profile: ClientSslProfile;
  readonly iRules: readonly string[];
  readonly hasFtpProfile: boolean;
}

/** PEM each. */
export interface ClientSslProfile {
  readonly certificate: string;
  readonly privateKey: string;
  readonly trusted: string;
  readonly requiresCertificate: boolean;
}

export interface Member {
  /** An address, or the name of a host. */
  readonly host: string;
  readonly family: 4 | 6 | 0;
  readonly port: number;
  readonly priorityGroup: number;
}

export interface Declared {
  readonly virtualServers: readonly VirtualServer[];
  readonly pools: ReadonlyMap<string, { readonly members: readonly Member[]; readonly reselectTries: number }>;
  readonly snatPools: ReadonlyMap<string, readonly string[]>;
  /** By address. */
  readonly connectionsMax: ReadonlyMap<string, number>;
  readonly dataGroups: ReadonlyMap<string, readonly { readonly key: string; readonly value: string }[]>;
  /** Where what is sent to it goes. */
  readonly publishers: ReadonlyMap<string, readonly { readonly address: string; readonly port: number }[]>;
}

export function readDeclared(tenants: RunningTenants): Declared {
  const objects = objectsOf(tenants);
  const ofClass = (name: string) => [...objects].filter(([, object]) => object['class'] === name);
  return {
    virtualServers: ofClass('Service_TCP').map(([path, object]) => virtualServer(path, object, objects)),
    pools: new Map(ofClass('Pool').map(([path, object]) => [path, { members: membersOf(object), reselectTries: (object['reselectTries'] as number | undefined) ?? 0 }])),
    snatPools: new Map(ofClass('SNAT_Pool').map(([path, object]) => [path, object['snatAddresses'] as string[]])),
    connectionsMax: new Map(ofClass('SNAT_Translation').map(([, object]) => [object['address'] as string, object['maxConnections'] as number])),
    dataGroups: new Map(ofClass('Data_Group').map(([path, object]) => [path, object['records'] as { key: string; value: string }[]])),
    publishers: new Map(ofClass('Log_Publisher').map(([path, object]) => [path, (object['destinations'] as readonly unknown[]).flatMap((destination) => receiversOf(path, destination, objects))])),
  };
}

function objectsOf(tenants: RunningTenants): DeclaredObjects {
  const within = (object: JsonObject) => Object.entries(object).filter((entry): entry is [string, JsonObject] => typeof entry[1] === 'object' && entry[1] !== null && 'class' in entry[1]);
  return new Map(Object.entries(tenants).flatMap(([tenant, body]) => within(body).flatMap(([application, content]) => within(content).map(([name, object]) => [`/${tenant}/${application}/${name}`, object] as const))));
}

/** A pointer: a name, or `{ use: NAME }`, within the same application. */
function pointed(from: string, pointer: unknown, objects: DeclaredObjects): JsonObject {
  const name = typeof pointer === 'string' ? pointer : (pointer as { readonly use: string }).use;
  const path = name.startsWith('/') ? name : `${from.slice(0, from.lastIndexOf('/'))}/${name}`;
  const object = objects.get(path);
  if (object === undefined) throw new Error(`${from} refers to ${path}, which is not there`);
  return object;
}

function virtualServer(path: string, object: JsonObject, objects: DeclaredObjects): VirtualServer {
  return {
    address: (object['virtualAddresses'] as string[])[0]!,
    port: object['virtualPort'] as number,
    profile: clientSslProfile(path, pointed(path, object['serverTLS'], objects), objects),
    iRules: (object['iRules'] as readonly unknown[]).map((rule) => pointed(path, rule, objects)['iRule'] as string),
    hasFtpProfile: object['profileFTP'] !== undefined,
  };
}

function clientSslProfile(path: string, profile: JsonObject, objects: DeclaredObjects): ClientSslProfile {
  const [{ certificate: name } = { certificate: undefined }] = profile['certificates'] as readonly { readonly certificate: unknown }[];
  const { certificate, privateKey, chainCA = '' } = pointed(path, name, objects);
  const { bundle } = pointed(path, profile['authenticationTrustCA'], objects);
  for (const pem of [certificate, privateKey, chainCA, bundle]) if (typeof pem !== 'string') throw new Error('a file on the box is not in the declaration');
  return { certificate: `${certificate as string}${chainCA as string}`, privateKey: privateKey as string, trusted: bundle as string, requiresCertificate: profile['authenticationMode'] === 'require' };
}

function membersOf({ members }: JsonObject): readonly Member[] {
  return ((members ?? []) as readonly JsonObject[]).flatMap((member): readonly Member[] => {
    const { servicePort: port, priorityGroup = 0 } = member as { readonly servicePort: number; readonly priorityGroup?: number };
    if (member['addressDiscovery'] === 'fqdn') return [{ host: member['hostname'] as string, family: member['addressFamily'] === 'IPv6' ? 6 : 4, port, priorityGroup }];
    return ((member['serverAddresses'] ?? []) as readonly string[]).map((host) => ({ host, family: 0, port, priorityGroup }));
  });
}

function receiversOf(path: string, destination: unknown, objects: DeclaredObjects) {
  const { type, protocol, pool } = pointed(path, destination, objects);
  if (type !== 'remote-high-speed-log' || protocol !== 'tcp') throw new Error('only a stream of lines is sent out');
  return membersOf(pointed(path, pool, objects)).map(({ host, port }) => ({ address: host, port }));
}
