/**
 * Which grant's filter chain takes a connection, by the identity that its handshake proved: the service account's, by the
 * whole SPIFFE ID, else the namespace's. Whoever meets none of them is refused, which is what Envoy does with a connection
 * that no chain takes.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import type { Subject } from '../../core/plan/plan.ts';
import { workloadSpiffeId, type TrustDomain } from '../../core/spiffe-id.ts';
import { FilterStateInputSchema } from '../../proto/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.ts';
import type { TypedExtensionConfigSchema } from '../../proto/xds/core/v3/extension_pb.ts';
import type { Matcher_OnMatchSchema, MatcherSchema } from '../../proto/xds/type/matcher/v3/matcher_pb.ts';
import { stateKeys } from './names.ts';
import { pack } from './resource.ts';

type MatcherInit = MessageInitShape<typeof MatcherSchema>;
type OnMatchInit = MessageInitShape<typeof Matcher_OnMatchSchema>;

type InputInit = MessageInitShape<typeof TypedExtensionConfigSchema>;
const identityInput: InputInit = { name: 'identity', typedConfig: pack(FilterStateInputSchema, { key: stateKeys.identity }) };
const serialNumberInput: InputInit = { name: 'serial-number', typedConfig: pack(FilterStateInputSchema, { key: stateKeys.serialNumber }) };

const toChain = (name: string): OnMatchInit => ({ onMatch: { case: 'action', value: { name, typedConfig: pack(StringValueSchema, { value: name }) } } });
const toMatcher = (value: MatcherInit): OnMatchInit => ({ onMatch: { case: 'matcher', value } });

/** The name of no chain: it takes nobody. */
const nobody = toChain('nobody');

export interface MatchedSubject {
  readonly subject: Subject;
  /** Its filter chain; one that is not there where it must be refused although its namespace is not. */
  readonly chain: string;
}

/** The tree for these subjects, and before it the serial numbers that are refused whoever has them. */
export function grantMatcher(trustDomain: TrustDomain, subjects: readonly MatchedSubject[], revokedSerialNumbers: readonly string[]): MatcherInit {
  const accounts: Record<string, OnMatchInit> = {};
  const namespaces: Record<string, OnMatchInit> = {};
  for (const { subject, chain } of subjects) {
    const { namespace, serviceAccount } = subject;
    if (serviceAccount === undefined) namespaces[`spiffe://${trustDomain}/ns/${namespace}/sa/`] = toChain(chain);
    else accounts[workloadSpiffeId(trustDomain, { namespace, serviceAccount })] = toChain(chain);
  }
  const byNamespace = treeOf('prefixMatchMap', identityInput, namespaces);
  const byAccount = treeOf('exactMatchMap', identityInput, accounts, byNamespace);
  const byIdentity = onlyWorkloads(trustDomain, byAccount ?? byNamespace);
  return treeOf('exactMatchMap', serialNumberInput, Object.fromEntries(revokedSerialNumbers.map((serialNumber) => [serialNumber, nobody])), byIdentity) ?? byIdentity;
}

/** An empty map is an error to Envoy, so there is a tree only for what has entries. */
function treeOf(form: 'exactMatchMap' | 'prefixMatchMap', input: InputInit, map: Record<string, OnMatchInit>, otherwise?: MatcherInit): MatcherInit | undefined {
  if (Object.keys(map).length === 0) return undefined;
  const onNoMatch = otherwise === undefined ? {} : { onNoMatch: toMatcher(otherwise) };
  return { matcherType: { case: 'matcherTree', value: { input, treeType: { case: form, value: { map } } } }, ...onNoMatch };
}

/**
 * Looks at nothing but one workload's SPIFFE ID. Of a certificate with several URIs Envoy makes one text, joined by commas,
 * that may begin like a namespace's; a path with more segments may too, and a URI that is no SPIFFE ID at all.
 */
function onlyWorkloads(trustDomain: TrustDomain, tree: MatcherInit | undefined): MatcherInit {
  const isWorkload = { input: identityInput, matcher: { case: 'valueMatch', value: { matchPattern: { case: 'safeRegex', value: { engineType: { case: 'googleRe2', value: {} }, regex: workloadPattern(trustDomain) } } } } } as const;
  const onMatch = tree === undefined ? nobody : toMatcher(tree);
  return { matcherType: { case: 'matcherList', value: { matchers: [{ predicate: { matchType: { case: 'singlePredicate', value: isWorkload } }, onMatch }] } } };
}

/** SPIFFE ID, section 2.2: letters, digits, ".", "-" and "_", but neither "." nor "..". */
const segment = '(\\.*[A-Za-z0-9_-][A-Za-z0-9._-]*|\\.{3,})';

/** Takes, as a whole, what `parseSpiffeId` and `workloadOf` take of this trust domain. In the syntax of RE2. */
export const workloadPattern = (trustDomain: TrustDomain): string => `spiffe://${trustDomain.replaceAll('.', '\\.')}/ns/${segment}/sa/${segment}`;
