/** How a gateway says how it is, beyond what it acknowledges: both ends of the call. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Fault } from '../core/errors.ts';
import { GatewayService, type GatewayCondition, type GatewayConditionSchema } from '../proto/sallyport/v1alpha1/gateway_pb.ts';
import { startRepeatedReport, type RepeatedReportOptions } from './repeated-report.ts';

/** How one process of a gateway is. */
export interface GatewayState {
  /** What it calls itself as a node of xDS. */
  readonly node: string;
  /** Whether what it was told last is in force, and nobody else has changed it. */
  readonly inForce: boolean;
  /** What whoever runs it should know, the gravest first. */
  readonly conditions: readonly Fault[];
}

export interface StateReportOptions extends Omit<RepeatedReportOptions<typeof GatewayService.method.report.input, typeof GatewayService.method.report.output>, 'method' | 'report'> {
  /** Names one life of the process. */
  readonly process: string;
  readonly state: () => GatewayState;
}

/** Tells the control plane for as long as the process runs. */
export function startStateReport({ process, state, ...options }: StateReportOptions): { close(): void } {
  return startRepeatedReport({
    ...options,
    method: GatewayService.method.report,
    report() {
      const { node, inForce, conditions } = state();
      return { process, node, inForce, conditions: conditions.map(conditionMessage) };
    },
  });
}

export const conditionMessage = ({ code, message, hint = '' }: Fault): MessageInitShape<typeof GatewayConditionSchema> => ({ code, message, hint });

/** The inverse of `conditionMessage`. */
export const readCondition = ({ code, message, hint }: GatewayCondition): Fault => ({ code, message, ...(hint === '' ? {} : { hint }) });
