/** The driver under a gateway that runs: one thing at a time, what is in force, what is not and why, and drift. */
import { renderKernelGateway, type KernelRendering } from '../backends/kernel/index.ts';
import { SallyportError, type Fault } from '../core/errors.ts';
import type { Revision } from '../core/plan/plan.ts';
import type { GrantCounter, KernelDriver } from './driver.ts';
import type { KernelTable } from './kernel-table.ts';

export interface EnforcementStatus {
  /** Of the table in force; null for none of this process's. */
  readonly revision: Revision | null;
  /** Why the table that came last is not in force. */
  readonly fault: string | null;
  /** What somebody has changed since, a sentence each. */
  readonly drift: readonly string[];
  /** What of the plan is refused since a kernel cannot do it, and what is served and proves less than elsewhere. */
  readonly conditions: readonly Fault[];
  readonly workloadAddresses: number;
}

export interface Enforcement {
  readonly status: () => EnforcementStatus;
  /** Resolves once the table is in force. Rejects where it is not, and then what was before is. */
  enforce(table: KernelTable): Promise<void>;
  /** Looks whether somebody has changed what is in force, and puts it back where settings say so. Tells what was found. */
  checkDrift(): Promise<readonly string[]>;
  readonly counters: () => Promise<readonly GrantCounter[]>;
  /** Does something while nobody changes what is in force. */
  readonly undisturbed: <Result>(work: () => Promise<Result>) => Promise<Result>;
  /** Resolves when nothing is under way. What is in force stays. */
  settled(): Promise<void>;
}

export interface Enforced {
  readonly table: KernelTable;
  readonly rendering: KernelRendering;
}

/** @param onChange told what is about to be in force, since connections are let out and cut before that has been read back; and what is again, where it is not taken. Waited for */
export function createEnforcement(driver: Pick<KernelDriver, 'apply' | 'drift' | 'repair' | 'counters'>, onChange: (change: Enforced) => Promise<void>): Enforcement {
  let inForce: Enforced | undefined;
  let fault: string | null = null;
  let drift: readonly string[] = [];
  let last: Promise<unknown> = Promise.resolve();

  /** The driver does one thing at a time. */
  function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  }

  async function put(table: KernelTable): Promise<void> {
    try {
      const rendering = renderKernelGateway({ revision: table.revision, trustDomain: table.settings.trustDomain, servicePorts: table.servicePorts }, table.settings, table.addresses);
      await onChange({ table, rendering });
      await driver.apply(rendering);
      inForce = { table, rendering };
      fault = null;
      drift = [];
    } catch (error) {
      if (inForce !== undefined) await onChange(inForce);
      fault = error instanceof SallyportError ? error.message : String(error);
      throw error;
    }
  }

  async function look(): Promise<readonly string[]> {
    const found = await driver.drift();
    const isRepaired = found.length > 0 && inForce?.table.settings.kernel?.drift === 'Repair';
    drift = found;
    if (isRepaired) {
      await driver.repair();
      drift = [];
    }
    return found;
  }

  return {
    status: () => ({
      revision: inForce?.table.revision ?? null,
      fault,
      drift,
      conditions: inForce === undefined ? [] : conditionsOf(inForce.rendering),
      workloadAddresses: inForce?.table.addresses.size ?? 0,
    }),
    enforce: (table) => inTurn(() => put(table)),
    checkDrift: () => inTurn(look),
    counters: () => inTurn(() => driver.counters()),
    undisturbed: inTurn,
    settled: () => inTurn(() => Promise.resolve()),
  };
}

/** Of the gateway as a whole. */
function conditionsOf({ conditions, caveats }: KernelRendering): readonly Fault[] {
  return [
    ...conditions.map(({ code, object, message, hint }) => ({ code, message: `it refuses ${object}: ${message}`, hint })),
    ...caveats.map(({ code, object, message, hint }) => ({ code, message: object === null ? message : `${object}: ${message}`, hint })),
  ];
}
