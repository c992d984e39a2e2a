/**
 * What a client has asked for, of one type on one stream, by the rules of
 * https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return
 */
export interface Subscription {
  /** All that the server has for the node, asked for as `*` or, the older way, by naming nothing from the start. */
  readonly wildcard: boolean;
  /** Asked for by name, beside the wildcard or without it. */
  readonly names: ReadonlySet<string>;
  /** Whether anything, `*` included, was ever asked for by name: from then on naming nothing no longer means everything. */
  readonly hasNamed: boolean;
}

/** What a request did to a subscription. A name may have been asked for again: it is then to be sent again. */
export interface SubscriptionChange {
  /** The very object that it was where the request changes nothing. */
  readonly subscription: Subscription;
  /** Names asked for by this request (SotW: only those that are new). */
  readonly asked: readonly string[];
  /** Whether this request asked for everything. */
  readonly askedForAll: boolean;
  /** Names no longer asked for, whether or not the wildcard still covers them. */
  readonly dropped: readonly string[];
}

export const NO_SUBSCRIPTION: Subscription = { wildcard: false, names: new Set(), hasNamed: false };

const WILDCARD = '*';

export function covers(subscription: Subscription, name: string): boolean {
  return subscription.wildcard || subscription.names.has(name);
}

export function isEmpty(subscription: Subscription): boolean {
  return !subscription.wildcard && subscription.names.size === 0;
}

/** Applies a Delta request, which names what is added and what is dropped. A name in both lists is dropped; an unknown one is ignored. */
export function changeByDelta(before: Subscription, subscribe: readonly string[], unsubscribe: readonly string[]): SubscriptionChange {
  if (subscribe.length === 0 && unsubscribe.length === 0) return askForAllByNamingNothing(before);
  const names = new Set(before.names);
  let wildcard = before.wildcard;
  let askedForAll = false;
  const asked: string[] = [];
  for (const name of subscribe) {
    if (name === WILDCARD) {
      wildcard = askedForAll = true;
    } else {
      names.add(name);
      asked.push(name);
    }
  }
  const dropped: string[] = [];
  for (const name of unsubscribe) {
    if (name === WILDCARD) wildcard = askedForAll = false;
    else if (names.delete(name)) dropped.push(name);
  }
  const kept = names.size === 0 ? NO_SUBSCRIPTION.names : names; // one for all streams that have only the wildcard
  return { subscription: { wildcard, names: kept, hasNamed: before.hasNamed || subscribe.length > 0 }, asked, askedForAll, dropped };
}

/** Applies a SotW request, which names everything that is wanted. Only the names count, whatever the nonce says. */
export function changeBySotw(before: Subscription, resourceNames: readonly string[]): SubscriptionChange {
  if (resourceNames.length === 0 && !before.hasNamed) return askForAllByNamingNothing(before);
  const names = new Set(resourceNames);
  const wildcard = names.delete(WILDCARD);
  const asked = [...names].filter((name) => !before.names.has(name));
  const dropped = [...before.names].filter((name) => !names.has(name));
  if (before.hasNamed && asked.length === 0 && dropped.length === 0 && wildcard === before.wildcard) return noChange(before);
  return { subscription: { wildcard, names, hasNamed: true }, asked, askedForAll: wildcard && !before.wildcard, dropped };
}

function askForAllByNamingNothing(before: Subscription): SubscriptionChange {
  if (before.hasNamed || before.wildcard) return noChange(before);
  return { subscription: { ...before, wildcard: true }, asked: [], askedForAll: true, dropped: [] };
}

function noChange(before: Subscription): SubscriptionChange {
  return { subscription: before, asked: [], askedForAll: false, dropped: [] };
}
