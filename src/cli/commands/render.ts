import type { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addRenderBigip } from './render-bigip.ts';
import { addRenderEnvoy } from './render-envoy.ts';
import { addRenderFirewall } from './render-firewall.ts';
import { addRenderKernel } from './render-kernel.ts';

export function addRender(program: Command, context: CliContext): void {
  const render = program.command('render').summary('what the plan means to a data plane, or to a firewall');
  for (const add of [addRenderFirewall, addRenderEnvoy, addRenderBigip, addRenderKernel]) add(render, context);
}
