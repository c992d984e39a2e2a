import { Option, type Command } from 'commander';
import { adminPaths, type TokenRequest, type TokenResult } from '../../api/admin.ts';
import { parseDuration } from '../../core/duration.ts';
import { SallyportError } from '../../core/errors.ts';
import type { CliContext } from '../context.ts';
import { outputOption, print, type OutputFormat } from '../output.ts';
import { adminClientOf, withServerOptions } from '../target.ts';

export function addToken(program: Command, context: CliContext): void {
  const token = program.command('token').summary('join tokens for agents and gateways');
  withServerOptions(token.command('create'))
    .summary('make a token that enrols one identity once')
    .argument('<spiffe-id>', 'the identity that the token proves')
    .addOption(new Option('--for <purpose>', 'svid: for an agent or an embedded gateway; proxy: for an Envoy, which gets its configuration with it').choices(['svid', 'proxy']).default('svid'))
    .option('--lifetime <span>', 'of the proxy certificate that it buys, 397d at most (default: 30d)')
    .option('--ttl <span>', 'how long it may be used', '10m')
    .addOption(outputOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport token create spiffe://cluster.local/ns/bookinfo/sa/productpage > token\n  sallyport agent --join-token-file token ...\n  sallyport token create --for proxy spiffe://cluster.local/ns/sallyport-system/sa/egress-1 > token\n  sallyport bootstrap envoy --gateway egress-1 --join-token-file token ...')
    .action(async (spiffeId: string, options: { for: 'svid' | 'proxy'; lifetime?: string; ttl: string; output?: OutputFormat }, command: Command) => {
      const request: TokenRequest = {
        spiffeId,
        purpose: options.for,
        ttlMs: spanOf(options.ttl),
        ...(options.lifetime === undefined ? {} : { lifetimeMs: spanOf(options.lifetime) }),
      };
      const result = await (await adminClientOf(context, command)).post<TokenResult>(adminPaths.tokens, request);
      print(context, options.output, result, () => result.token);
      if (options.output === undefined) context.say(`for ${result.spiffeId}, once, until ${result.expiresAt}`);
    });
}

function spanOf(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined) throw new SallyportError('usage', `${JSON.stringify(text)} is not a time span`, { hint: 'write it like 10m or 30d' });
  return milliseconds;
}
