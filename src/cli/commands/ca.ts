import type { Command } from 'commander';
import { adminPaths, type CaImportRequest, type CaStatus } from '../../api/admin.ts';
import { SallyportError } from '../../core/errors.ts';
import { readBytes, readFile, readPassphrase, writeFile, type CliContext } from '../context.ts';
import { formatTable, outputOption, print, type OutputFormat } from '../output.ts';
import { adminClientOf, withServerOptions } from '../target.ts';

export function addCa(program: Command, context: CliContext): void {
  const ca = program.command('ca').summary('the certificate authority: the organisation\'s intermediate, and its rotation');
  withServerOptions(ca.command('init'))
    .summary('make a demo root and intermediate; the root\'s key is thrown away')
    .action(async (_options: unknown, command: Command) => show(context, await (await adminClientOf(context, command)).post<CaStatus>(adminPaths.caInit, {})));
  withServerOptions(ca.command('csr'))
    .summary('make a key and a request for the organisation\'s root to sign')
    .option('--subject <name>', 'common name of the intermediate', 'Sallyport intermediate CA')
    .option('--out <file>', 'write the request here instead of to stdout')
    .addHelpText('after', '\nThe key stays in the control plane. Import the answer with: sallyport ca import --chain ANSWER.pem')
    .action(async (options: { subject: string; out?: string }, command: Command) => {
      const { csrPem } = await (await adminClientOf(context, command)).post<{ csrPem: string }>(adminPaths.caCsr, { subject: options.subject });
      if (options.out === undefined) context.out(csrPem.trimEnd());
      else writeFile(options.out, csrPem);
    });
  withServerOptions(ca.command('import'))
    .summary('take an intermediate: with its key, or the answer to "ca csr"')
    .option('--chain <file>', 'certificates, PEM, intermediate first')
    .option('--private-key <file>', 'its key, PEM; not for the answer to "ca csr"')
    .option('--pkcs12 <file>', 'key and chain as PKCS#12')
    .option('--passphrase-file <file>', 'passphrase of the key or PKCS#12')
    .addHelpText('after', '\nThe first import becomes active at once; a later one is prepared: published in the trust bundle, signing nothing until "ca rotate".\n\nEXAMPLES\n  sallyport ca import --chain intermediate-and-root.pem --private-key intermediate.key.pem\n  sallyport ca csr --out request.pem\n  sallyport ca import --chain answer.pem\n\nEXIT CODES\n  0 imported   2 the chain has faults, all of them told   5 one is prepared already')
    .action(async (options: { chain?: string; privateKey?: string; pkcs12?: string; passphraseFile?: string }, command: Command) => {
      if ((options.chain === undefined) === (options.pkcs12 === undefined)) throw new SallyportError('usage', 'give either --chain or --pkcs12');
      const request: CaImportRequest = {
        ...(options.chain === undefined ? {} : { certificatesPem: readFile(options.chain) }),
        ...(options.privateKey === undefined ? {} : { privateKeyPem: readFile(options.privateKey) }),
        ...(options.pkcs12 === undefined ? {} : { pkcs12: readBytes(options.pkcs12).toString('base64') }),
        ...(options.passphraseFile === undefined ? {} : { passphrase: readPassphrase(options.passphraseFile) }),
      };
      show(context, await (await adminClientOf(context, command)).post<CaStatus>(adminPaths.caImport, request));
    });
  withServerOptions(ca.command('rotate'))
    .summary('let the prepared intermediate sign; the old one stays trusted until its last certificate is out')
    .option('--retire', 'drop the old one instead, once nothing it signed is valid')
    .action(async (options: { retire?: true }, command: Command) =>
      show(context, await (await adminClientOf(context, command)).post<CaStatus>(options.retire === true ? adminPaths.caRetire : adminPaths.caActivate, {})),
    );
  withServerOptions(ca.command('discard'))
    .summary('take back the prepared intermediate, which has signed nothing')
    .addHelpText('after', '\nIt leaves the trust bundle, and its key is deleted.\n\nEXIT CODES\n  0 taken back   5 none is prepared')
    .action(async (_options: unknown, command: Command) => show(context, await (await adminClientOf(context, command)).post<CaStatus>(adminPaths.caDiscard, {})));
  withServerOptions(ca.command('export'))
    .summary('print the trust bundle, PEM')
    .action(async (_options: unknown, command: Command) => context.out((await (await adminClientOf(context, command)).text(adminPaths.bundle)).trimEnd()));
  withServerOptions(ca.command('show'))
    .summary('the intermediates: prepared, active, old')
    .addOption(outputOption())
    .action(async (options: { output?: OutputFormat }, command: Command) => show(context, await (await adminClientOf(context, command)).get<CaStatus>(adminPaths.ca), options.output));
}

function show(context: CliContext, status: CaStatus, format?: OutputFormat): void {
  print(context, format, status, () => formatTable(['SLOT', 'SUBJECT', 'UNTIL', 'KEY', 'FINGERPRINT'], status.slots.map((slot) => [slot.slot, slot.subject, slot.notAfter, slot.keyStorage, slot.fingerprint])));
}
