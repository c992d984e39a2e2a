/** The catalogue of checks: each a pure function of facts. docs/reference/checks.md is written from it. */
import { X509Certificate } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { trustBundleConfigMap } from '../core/pod-identity.ts';
import { olderApiVersion } from '../core/objects/index.ts';
import { customResourceDefinitions, managedBy } from '../kubernetes/index.ts';
import { conditionOf, hasStatus, isOnlyRenderedFor, isTrue, nameOf, told, whyNot } from './custom-objects.ts';
import type { Asked, CustomObject, Facts, FactsAfter, FactsBefore, LiveDefinition, StatefulSet } from './facts.ts';

export type Verdict = 'passed' | 'failed' | 'warned' | 'skipped';

export interface Outcome {
  readonly verdict: Verdict;
  /** What was seen, where that says more than the title. */
  readonly message?: string;
  /** What it is about, each with why; empty where it is about the whole. */
  readonly named?: readonly string[];
}

export const categories = ['Kubernetes', 'Before an installation', 'Definitions', 'Control plane', 'Trust', 'Gateways', 'Objects'] as const;

export interface Check {
  /** Stable, kebab-case: its place in the reference. */
  readonly code: string;
  readonly category: (typeof categories)[number];
  /** What is so where it is passed. */
  readonly title: string;
  /** What to do where it is not. */
  readonly hint: string;
  /** What would be wrong otherwise, for the reference. */
  readonly why: string;
  /** Null: it is not about this. */
  readonly look: (facts: Facts) => Outcome | null;
}

const passed = (message?: string): Outcome => ({ verdict: 'passed', ...(message === undefined ? {} : { message }) });
const skipped = (message: string): Outcome => ({ verdict: 'skipped', message });
/** Where nothing is named all is well. */
const unless = (named: readonly string[], of: number, what: string, verdict: Verdict = 'failed'): Outcome => (named.length === 0 ? passed(of === 0 ? 'there is none' : undefined) : { verdict, message: `${named.length} of ${of} ${what}`, named });

function given<Value>(asked: Asked<Value>, look: (value: Value) => Outcome): Outcome {
  return asked.ok ? look(asked.value) : skipped(asked.why);
}

const before = (look: (facts: FactsBefore, all: Facts) => Outcome) => (facts: Facts): Outcome | null => (facts.before === null ? null : look(facts.before, facts));
const after = (look: (facts: FactsAfter, all: Facts) => Outcome) => (facts: Facts): Outcome | null => (facts.after === null ? null : look(facts.after, facts));

/** Native sidecars are on by default since 1.29, ValidatingAdmissionPolicies are there since 1.30. */
const minorMin = 30;
const skewMsMax = 10_000;
/** Leaders renew every few seconds: between asking for the time and for the Lease some more may pass. */
const leaseGraceMs = 5_000;
const expirySoonMs = 30 * 86_400_000;

