import type { GatewayClass } from '../../src/core/objects/index.ts';

/** The classes that are played, the reference first. */
export const playedClasses = ['sallyport', 'envoy', 'bigip', 'kernel'] as const satisfies readonly GatewayClass[];
export type PlayedClass = (typeof playedClasses)[number];

/** Those of whose connections the ledger knows. */
export const recordedClasses: readonly PlayedClass[] = playedClasses.filter((each) => each !== 'kernel');
