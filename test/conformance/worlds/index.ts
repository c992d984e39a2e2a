/** The conformance table, in the order in which a reader meets it. */
import type { World } from '../world.ts';
import { bindingWorlds } from './bindings.ts';
import { certificateWorlds } from './certificates.ts';
import { exampleWorlds } from './examples.ts';
import { policyWorlds } from './policies.ts';
import { protocolWorlds } from './protocols.ts';
import { serviceWorlds } from './services.ts';
import { sessionWorlds } from './sessions.ts';

export const worlds: readonly World[] = [...policyWorlds, ...bindingWorlds, ...serviceWorlds, ...certificateWorlds, ...protocolWorlds, ...sessionWorlds, ...exampleWorlds];
