/** An organisation's CA as openssl makes it: an intermediate for a control plane to import, and the root that it has to itself. */
import type { Workspace } from '../ca/openssl.ts';

export interface Intermediate {
  /** PEM files. The chain is the intermediate and its root. */
  readonly chainFile: string;
  readonly privateKeyFile: string;
  readonly rootPem: string;
  /** As Node writes it: `CN=NAME intermediate`. */
  readonly subject: string;
}

const rootLastsMs = 30 * 86_400_000;

/** Both are an hour old; the intermediate lasts for `lastsMs` from now. Needs the peer openssl. */
export function makeIntermediate({ path, write, read, openssl }: Workspace, name: string, lastsMs: number): Intermediate {
  const time = (ms: number) => `${new Date(ms).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`;
  const extensions = 'keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n';
  write(`${name}.index`, '');
  write(`${name}.cnf`, `[ca]\ndefault_ca=x\n[x]\ndatabase=${name}.index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n[root]\nbasicConstraints=critical,CA:TRUE\n${extensions}[intermediate]\nbasicConstraints=critical,CA:TRUE,pathlen:0\n${extensions}`);
  for (const [what, signer, endsMs] of [
    ['root', ['-selfsign', '-keyfile', `${name}-root.key`], Date.now() + rootLastsMs],
    ['intermediate', ['-cert', `${name}-root.pem`, '-keyfile', `${name}-root.key`], Date.now() + lastsMs],
  ] as const) {
    const file = `${name}-${what}`;
    openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${file}.key`, '-subj', `/CN=${name} ${what}`, '-out', `${file}.csr`);
    openssl('ca', '-batch', '-notext', '-config', `${name}.cnf`, '-extensions', what, ...signer, '-startdate', time(Date.now() - 3_600_000), '-enddate', time(endsMs), '-in', `${file}.csr`, '-out', `${file}.pem`);
  }
  const rootPem = read(`${name}-root.pem`);
  return { chainFile: write(`${name}.chain.pem`, read(`${name}-intermediate.pem`) + rootPem), privateKeyFile: path(`${name}-intermediate.key`), rootPem, subject: `CN=${name} intermediate` };
}
