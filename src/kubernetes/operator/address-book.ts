/** Who is behind which address, from entries and pods, published as it changes: at most so often, and only where a gateway wants to know. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { DesiredState } from '../../core/desired-state.ts';
import { describeRef } from '../../core/desired-state.ts';
import type { PlanFault } from '../../core/plan-fault.ts';
import { workloadAddressesInSteps, type WorkloadAddresses } from '../../core/plan/workload-addresses.ts';
import type { Steps } from '../../core/steps.ts';
import { addressedPods, type PodObject } from '../desired/addressed-pods.ts';

export interface AddressBook {
  /** Of whoever claims what another claims too. */
  readonly faults: readonly PlanFault[];
  /** That pods have come, gone or changed their addresses. */
  podsChanged(): void;
  /** Looks whether entries have changed, or whether addresses are wanted now. */
  look(): void;
  close(): Promise<void>;
}

export interface AddressBookOptions {
  readonly pods: () => Iterable<PodObject>;
  readonly entries: () => DesiredState['WorkloadEntry'];
  readonly isWanted: () => boolean;
  readonly runSteps: <Result>(steps: Steps<Result>) => Promise<Result>;
  readonly publish: (addresses: WorkloadAddresses['addresses']) => Promise<void>;
  /** Called when `faults` are others. */
  readonly onFaults: () => void;
  readonly log: Logger;
}

/** What comes meanwhile is taken together. A gateway has a second to cut who has lost his address. */
const pauseMs = 100;
/** Conflicts that are logged at a time. */
const loggedMax = 10;

export function createAddressBook({ pods, entries, isWanted, runSteps, publish, onFaults, log }: AddressBookOptions): AddressBook {
  let faults: readonly PlanFault[] = [];
  let isDue = false;
  let closed = false;
  /** What the last addresses were made of; undefined where none are in force. */
  let from: DesiredState['WorkloadEntry'] | undefined;
  let working: Promise<void> | undefined;

  async function work(): Promise<void> {
    while (isDue && isWanted() && !closed) {
      isDue = false;
      from = entries();
      const found = await runSteps(workloadAddressesInSteps(from, addressedPods(pods())));
      await publish(found.addresses);
      tell(found.faults);
      await delay(pauseMs);
    }
  }

  function tell(found: readonly PlanFault[]): void {
    const textOf = (those: readonly PlanFault[]): string => those.map(({ object, message }) => `${describeRef(object)} ${message}`).join('\n');
    if (textOf(found) === textOf(faults)) return;
    faults = found;
    for (const { object, message } of found.slice(0, loggedMax)) log.warn({ object: describeRef(object) }, message);
    onFaults();
  }

  function start(): void {
    working ??= work()
      .catch((error: unknown) => log.error({ err: error }, 'who is behind which address could not be told to gateways'))
      .finally(() => {
        working = undefined;
        if (isDue && isWanted() && !closed) start(); // came between its last look and its end
      });
  }

  return {
    get faults() {
      return faults;
    },
    podsChanged() {
      isDue = true;
      if (isWanted()) start();
    },
    look() {
      if (!isWanted()) {
        from = undefined;
        faults = [];
        return;
      }
      if (from !== entries()) isDue = true;
      if (isDue) start();
    },
    async close() {
      closed = true;
      await working;
    },
  };
}
