import type { Node } from '../proto/envoy/config/core/v3/base_pb.ts';

/** Which program a client says that it is, and of which version; empty where it does not say. Nothing proves it. */
export interface UserAgent {
  readonly name: string;
  readonly version: string;
}

const CHARACTERS_MAX = 64;

/** Reads it from a node. What a client says is made fit to be kept and printed: 64 characters of ASCII at most, others as `?`. */
export function userAgentOf({ userAgentName, userAgentVersionType }: Node): UserAgent {
  return { name: clean(userAgentName), version: clean(versionOf(userAgentVersionType)) };
}

/** Envoy says its version in numbers, other clients in words. */
function versionOf({ case: kind, value }: Node['userAgentVersionType']): string {
  if (kind === 'userAgentVersion') return value;
  if (kind !== 'userAgentBuildVersion' || value.version === undefined) return '';
  const { majorNumber, minorNumber, patch } = value.version;
  return `${majorNumber}.${minorNumber}.${patch}`;
}

function clean(text: string): string {
  return text.slice(0, CHARACTERS_MAX).replaceAll(/[^ -~]/g, '?');
}
