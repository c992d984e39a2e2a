import type { GatewayClass } from '../../src/core/objects/index.ts';

/** The classes that are played, the reference first. */
export const playedClasses = ['sallyport', 'envoy', 'bigip', 'kernel'] as const satisfies readonly GatewayClass[];
export type PlayedClass = (typeof playedClasses)[number];

/** Those of which the ledger hears at once what a connection came to: a kernel tells of it when it forgets the connection, minutes later. */
export const promptClasses: readonly PlayedClass[] = playedClasses.filter((each) => each !== 'kernel');
