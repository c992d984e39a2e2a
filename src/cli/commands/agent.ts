import type { Command } from 'commander';
import { SallyportError } from '../../core/errors.ts';
import { parseAddress } from '../../core/ip-address.ts';
import { defaultStateDirectory, type CliContext } from '../context.ts';
import { createLog } from '../log.ts';
import { parseAddressAndPort } from '../endpoint.ts';
import { addProxyOptions, identityOptionsOf, type ProxyOptions } from '../proxy-options.ts';
import { untilAborted } from './serve.ts';
import { version } from './version.ts';

interface AgentCommandOptions extends ProxyOptions {
  readonly listenAddress?: string;
  readonly writeSvid?: string;
}

export function addAgent(program: Command, context: CliContext): void {
  addProxyOptions(program.command('agent'), 'agent')
    .summary('run beside a workload')
    .description("Holds the workload's identity and offers it, on loopback, the services that policy lets it reach. Who it is, the join token says, or the token of its pod.")
    .option('--listen-address <address>', 'offer services on this loopback address instead of the one that the plan names; for several agents on one host')
    .option('--write-svid <directory>', 'write SVID, key and bundle here for programs that want them, 0600')
    .addHelpText('after', '\nEXAMPLES\n  sallyport agent --trust-bundle bundle.pem --join-token-file token\n  sallyport agent --control sallyport.sallyport-system:15012\n\nEXIT CODES\n  0 stopped by a signal   2 bad options')
    .action(async (options: AgentCommandOptions) => {
      const interrupted = context.interruption();
      const listenAddress = options.listenAddress === undefined ? undefined : parseAddress(options.listenAddress);
      if (options.listenAddress !== undefined && listenAddress === undefined) throw new SallyportError('usage', `${JSON.stringify(options.listenAddress)} is not an address`, { place: '--listen-address' });
      const { runAgent } = await import('../../agent/index.ts');
      const agent = await runAgent({
        ...(await identityOptionsOf(options, options.state ?? defaultStateDirectory(context.env, 'agent'))),
        controlAddress: options.control,
        ...(options.writeSvid === undefined ? {} : { svidDirectory: options.writeSvid }),
        ...(options.probeListen === undefined ? {} : { health: parseAddressAndPort(options.probeListen, '--probe-listen') }),
        ...(listenAddress === undefined ? {} : { listenAddress }),
        version,
        log: await createLog('agent', options.logLevel),
      });
      await untilAborted(interrupted);
      await agent.stop();
    });
}
