/** The BIG-IPs of a plan, each with a driver of its own. */
import { issuedIdentity, renderAs3 } from '../../backends/bigip/index.ts';
import { inOneSentence } from '../../core/fault-text.ts';
import { formatEndpoint } from '../../core/ip-address.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { Plan, PlannedGateway } from '../../core/plan/plan.ts';
import type { RevokedCertificate } from '../../core/revoked-certificate.ts';
import { createBox } from './box.ts';
import { readCredentials } from './credentials.ts';
import { defaultTimings, startBigIpDriver, type BigIpDriver, type BigIpDriverOptions, type BigIpStatus, type Timings, type Wanted } from './driver.ts';
import { createManagementClient } from './management-client.ts';
import type { KeyPair, ServerCertificate } from './server-certificates.ts';

export interface BigIpDriversOptions extends Pick<BigIpDriverOptions, 'mayWrite' | 'now' | 'random' | 'log'> {
  /** A folder for each name; undefined: none, and no gateway is driven. */
  readonly credentialsDirectory: string | undefined;
  readonly serverCertificate: ServerCertificate;
  readonly timings?: Partial<Timings>;
}

export interface Published {
  readonly plan: Plan;
  readonly trustBundlePem: string;
  readonly revoked: readonly RevokedCertificate[];
}

export interface BigIpDrivers {
  /** What they are to do from now on; who shows a certificate that was revoked, gets another. A gateway that is not in the plan any more loses its partition. */
  publish(published: Published): void;
  /** What somebody should look after, a sentence each. */
  conditions(): readonly string[];
  /** By gateway. */
  statuses(): ReadonlyMap<string, BigIpStatus>;
  close(): Promise<void>;
}

/** A gateway, and what of it may change without another driver. */
interface Subject extends Published {
  readonly gateway: PlannedGateway;
}

interface Driven {
  readonly driver: BigIpDriver;
  readonly conditions: () => readonly Condition[];
  subject: Subject;
  /** It is to have nothing any more, and is let go of once it has nothing. */
  isRetired: boolean;
}

const answerWithinMs = 30_000;
const declaredWithinMs = 15 * 60_000;

export function startBigIpDrivers({ credentialsDirectory, serverCertificate, timings: given, ...shared }: BigIpDriversOptions): BigIpDrivers {
  const timings = { ...defaultTimings, ...given };
  /** By what makes a driver another one: where its boxes are, and what of them is its. */
  const driven = new Map<string, Driven>();
  const ending = new Set<Promise<void>>();
  let undriven: readonly string[] = [];

  function start(key: string, directory: string, subject: Subject): Driven {
    const { name, bigip } = subject.gateway;
    const { management, credentials, partition } = bigip!;
    let rendered: { readonly by: readonly unknown[]; readonly wanted: Wanted; readonly conditions: readonly Condition[] } | undefined;

    /** The same object as before where nothing has changed that it depends on. */
    function want(keyPair: KeyPair): Wanted {
      const { gateway, plan, trustBundlePem, revoked } = entry.subject;
      const by = [entry.isRetired, plan, trustBundlePem, keyPair.certificateChainPem, keyPair.privateKeyPem, revoked.map(({ serialNumber }) => serialNumber).join()];
      if (rendered?.by.every((value, index) => value === by[index]) !== true) {
        const { declaration, conditions } = entry.isRetired ? { declaration: removalOf(partition), conditions: [] } : renderAs3(plan, gateway, { identity: issuedIdentity({ ...keyPair, trustBundlePem }), revoked });
        rendered = { by, wanted: { declaration, revision: plan.revision }, conditions };
      }
      return rendered.wanted;
    }

    const boxes = management.map(({ host, port }) => {
      const client = createManagementClient({ host, port, answerWithinMs, credentials: () => readCredentials(directory, credentials!), now: shared.now });
      return createBox({ place: formatEndpoint({ address: host, port }), client, partition, pollEveryMs: timings.pollEveryMs, declaredWithinMs });
    });
    const entry: Driven = {
      subject,
      isRetired: false,
      conditions: () => rendered?.conditions ?? [],
      driver: startBigIpDriver({
        ...shared,
        gateway: name,
        partition,
        boxes,
        timings,
        want,
        keyPair: (found) => serverCertificate(entry.subject.gateway, found),
        repairsDrift: () => entry.subject.gateway.bigip!.drift === 'Repair',
        onHeld: () => {
          if (entry.isRetired) end(key, entry);
        },
      }),
    };
    return entry;
  }

  function end(key: string, entry: Driven): void {
    if (driven.get(key) === entry) driven.delete(key);
    const ended = entry.driver.close();
    ending.add(ended);
    void ended.finally(() => ending.delete(ended));
  }

  return {
    publish(published) {
      const gateways = published.plan.gateways.filter(({ bigip }) => bigip !== null && bigip.management.length > 0);
      undriven = credentialsDirectory === undefined ? gateways.map(({ name }) => name) : [];
      const subjects = new Map((credentialsDirectory === undefined ? [] : gateways).map((gateway) => [keyOf(gateway), { ...published, gateway }]));
      const partitions = new Set(Array.from(subjects.values(), ({ gateway }) => partitionOf(gateway)));
      for (const [key, entry] of driven) {
        if (subjects.has(key)) continue;
        // Where only the way to it has changed, it is the other driver's.
        if (partitions.has(partitionOf(entry.subject.gateway))) end(key, entry);
        else entry.isRetired = true;
        entry.driver.wake();
      }
      for (const [key, subject] of subjects) {
        const known = driven.get(key);
        if (known === undefined) driven.set(key, start(key, credentialsDirectory!, subject));
        else {
          Object.assign(known, { subject, isRetired: false });
          known.driver.wake();
        }
      }
    },
    conditions: () => [
      ...undriven.map((name) => `gateway ${name} is driven by nobody: its "management" needs sallyport serve --credentials`),
      ...[...driven.values()].flatMap(({ driver: { status }, subject: { gateway }, conditions, isRetired }) => [
        ...(status.trouble === null ? [] : [`gateway ${gateway.name} ${isRetired ? 'is not to have anything any more' : 'is not as it is to be, and keeps what it has'}: ${status.trouble.reason}`]),
        ...status.findings.map((finding) => `gateway ${gateway.name}: ${finding}`),
        ...conditions().map((condition) => `gateway ${gateway.name} refuses ${condition.object}: ${inOneSentence(condition)}`),
      ]),
    ],
    statuses: () => new Map([...driven.values()].filter(({ isRetired }) => !isRetired).map(({ subject: { gateway }, driver }) => [gateway.name, driver.status])),
    async close() {
      for (const [key, entry] of driven) end(key, entry);
      await Promise.all(ending);
    },
  };
}

function keyOf({ name, identity, bigip }: PlannedGateway): string {
  const { management, credentials, partition } = bigip!;
  return JSON.stringify([name, identity, management, credentials, partition]);
}

const partitionOf = ({ name, bigip }: PlannedGateway): string => `${name} ${bigip!.partition}`;

/** AS3 takes a tenant without applications for the order to remove it: what its DELETE makes of itself (`assignBodyDefaults`, `src/lib/declareHandler.js` of AS3). */
const removalOf = (partition: string) => ({ class: 'ADC', schemaVersion: '3.49.0', updateMode: 'selective', [partition]: { class: 'Tenant' } });
