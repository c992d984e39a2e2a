import type { GatewayClass } from '../../src/core/objects/index.ts';

/** The classes that are played, the reference first. */
export const playedClasses = ['sallyport', 'envoy', 'bigip'] as const satisfies readonly GatewayClass[];
export type PlayedClass = (typeof playedClasses)[number];
