import { Command } from 'commander';
import { isKubectlPlugin, type CliContext } from './context.ts';
import { addAgent } from './commands/agent.ts';
import { addAnalyze } from './commands/analyze.ts';
import { addApply } from './commands/apply.ts';
import { addBootstrap } from './commands/bootstrap.ts';
import { addCa } from './commands/ca.ts';
import { addCert } from './commands/cert.ts';
import { addCheck } from './commands/check.ts';
import { addCompletion } from './commands/completion.ts';
import { addDelete } from './commands/delete.ts';
import { addDescribe } from './commands/describe.ts';
import { addDialStdio } from './commands/dial-stdio.ts';
import { addDiff } from './commands/diff.ts';
import { addExplain } from './commands/explain.ts';
import { addGateway } from './commands/gateway.ts';
import { addGenerate } from './commands/generate.ts';
import { addGet } from './commands/get.ts';
import { addInstall } from './commands/install.ts';
import { addKernelGateway } from './commands/kernel-gateway.ts';
import { addLedger } from './commands/ledger.ts';
import { addDeregister, addRegister } from './commands/register.ts';
import { addServe } from './commands/serve.ts';
import { addProxyConfig } from './commands/proxy-config.ts';
import { addProxyStatus } from './commands/proxy-status.ts';
import { addRender } from './commands/render.ts';
import { addStatus } from './commands/status.ts';
import { addTransfers } from './commands/transfers.ts';
import { addSupportBundle } from './commands/support-bundle.ts';
import { addToken } from './commands/token.ts';
import { addUninstall } from './commands/uninstall.ts';
import { addValidate } from './commands/validate.ts';
import { addVersion, version } from './commands/version.ts';
import { addWhois } from './commands/whois.ts';

/** As help has them, alone or behind a pipe. */
const exampleLine = /^( {2}(?:.*\| )?)sallyport /gm;

/** The whole command tree. Commander throws instead of exiting, so that one place decides exit codes. */
export function createProgram(context: CliContext): Command {
  const isPlugin = isKubectlPlugin(context.env);
  const program = new Command(isPlugin ? 'kubectl sallyport' : 'sallyport')
    .description('The egress gate of a service mesh: who may leave, from which address, and who it was.')
    .version(version, '--version', 'print the version')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ writeOut: (text) => context.out((isPlugin ? text.replaceAll(exampleLine, '$1kubectl sallyport ') : text).trimEnd()), writeErr: (text) => context.say(text.trimEnd()) })
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .showSuggestionAfterError()
    .addHelpText('after', '\nOn Kubernetes run it as "kubectl sallyport", or with --kubeconfig or --context: objects are then those of the API server, by your own rights.\nWhere no control plane runs beside it and none is named, it asks the cluster of your kubeconfig, and says so.\n\nEXIT CODES\n  0 ok   1 negative answer or differences   2 usage or invalid input   3 not found\n  4 not authorised   5 conflict or exhausted   6 unavailable or timed out   70 bug');
  const groups: readonly [string, readonly ((program: Command, context: CliContext) => void)[]][] = [
    ['Run:', [addServe, addGateway, addKernelGateway, addAgent, addBootstrap]],
    ['Services and policy:', [addRegister, addDeregister, addApply, addGet, addDescribe, addDelete, addDiff, addValidate, addRender, addGenerate]],
    ['Answers:', [addExplain, addWhois, addLedger, addTransfers, addStatus, addProxyStatus, addProxyConfig, addAnalyze]],
    ['Identity:', [addToken, addCa, addCert]],
    ['Cluster:', [addInstall, addUninstall, addCheck, addSupportBundle]],
    ['Other:', [addDialStdio, addCompletion, addVersion]],
  ];
  for (const [heading, adders] of groups) {
    program.commandsGroup(heading);
    for (const add of adders) add(program, context);
  }
  return program;
}
