import type { Command } from 'commander';
import { adminPaths, type TokenResult } from '../../api/admin.ts';
import { parseDuration } from '../../core/duration.ts';
import { SallyportError } from '../../core/errors.ts';
import { adminClientOf, withServerOptions, type CliContext } from '../context.ts';
import { outputOption, print, type OutputFormat } from '../output.ts';

export function addToken(program: Command, context: CliContext): void {
  const token = program.command('token').summary('join tokens for agents and gateways');
  withServerOptions(token.command('create'))
    .summary('make a token that enrols one identity once')
    .argument('<spiffe-id>', 'the identity that the token proves')
    .option('--ttl <span>', 'how long it may be used', '10m')
    .addOption(outputOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport token create spiffe://cluster.local/ns/bookinfo/sa/productpage > token\n  sallyport agent --join-token-file token ...')
    .action(async (spiffeId: string, options: { ttl: string; output?: OutputFormat }, command: Command) => {
      const ttlMs = parseDuration(options.ttl);
      if (ttlMs === undefined) throw new SallyportError('usage', `${JSON.stringify(options.ttl)} is not a time span`, { hint: 'write it like 10m' });
      const result = await adminClientOf(context, command.opts()).post<TokenResult>(adminPaths.tokens, { spiffeId, ttlMs });
      print(context, options.output, result, () => result.token);
      if (options.output === undefined) context.say(`for ${result.spiffeId}, once, until ${result.expiresAt}`);
    });
}
