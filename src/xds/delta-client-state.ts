import type { DeltaDiscoveryResponse } from '../proto/envoy/service/discovery/v3/discovery_pb.ts';

/** What a client of the Delta protocol asks for: the names of one type, or all that the server has for it. */
export interface DeltaSubscription {
  readonly typeUrl: string;
  readonly names: readonly string[] | '*';
}

/** One response, as the application sees it. */
export interface DeltaUpdate {
  readonly typeUrl: string;
  /** The server's name for the state that this response leads to. */
  readonly systemVersion: string;
  /** New and changed resources; the value is the encoded message. */
  readonly changed: readonly { readonly name: string; readonly version: string; readonly value: Uint8Array }[];
  /** Names that were held and are no more. */
  readonly removed: readonly string[];
}

/** What is held of one type: what a reconnecting client tells the server, so that it is sent only what has changed. */
export interface HeldType {
  readonly typeUrl: string;
  readonly names: ReadonlySet<string> | '*';
  /** Version by resource name. */
  readonly versions: Map<string, string>;
}

/** Starts the record of one subscription with the versions already held, for example from an earlier run; others' names are left out. */
export function holdType(subscription: DeltaSubscription, versions: ReadonlyMap<string, string> = new Map()): HeldType {
  const names = subscription.names.includes('*') ? '*' : new Set(subscription.names);
  return { typeUrl: subscription.typeUrl, names, versions: new Map([...versions].filter(([name]) => covers(names, name))) };
}

/** The first request for a type on a stream: names, and what is held of them. */
export function openingRequest(held: HeldType): { typeUrl: string; resourceNamesSubscribe: string[]; initialResourceVersions: Record<string, string> } {
  return {
    typeUrl: held.typeUrl,
    resourceNamesSubscribe: held.names === '*' ? ['*'] : [...held.names],
    initialResourceVersions: Object.fromEntries(held.versions),
  };
}

/**
 * Reads a response into an update, or says why it cannot be accepted. Resources that were not asked for are left out, as the
 * protocol wants; so are those without a message, which only prolong a time to live.
 */
export function readResponse(held: HeldType, response: DeltaDiscoveryResponse): { readonly update: DeltaUpdate } | { readonly fault: string } {
  const changed: DeltaUpdate['changed'][number][] = [];
  const seen = new Set<string>();
  for (const { name, version, resource } of response.resources) {
    if (seen.has(name)) return { fault: `resource "${name}" stands twice in the response` };
    seen.add(name);
    if (resource === undefined || !covers(held.names, name)) continue;
    if (resource.typeUrl !== held.typeUrl) return { fault: `resource "${name}" is of type "${resource.typeUrl}", not "${held.typeUrl}"` };
    changed.push({ name, version, value: resource.value });
  }
  const removed = [...new Set(response.removedResources)].filter((name) => held.versions.has(name) && !seen.has(name));
  return { update: { typeUrl: held.typeUrl, systemVersion: response.systemVersionInfo, changed, removed } };
}

/** Records an update that the application has accepted. */
export function hold(held: HeldType, update: DeltaUpdate): void {
  for (const { name, version } of update.changed) held.versions.set(name, version);
  for (const name of update.removed) held.versions.delete(name);
}

function covers(names: ReadonlySet<string> | '*', name: string): boolean {
  return names === '*' || names.has(name);
}
