import type { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addRenderBigip } from './render-bigip.ts';
import { addRenderEnvoy } from './render-envoy.ts';
import { addRenderFirewall } from './render-firewall.ts';

export function addRender(program: Command, context: CliContext): void {
  const render = program.command('render').summary('what the plan means to a data plane, or to a firewall');
  for (const add of [addRenderFirewall, addRenderEnvoy, addRenderBigip]) add(render, context);
}