export const checks: readonly Check[] = [
  {
    code: 'api-version',
    category: 'Kubernetes',
    title: `the API server is of version 1.${minorMin} or later`,
    hint: 'bring the cluster up to date first',
    why: 'Agents are native sidecars, and what the control plane may write is held by a ValidatingAdmissionPolicy; both are there from 1.30 on.',
    look: ({ version }) => {
      const [, major = '0', minor = '0'] = /^v?([0-9]+)\.([0-9]+)/.exec(version) ?? [];
      return Number(major) > 1 || Number(minor) >= minorMin ? passed(version) : { verdict: 'failed', message: `it is ${version}` };
    },
  },
  {
    code: 'clock-skew',
    category: 'Kubernetes',
    title: 'the clock of this machine is that of the API server',
    hint: 'set the clock of this machine, by NTP',
    why: 'Tokens and certificates have times. Where the clocks of gateways or of the control plane are like that of this machine, they take good ones for expired, or not yet valid.',
    look: ({ clocks }) =>
      given(clocks, ({ here, server }) => {
        const skewMs = here - server;
        return Math.abs(skewMs) <= skewMsMax ? passed() : { verdict: 'failed', message: `it is ${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs > 0 ? 'ahead' : 'behind'}` };
      }),
  },
  {
    code: 'install-rights',
    category: 'Before an installation',
    title: 'you may create what an installation has',
    hint: 'have an administrator of the cluster install it',
    why: 'An installation that stops in the middle leaves its first half.',
    look: before(({ rights }) => given(rights, (all) => unless(denied(all), all.length, 'rights are missing'))),
  },
  {
    code: 'install-admitted',
    category: 'Before an installation',
    title: 'the API server takes what is in no namespace, as a dry run',
    hint: 'see what it says: an admission plugin or policy, or a right that may not be given on',
    why: 'Admission plugins, webhooks and policies of the cluster may refuse what roles allow. What is in a namespace can only be tried once that is there.',
    look: before(({ trials }) => given(trials, (all) => unless(all.flatMap(({ object, refusal }) => (refusal === null ? [] : [`${object}: ${refusal}`])), all.length, 'objects are refused'))),
  },
  {
    code: 'names-free',
    category: 'Before an installation',
    title: 'nobody else uses the names of an installation',
    hint: 'remove what has the name, or take it over by --force-conflicts. The older form of another controller: let only one of the two act on it',
    why: 'An object of the same name would be changed, and with it what somebody else has made of it: such as the definition of externalservice.example.com, which came with another controller.',
    look: before(({ foreign }) => given(foreign, (names) => unless(names, names.length, 'objects have a name that an installation uses', 'warned'))),
  },
  {
    code: 'native-sidecars',
    category: 'Before an installation',
    title: 'native sidecars are supported',
    hint: 'let the feature gate SidecarContainers be on, as it is by default; agents can also be written into pods by hand',
    why: 'An agent is an init container that goes on running: it is ready before the workload starts, and goes after it.',
    look: before(({ nativeSidecars }) => given(nativeSidecars, (isKept) => (isKept ? passed() : { verdict: 'failed', message: 'the API server drops restartPolicy of init containers' }))),
  },
  {
    code: 'definitions-installed',
    category: 'Definitions',
    title: 'the custom resource definitions are there and served',
    hint: 'install them: sallyport install',
    why: 'Without its definition a kind cannot be stored, and the control plane waits for it.',
    look: after(({ definitions }) =>
      given(definitions, (live) => {
        const missing = customResourceDefinitions.filter((wanted) => !isOlder(wanted) && !live.some((definition) => definition.metadata.name === wanted.metadata.name && isServed(definition)));
        return unless(missing.map(({ metadata }) => metadata.name), customResourceDefinitions.filter((wanted) => !isOlder(wanted)).length, 'are not');
      }),
    ),
  },
  {
    code: 'definitions-current',
    category: 'Definitions',
    title: 'the custom resource definitions are of this version',
    hint: 'bring it up to date: sallyport install; where the control plane is newer than this command, use its own',
    why: 'Fields that a definition does not know are dropped by the API server before anybody sees them.',
    look: after(({ definitions }) =>
      given(definitions, (live) => {
        const pairs = customResourceDefinitions.flatMap((wanted) => live.filter(({ metadata }) => metadata.name === wanted.metadata.name).map((definition) => ({ wanted, definition })));
        return unless(pairs.filter(({ wanted, definition }) => !isSameDefinition(wanted, definition)).map(({ wanted }) => wanted.metadata.name), pairs.length, 'say something else');
      }),
    ),
  },
  {
    code: 'control-plane-ready',
    category: 'Control plane',
    title: 'all replicas of the control plane are ready',
    hint: 'kubectl describe pods -n NAMESPACE -l sallyport.dev/component=control-plane; a new installation needs a CA: sallyport ca init',
    why: 'A replica is ready when it has a CA, a plan, and its watch of the API server. Without any, what gateways hold stays in force and nothing changes.',
    look: after(({ controlPlane, lease }) =>
      given(controlPlane, (found) => {
        if (found !== null) return isReady(found) ? passed(countOf(found)) : { verdict: 'failed', message: `${countOf(found)} are ready` };
        return lease.ok && lease.value !== null && lease.value.holder !== '' ? passed('none is in the cluster: it runs outside') : { verdict: 'failed', message: 'there is no StatefulSet "sallyport"' };
      }),
    ),
  },
  {
    code: 'lease-held',
    category: 'Control plane',
    title: 'a replica leads, and has said so recently',
    hint: 'see the logs of the replicas: who leads writes statuses, addresses and the trust bundle',
    why: 'Only the leader writes: without one no address is given, no status is true, and nothing is registered.',
    look: after(({ lease }, { clocks }) =>
      given(lease, (found) => {
        if (found === null || found.holder === '') return { verdict: 'failed', message: 'nobody leads' };
        return given(clocks, ({ server }) => {
          const ageMs = server - (found.writtenAt ?? found.renewedAt);
          return ageMs <= found.durationMs + leaseGraceMs ? passed(found.holder) : { verdict: 'failed', message: `${found.holder} said so ${Math.round(ageMs / 1000)} s ago, and is to every ${Math.round(found.durationMs / 1000)} s` };
        });
      }),
    ),
  },
  {
    code: 'leader-clock',
    category: 'Control plane',
    title: 'the clock of the leading replica is that of the API server',
    hint: 'set the clock of its node, by NTP',
    why: 'It issues certificates, and counts quarantines: both are times.',
    look: after(({ lease }) =>
      given(lease, (found) => {
        if (found === null || found.holder === '' || found.writtenAt === null) return skipped('nobody leads');
        const skewMs = found.renewedAt - found.writtenAt;
        return Math.abs(skewMs) <= skewMsMax ? passed() : { verdict: 'failed', message: `it is ${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs > 0 ? 'ahead' : 'behind'}` };
      }),
    ),
  },
  {
    code: 'control-rights',
    category: 'Control plane',
    title: 'the control plane has the rights of docs/reference/permissions.md',
    hint: 'have the roles applied again: sallyport install',
    why: 'What a role lacks fails when it is needed, which may be much later.',
    look: after(({ rights }) => given(rights, (all) => unless(denied(all), all.length, 'are missing'))),
  },
  {
    code: 'ca-present',
    category: 'Trust',
    title: 'there is a CA',
    hint: 'sallyport ca init, or bring your own: sallyport ca csr, sallyport ca import',
    why: 'Without one nobody is given a certificate, and no replica is ready. Its Secret is looked at without its content.',
    look: after(({ hasCa, controlPlane }) =>
      given(hasCa, (has) => {
        if (has === true) return passed();
        if (has === null && controlPlane.ok && controlPlane.value === null) return skipped('there is no Secret "sallyport-ca": the control plane runs outside of the cluster');
        return { verdict: 'failed', message: has === null ? 'there is no Secret "sallyport-ca"' : 'Secret "sallyport-ca" is empty' };
      }),
    ),
  },
  {
    code: 'trust-bundle-valid',
    category: 'Trust',
    title: 'the certificates of the trust bundle are valid for another 30 days',
    hint: 'see the CA: sallyport ca show; then the next: sallyport ca csr, sallyport ca import, sallyport ca rotate',
    why: 'After that nobody is let in by certificates under it.',
    look: after((facts, { namespace, clocks }) => withBundle(facts, namespace, (pem) => given(clocks, ({ server }) => expiryOf(pem, server)))),
  },
  {
    code: 'trust-bundle-everywhere',
    category: 'Trust',
    title: 'every namespace has the same trust bundle',
    hint: 'one that somebody else has made is left alone: remove it. Otherwise see the logs of the leader',
    why: 'Pods know the control plane by it: in a namespace without it no agent starts.',
    look: after((facts, { namespace }) =>
      withBundle(facts, namespace, (pem) => given(facts.namespaces, (all) => given(facts.trustBundles, (bundles) => {
        const living = all.filter(({ deletionTimestamp }) => deletionTimestamp === undefined);
        const wrong = living.flatMap(({ name }) => {
          const bundle = bundles.get(name);
          if (bundle === undefined) return [`${name}: it has none`];
          if (bundle.metadata.labels?.['app.kubernetes.io/managed-by'] !== managedBy) return [`${name}: a ConfigMap of that name is somebody else's`];
          return bundle.data?.[trustBundleConfigMap.key] === pem ? [] : [`${name}: it is another`];
        });
        return unless(wrong, living.length, 'namespaces have not');
      }))),
    ),
  },
  {
    code: 'webhook-ca',
    category: 'Trust',
    title: 'the API server knows the webhooks by the trust bundle',
    hint: 'the leader writes it within moments: see its logs',
    why: 'Otherwise pods that ask for an agent are refused, and faults are told in statuses only.',
    look: after((facts, { namespace }) =>
      given(facts.webhooks, (all) => {
        if (all.length === 0) return skipped('no webhooks are installed');
        return withBundle(facts, namespace, (pem) => unless(all.filter(({ caBundles }) => caBundles.some((bundle) => bundle !== pem)).map(({ name }) => name), all.length, 'have another CA, or none'));
      }),
    ),
  },
  {
    code: 'gateway-pods-ready',
    category: 'Gateways',
    title: 'all gateways that run in the cluster are ready',
    hint: 'kubectl describe pods -n sallyport-gateways; the node needs the label sallyport.dev/gateway=NAME, and the gateway an EgressGateway object of its name',
    why: 'Nothing leaves by a gateway that does not run.',
    look: after(({ gatewayPods }) => given(gatewayPods, (all) => unless(all.filter((each) => !isReady(each)).map((each) => `${each.metadata.name}: ${countOf(each)}`), all.length, 'are not'))),
  },
  {
    code: 'gateways-connected',
    category: 'Gateways',
    title: 'every EgressGateway is connected',
    hint: 'see the log of the gateway, and whether it reaches the port 15012 of the control plane; of a BIG-IP, what sallyport status says',
    why: 'A gateway that is not connected enforces what it held last, until its certificate ends. A BIG-IP without bigip.management is not asked for: somebody else tells it what to do.',
    look: after((facts) =>
      ofKind(facts, 'EgressGateway', (gateways) => {
        const expected = gateways.filter((gateway) => !isOnlyRenderedFor(gateway));
        return unless(expected.filter(({ status }) => (status?.connected ?? 0) === 0).map(nameOf), expected.length, 'are not');
      }),
    ),
  },
  {
    code: 'gateways-one-revision',
    category: 'Gateways',
    title: 'all connected gateways enforce one revision of the plan',
    hint: 'one that stays behind has refused it: sallyport proxy-status says why',
    why: 'Where gateways differ, who may do what depends on the way.',
    look: after((facts) =>
      ofKind(facts, 'EgressGateway', (gateways) => {
        const connected = gateways.filter(({ status }) => (status?.connected ?? 0) > 0);
        const revisions = Map.groupBy(connected, ({ status }) => status?.revision ?? '');
        if (revisions.size <= 1) return passed([...revisions.keys()][0]?.slice(0, 12));
        return { verdict: 'failed', message: `${revisions.size} revisions among ${connected.length} gateways`, named: connected.map((gateway) => `${nameOf(gateway)}: ${gateway.status?.revision?.slice(0, 12) ?? 'none'}`) };
      }),
    ),
  },
  {
    code: 'objects-accepted',
    category: 'Objects',
    title: 'every object is in force',
    hint: 'mend what each one says; docs/reference/faults.md explains the codes, and more is said by: sallyport analyze',
    why: 'An object that is not in force is as if it were not there, or as it was before.',
    look: after(({ objects }) => given(objects, (all) => {
      const told = all.filter(hasStatus);
      return unless(told.flatMap((object) => whyNot(object, 'Accepted')), told.length, 'are not');
    })),
  },
  {
    code: 'objects-programmed',
    category: 'Objects',
    title: 'what is in force is enforced by all gateways that it concerns',
    hint: 'see whether the gateways are connected: sallyport proxy-status',
    why: 'Until then some gateways still do what was said before.',
    look: after(({ objects }) => given(objects, (all) => {
      const concerned = all.filter((object) => isTrue(object, 'Accepted') && !['', 'NoGateway'].includes(conditionOf(object, 'Programmed')?.reason ?? ''));
      return unless(concerned.flatMap((object) => whyNot(object, 'Programmed')), concerned.length, 'are not');
    })),
  },
  {
    code: 'objects-without-warnings',
    category: 'Objects',
    title: 'no object has a warning',
    hint: 'docs/reference/faults.md explains the codes, and more is said by: sallyport analyze',
    why: 'What a warning is about is in force, and does not do what its author may expect.',
    look: after(({ objects }) => given(objects, (all) => {
      const accepted = all.filter((object) => isTrue(object, 'Accepted'));
      return unless(accepted.flatMap((object) => [...told(object, 'Warned', 'True'), ...told(object, 'ResolvedRefs', 'False')]), accepted.length, 'have one', 'warned');
    })),
  },
  {
    code: 'assignments-with-pool',
    category: 'Objects',
    title: 'every assigned address is of a pool that is there',
    hint: 'apply the SnatPool again, or remove the binding: the assignment goes after its quarantine',
    why: 'An address without a pool is still promised to its holder, and can be given to nobody else.',
    look: after((facts) => ofKind(facts, 'SnatPool', (pools) => given(facts.assignments, (all) => {
      const names = new Set(pools.map(({ metadata }) => metadata.name));
      return unless(all.filter(({ pool }) => !names.has(pool)).map(({ name, pool, holder }) => `SnatAssignment ${name} of ${holder}: there is no SnatPool "${pool}"`), all.length, 'are not', 'warned');
    }))),
  },
];

