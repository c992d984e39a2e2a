/** What gateways say of themselves that is in no acknowledgement, and what is so of every gateway of a class: conditions for whoever runs them. */
import { readCondition, type GatewayState } from '../api/gateway-state.ts';
import { grpcServiceDefinition, unaryHandler } from '../api/grpc-service.ts';
import { forgottenAfterMs } from '../api/repeated-report.ts';
import { SallyportError, type Fault } from '../core/errors.ts';
import { inOneSentence } from '../core/fault-text.ts';
import { unprovenBy } from '../core/plan/gateway-class.ts';
import type { PlannedGateway } from '../core/plan/plan.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { GatewayService } from '../proto/sallyport/v1alpha1/gateway_pb.ts';
import type { MeshPeer, MeshService } from './mesh-listener.ts';

export interface GatewayStates {
  /** Where gateways say it. */
  readonly service: MeshService;
  /** Of a gateway, as those of its processes have said it that are connected here. */
  readonly conditionsOf: (gateway: Pick<PlannedGateway, 'name' | 'class'>) => readonly Fault[];
  /** The same of these gateways, for people. */
  inWords(gateways: readonly PlannedGateway[]): readonly string[];
  /** By what they call themselves as nodes. */
  byNode(): ReadonlyMap<string, GatewayState>;
}

export interface GatewayStatesOptions {
  readonly authenticate: (call: Parameters<Parameters<typeof unaryHandler<typeof GatewayService.method.report.input, typeof GatewayService.method.report.output>>[1]>[1]) => MeshPeer;
  /** The name of the gateway with this identity; undefined for who is none. */
  readonly gatewayOf: (identity: SpiffeId) => string | undefined;
  /** What a process may call itself. */
  readonly mayBeCalled: (identity: SpiffeId) => (claimed: string) => boolean;
  readonly now: () => number;
}

/** More are a mistake: a pair has two. */
const processesMax = 16;
const conditionsMax = 32;
const charactersMax = 2_048;

export function createGatewayStates({ authenticate, gatewayOf, mayBeCalled, now }: GatewayStatesOptions): GatewayStates {
  const said = new Map<string, { readonly gateway: string; readonly state: GatewayState; readonly atMs: number }>();
  const current = () => {
    for (const [process, { atMs }] of said) if (now() - atMs > forgottenAfterMs) said.delete(process);
    return [...said.values()];
  };

  function conditionsOf({ name, class: gatewayClass }: Pick<PlannedGateway, 'name' | 'class'>): readonly Fault[] {
    const own = current().filter(({ gateway }) => gateway === name);
    // Whether or not it runs, and whatever it says.
    const unproven = gatewayClass === 'kernel' ? [unprovenBy.kernel] : [];
    return distinct([...own.flatMap(({ state }) => state.conditions), ...unproven]);
  }

  return {
    service: {
      definition: grpcServiceDefinition(GatewayService),
      handlers: {
        report: unaryHandler(GatewayService.method.report, async ({ process, node, inForce, conditions }, call) => {
          const { spiffeId } = authenticate(call);
          const gateway = gatewayOf(spiffeId);
          if (gateway === undefined) throw new SallyportError('attestation-failed', `${spiffeId} is not the identity of a gateway`, { hint: 'apply its EgressGateway' });
          if (!/^[A-Za-z0-9-]{1,64}$/.test(process) || !mayBeCalled(spiffeId)(node)) throw new SallyportError('request-invalid', `${spiffeId} calls itself what it may not`);
          const key = `${gateway} ${process}`;
          if (!said.has(key) && current().filter((other) => other.gateway === gateway).length >= processesMax) throw new SallyportError('rate-limited', `gateway ${gateway} has more than ${processesMax} processes`);
          said.set(key, { gateway, state: { node, inForce, conditions: conditions.slice(0, conditionsMax).map(readCondition).map(bounded) }, atMs: now() });
          return await Promise.resolve({});
        }),
      },
    },
    conditionsOf,
    inWords: (gateways) => gateways.flatMap((gateway) => conditionsOf(gateway).map((condition) => `gateway ${gateway.name}: ${inOneSentence(condition)}`)),
    byNode: () => new Map(current().map(({ state }) => [state.node, state])),
  };
}

/** Of a code that can stand in a status, and of texts that have room there. */
function bounded({ code, message, hint }: Fault): Fault {
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(code)) throw new SallyportError('request-invalid', `${JSON.stringify(code.slice(0, 64))} is not a code`);
  return { code, message: message.slice(0, charactersMax), ...(hint === undefined ? {} : { hint: hint.slice(0, charactersMax) }) };
}

/** Each once, where it comes last: what all say is so of the plan, and less grave than what one alone says. */
export function distinct(conditions: readonly Fault[]): readonly Fault[] {
  const found = new Map(conditions.toReversed().map((condition) => [inOneSentence(condition), condition]));
  return [...found.values()].reverse();
}
