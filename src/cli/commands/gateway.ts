import type { Command } from 'commander';
import { SallyportError } from '../../core/errors.ts';
import { defaultStateDirectory, type CliContext } from '../context.ts';
import { createLog } from '../log.ts';
import { parseAddressAndPort } from '../endpoint.ts';
import { addProxyOptions, identityOptionsOf, type ProxyOptions } from '../proxy-options.ts';
import { untilAborted } from './serve.ts';
import { version } from './version.ts';

interface GatewayCommandOptions extends ProxyOptions {
  readonly name: string;
  readonly workers?: string;
}

export function addGateway(program: Command, context: CliContext): void {
  addProxyOptions(program.command('gateway'), 'gateway')
    .summary('run an embedded gateway')
    .description('Ends mTLS from workloads, decides, and connects onward from the address of the identity. Its EgressGateway object says where it listens; its host must own the SNAT addresses.')
    .requiredOption('--name <name>', 'the EgressGateway that it is')
    .option('--workers <count>', 'threads that carry connections (default: one a core)')
    .addHelpText('after', '\nEXAMPLES\n  sallyport gateway --name egress-1 --trust-bundle bundle.pem --join-token-file token\n  sallyport gateway --name egress-1 --control sallyport.sallyport-system:15012\n\nEXIT CODES\n  0 stopped by a signal   2 bad options')
    .action(async (options: GatewayCommandOptions) => {
      const interrupted = context.interruption();
      const workers = options.workers === undefined ? undefined : Number(options.workers);
      if (workers !== undefined && !(Number.isInteger(workers) && workers >= 1 && workers <= 256)) throw new SallyportError('usage', `${JSON.stringify(options.workers)} is not a number of threads`, { place: '--workers', hint: 'from 1 to 256' });
      const { runGateway } = await import('../../gateway/index.ts');
      const gateway = await runGateway({
        ...(await identityOptionsOf(options, options.state ?? defaultStateDirectory(context.env, 'gateway'))),
        name: options.name,
        controlAddress: options.control,
        ...(workers === undefined ? {} : { workers }),
        ...(options.probeListen === undefined ? {} : { health: parseAddressAndPort(options.probeListen, '--probe-listen') }),
        version,
        log: await createLog('gateway', options.logLevel),
      });
      await untilAborted(interrupted);
      await gateway.stop();
    });
}