export interface CheckResult extends Outcome, Pick<Check, 'code' | 'category' | 'title'> {
  /** Where it did not pass. */
  readonly hint?: string;
  /** Where it did not pass: in the repository. */
  readonly reference?: string;
}

/** Every check that is about this, in the order of the catalogue. */
export function runChecks(facts: Facts): readonly CheckResult[] {
  return checks.flatMap(({ code, category, title, hint, look }): readonly CheckResult[] => {
    const outcome = look(facts);
    if (outcome === null) return [];
    const isWell = outcome.verdict === 'passed' || outcome.verdict === 'skipped';
    return [{ code, category, title, ...outcome, ...(isWell ? {} : { hint: hint.replace('NAMESPACE', facts.namespace), reference: `docs/reference/checks.md#${code}` }) }];
  });
}

const denied = (rights: readonly { readonly text: string; readonly isAllowed: boolean }[]): readonly string[] => rights.filter(({ isAllowed }) => !isAllowed).map(({ text }) => text);
const isOlder = ({ spec }: Pick<LiveDefinition, 'spec'>): boolean => olderApiVersion.startsWith(`${spec.group}/`);
const isServed = ({ status }: LiveDefinition): boolean => status?.conditions?.some(({ type, status: is }) => type === 'Established' && is === 'True') === true;

