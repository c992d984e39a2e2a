import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { Option, type Command } from 'commander';
import { adminPaths, type CertificateRequest, type CertificateResult, type RevocationResult } from '../../api/admin.ts';
import { createCsr } from '../../core/x509/csr.ts';
import { parseDuration } from '../../core/duration.ts';
import { SallyportError } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';
import { certificatesOfPem, toPem } from '../../core/x509/pem.ts';
import { parseMeshCertificate } from '../../core/x509/x509-svid.ts';
import { readBytes, readPassphrase, writeFile, type CliContext } from '../context.ts';
import { adminClientOf, withServerOptions } from '../target.ts';

interface IssueOptions {
  readonly purpose: 'server' | 'admin';
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  readonly lifetime?: string;
  readonly out: string;
  readonly pkcs12?: true;
  readonly passphraseFile?: string;
}

export function addCert(program: Command, context: CliContext): void {
  const cert = program.command('cert').summary('certificates for servers and administrators');
  withServerOptions(cert.command('issue'))
    .summary('make a key here and have it certified')
    .description('Makes a P-256 key in this process, has it certified, and writes PREFIX.key.pem (0600), PREFIX.pem (chain) and PREFIX.bundle.pem; with --pkcs12 PREFIX.p12 instead of the key and chain.')
    .argument('<spiffe-id>', 'the identity that secure naming expects, or the administrator\'s')
    .addOption(new Option('--purpose <purpose>', 'server: for a BIG-IP or other service; admin: for this CLI over mTLS').choices(['server', 'admin']).default('server'))
    .option('--dns <name...>', 'further DNS names of the server')
    .option('--ip <address...>', 'further addresses of the server')
    .option('--lifetime <span>', 'for example 30d')
    .option('--out <prefix>', 'where to write', 'certificate')
    .option('--pkcs12', 'write PKCS#12')
    .option('--passphrase-file <file>', 'passphrase of the PKCS#12')
    .addHelpText('after', '\nEXAMPLES\n  sallyport cert issue spiffe://cluster.local/ns/bookinfo/sa/default --dns bigip.example --pkcs12 --passphrase-file pass --out bigip')
    .action(async (spiffeId: string, options: IssueOptions, command: Command) => {
      const lifetimeMs = options.lifetime === undefined ? undefined : parseDuration(options.lifetime);
      if (options.lifetime !== undefined && lifetimeMs === undefined) throw new SallyportError('usage', `${JSON.stringify(options.lifetime)} is not a time span`, { hint: 'write it like 30d' });
      if (options.pkcs12 === true && options.passphraseFile === undefined) throw new SallyportError('usage', 'PKCS#12 needs --passphrase-file');
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const request: CertificateRequest = {
        spiffeId,
        purpose: options.purpose,
        csrPem: toPem('CERTIFICATE REQUEST', createCsr(privateKey)),
        ...(options.dns === undefined ? {} : { dnsNames: options.dns }),
        ...(options.ip === undefined ? {} : { ipAddresses: options.ip }),
        ...(lifetimeMs === undefined ? {} : { lifetimeMs }),
      };
      const result = await (await adminClientOf(context, command)).post<CertificateResult>(adminPaths.certificates, request);
      const files: (readonly [string, string | Buffer])[] = [[`${options.out}.bundle.pem`, result.trustBundlePem]];
      if (options.pkcs12 === true) {
        const { exportPkcs12 } = await import('../../ca/index.ts');
        const passphrase = readPassphrase(options.passphraseFile!);
        files.push([`${options.out}.p12`, await exportPkcs12({ privateKey, chainDer: certificatesOfPem(result.certificateChainPem), passphrase, friendlyName: spiffeId })]);
      } else {
        files.push([`${options.out}.key.pem`, privateKey.export({ type: 'pkcs8', format: 'pem' })], [`${options.out}.pem`, result.certificateChainPem]);
      }
      for (const [path, content] of files) {
        writeFile(path, content);
        context.out(path);
      }
      context.say(`${result.spiffeId}, serial ${result.serialNumber}, until ${result.notAfter}`);
    });
  cert
    .command('inspect')
    .summary('say what a certificate proves')
    .argument('<file>', 'PEM or DER')
    .addHelpText('after', '\nEXIT CODES\n  0 an X509-SVID or a proxy certificate   1 neither, with the reason')
    .action((file: string) => {
      const certificates = readCertificates(file);
      certificates.forEach((certificate, index) => {
        const parsed = parseMeshCertificate(certificate.raw);
        if (index === 0 && !parsed.ok) context.setExitStatus(1);
        context.out(
          [
            `certificate ${index + 1} of ${certificates.length}`,
            `  ${parsed.ok ? `${parsed.purpose === 'svid' ? 'X509-SVID' : 'proxy certificate'} of ${parsed.svid.spiffeId}` : certificate.ca ? 'CA certificate' : `not an X509-SVID: ${parsed.detail}`}`,
            `  subject      ${printable(oneLine(certificate.subject) || '(empty)')}`,
            `  issuer       ${printable(oneLine(certificate.issuer))}`,
            `  serial       ${certificate.serialNumber.toLowerCase()}`,
            `  valid        ${new Date(certificate.validFrom).toISOString()} to ${new Date(certificate.validTo).toISOString()}`,
            `  key          ${certificate.publicKey.asymmetricKeyType ?? 'unknown'} ${certificate.publicKey.asymmetricKeyDetails?.namedCurve ?? certificate.publicKey.asymmetricKeyDetails?.modulusLength ?? ''}`,
            `  fingerprint  ${certificate.fingerprint256.replaceAll(':', '').toLowerCase()}`,
          ].join('\n'),
        );
      });
    });
  withServerOptions(cert.command('revoke'))
    .summary('refuse certificates before they expire; their connections end')
    .description('The join token that bought one buys no other, nor does the token of a pod that held one: make a new join token, or delete the pod, and the one in its place is let in.')
    .argument('<serial-or-spiffe-id>', 'a serial number in hexadecimal, or a SPIFFE ID for all that it holds')
    .addHelpText('after', '\nEXAMPLES\n  sallyport cert revoke spiffe://cluster.local/ns/bookinfo/sa/productpage\n  sallyport cert revoke 6d8d9e1fbe080659c283b55154ca772bfc29ec9d\n\nEXIT CODES\n  0 revoked   3 no such certificate that is still valid')
    .action(async (which: string, _options: unknown, command: Command) => {
      const request = which.startsWith('spiffe://') ? { spiffeId: which } : { serialNumber: which.toLowerCase() };
      const { serialNumbers } = await (await adminClientOf(context, command)).post<RevocationResult>(adminPaths.revocations, request);
      for (const serialNumber of serialNumbers) context.out(serialNumber);
    });
}

/** Node gives a name a line an attribute, and nothing for a name without any. */
function oneLine(name: string | undefined): string {
  return (name ?? '').replaceAll('\n', ', ');
}

/** PEM or DER. */
function readCertificates(file: string): readonly X509Certificate[] {
  const bytes = readBytes(file);
  const fromPem = certificatesOfPem(bytes.toString('latin1'));
  try {
    return (fromPem.length === 0 ? [bytes] : fromPem).map((der) => new X509Certificate(der));
  } catch (cause) {
    throw new SallyportError('certificate-invalid', `${JSON.stringify(file)} does not hold a certificate`, { place: file, cause, hint: 'give it as PEM (BEGIN CERTIFICATE) or DER' });
  }
}
