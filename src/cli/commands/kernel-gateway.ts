import type { Command } from 'commander';
import { defaultStateDirectory, type CliContext } from '../context.ts';
import { createLog } from '../log.ts';
import { parseAddressAndPort } from '../endpoint.ts';
import { addProxyOptions, identityOptionsOf, type ProxyOptions } from '../proxy-options.ts';
import { untilAborted } from './serve.ts';
import { version } from './version.ts';

interface KernelGatewayCommandOptions extends ProxyOptions {
  readonly name: string;
  readonly addresses: boolean;
  readonly healthCheck?: string;
  readonly cleanup?: true;
}

export function addKernelGateway(program: Command, context: CliContext): void {
  addProxyOptions(program.command('kernel-gateway'), 'kernel-gateway')
    .summary('enforce the plan in the kernel of a Linux router')
    .description('Puts the plan in force by nftables on this host, for workloads that reach it by address: its EgressGateway is of class kernel. Runs as root. When it ends, or is killed, what is in force stays.')
    .requiredOption('--name <name>', 'the EgressGateway that it is')
    .option('--no-addresses', 'SNAT addresses are put on the interface by somebody else, such as keepalived')
    .option('--health-check <program>', 'run after each change; where it does not exit with 0, what was before is put back')
    .option('--cleanup', 'remove table, addresses and connections from the host where no gateway runs any more, and end: from then on it forwards as it did before')
    .addHelpText(
      'after',
      '\nEXAMPLES\n  sallyport kernel-gateway --name edge --control 10.0.0.5:15012 --trust-bundle bundle.pem --join-token-file token\n  sallyport kernel-gateway --name edge --cleanup\n\nEXIT CODES\n  0 stopped by a signal, or cleaned up   2 bad options   6 this host cannot do it',
    )
    .action(async (options: KernelGatewayCommandOptions) => {
      const interrupted = context.interruption();
      const { createKernelDriver, runKernelGateway, runProgram } = await import('../../kernel/index.ts');
      const { healthCheck, name } = options;
      const driver = createKernelDriver({ run: runProgram, holdsAddresses: options.addresses, ...(healthCheck === undefined ? {} : { isHealthy: async () => (await runProgram(healthCheck, [])).status === 0 }) });
      if (options.cleanup === true) {
        await driver.remove();
        return;
      }
      const gateway = await runKernelGateway({
        ...(await identityOptionsOf(options, options.state ?? defaultStateDirectory(context.env, 'kernel-gateway'))),
        name,
        controlAddress: options.control,
        driver,
        run: runProgram,
        isAlone: options.addresses,
        ...(options.probeListen === undefined ? {} : { health: parseAddressAndPort(options.probeListen, '--probe-listen') }),
        version,
        log: await createLog('kernel-gateway', options.logLevel),
      });
      await untilAborted(interrupted);
      await gateway.stop();
    });
}