/** What the API server adds to a definition is not looked at. */
function isSameDefinition({ spec: wanted }: LiveDefinition, { spec: live }: LiveDefinition): boolean {
  const [one, other] = [wanted.versions[0], live.versions[0]];
  return wanted.scope === live.scope && isDeepStrictEqual(plain(one.schema), plain(other.schema)) && isDeepStrictEqual(plain(one.additionalPrinterColumns), plain(other.additionalPrinterColumns));
}

/** As it goes over the wire. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown;

function isReady({ metadata, spec: { replicas = 1 }, status = {} }: StatefulSet): boolean {
  return status.observedGeneration === metadata.generation && (status.updatedReplicas ?? 0) === replicas && (status.readyReplicas ?? 0) === replicas;
}

const countOf = ({ spec: { replicas = 1 }, status = {} }: StatefulSet): string => `${status.readyReplicas ?? 0}/${replicas}`;

/** The one that the control plane's own namespace has. */
function withBundle({ trustBundles }: FactsAfter, namespace: string, look: (pem: string) => Outcome): Outcome {
  return given(trustBundles, (bundles) => {
    const pem = bundles.get(namespace)?.data?.[trustBundleConfigMap.key];
    return pem === undefined ? { verdict: 'failed', message: `namespace "${namespace}" has no ConfigMap "${trustBundleConfigMap.name}"` } : look(pem);
  });
}

function expiryOf(pem: string, now: number): Outcome {
  const certificates = (pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []).map((each) => new X509Certificate(each));
  const soon = certificates.filter(({ validTo }) => Date.parse(validTo) - now < expirySoonMs);
  if (certificates.length === 0) return { verdict: 'failed', message: 'it has none' };
  // While a CA is rotated out, the bundle has it until its last certificate has ended.
  return unless(soon.map(({ subject, validTo }) => `${subject.replaceAll('\n', ', ')}: until ${new Date(validTo).toISOString()}`), certificates.length, 'are not', soon.length < certificates.length ? 'warned' : 'failed');
}

function ofKind({ objects }: FactsAfter, kind: string, look: (objects: readonly CustomObject[]) => Outcome): Outcome {
  return given(objects, (all) => look(all.filter((object) => object.kind === kind)));
}
