import assert from 'node:assert/strict';
import { SallyportError } from '../../src/core/errors.ts';
import { createKernelDriver, type RunProgram } from '../../src/kernel/index.ts';

const version = 'nftables v0.9.0 (Fearless Fosdick)';

/** A host that takes everything but rulesets with `lacking`, and has no program of the names in `without`. */
const hostThat = ({ lacking, without = [] }: { lacking?: string; without?: readonly string[] }): RunProgram => (program, args, input = '') => {
  if (without.includes(program)) return Promise.reject(new Error(`spawn ${program} ENOENT`));
  const refused = args.includes('--check') && lacking !== undefined && input.includes(lacking);
  return Promise.resolve({ status: refused ? 1 : 0, stdout: args.includes('--version') ? `${version}\n` : '', stderr: refused ? 'syntax error' : '' });
};
const check = (run: RunProgram) => createKernelDriver({ run, holdsAddresses: true }).check();

describe('a host that is to be a gateway of class kernel', () => {
  it('is told which programs it lacks, and the packages that have them', async () => {
    await assert.rejects(check(hostThat({ without: ['nft', 'conntrack'] })), (error) => error instanceof SallyportError && error.code === 'kernel-unable' && error.message === 'this host has no nft, conntrack' && error.hint === 'apt-get install nftables conntrack');
  });

  it('is told what its nftables or kernel cannot do, and what that needs', async () => {
    await assert.rejects(check(hostThat({ lacking: 'ct count' })), (error) => error instanceof SallyportError && error.code === 'kernel-unable' && error.message === `this host, with ${version}, lacks limits of connections (needs Linux 4.18 with nft_connlimit)`);
    await assert.rejects(check(hostThat({ lacking: 'type "ftp"' })), /the helper for FTP \(needs the modules nf_conntrack_ftp and nf_nat_ftp\)/);
  });

  it('is taken where it can do all', async () => {
    await check(hostThat({}));
  });
});
