import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { renderEnvoyBootstrap, renderEnvoySecretFiles, type EnvoyBootstrapOptions, type SecretFiles } from '../../../src/backends/envoy/index.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { replaceFileSet } from '../../../src/identity/file-set.ts';
import { startEnvoy } from '../../support/envoy.ts';
import { settings } from '../../support/gateway.ts';
import { requirePeer } from '../../support/peers.ts';
import { makePki, type Issued } from '../../support/pki.ts';
import { controlIdentity, startControlPlane } from './control-plane.ts';

describe("a stock Envoy's bootstrap", function () {
  this.timeout(40_000);
  let program: string;
  let directory: string;
  const pki = makePki();

  before(function () {
    program = requirePeer(this, 'envoy');
  });
  beforeEach(async () => {
    directory = await realpath(await mkdtemp(join(tmpdir(), 'sallyport-bootstrap-')));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const bootstrap = (identity: SecretFiles, more: Partial<EnvoyBootstrapOptions> = {}) =>
    renderEnvoyBootstrap({ nodeId: 'gate', controlPlane: { host: '127.0.0.1', port: 1 }, controlIdentity, identity, admin: { address: '127.0.0.1', port: 15_000 }, ...more });

  const identityFiles = () => ({ certificateChain: join(directory, 'identity/svid.pem'), privateKey: join(directory, 'identity/key.pem'), trustBundle: join(directory, 'identity/bundle.pem') });

  async function writeIdentity({ certificateChainPem, privateKeyPem, trustBundlePem }: Issued): Promise<void> {
    await replaceFileSet(join(directory, 'identity'), { 'svid.pem': certificateChainPem, 'key.pem': privateKeyPem, 'bundle.pem': trustBundlePem });
  }

  async function writeSecretFiles(): Promise<SecretFiles> {
    const files = { svid: join(directory, 'svid.json'), trustBundle: join(directory, 'bundle.json') };
    const contents = renderEnvoySecretFiles(identityFiles());
    await Promise.all([writeFile(files.svid, JSON.stringify(contents.svid)), writeFile(files.trustBundle, JSON.stringify(contents.trustBundle))]);
    return files;
  }

  async function validate(value: unknown): Promise<void> {
    const file = join(directory, 'envoy.json');
    await writeFile(file, JSON.stringify(value));
    await promisify(execFile)(program, ['--mode', 'validate', '--use-dynamic-base-id', '-c', file]);
  }

  it('is one that Envoy takes, by address or by name', async () => {
    await writeIdentity(pki.issue(settings.identity));
    const files = await writeSecretFiles();
    await validate(bootstrap(files));
    await validate(bootstrap(files, { controlPlane: { host: 'control.example', port: 15_010 }, admin: { socketPath: join(directory, 'admin.sock') } }));
    await assert.rejects(validate({ ...(bootstrap(files) as object), nonsense: 1 }), /nonsense/);
  });

  it('has Envoy take a renewed identity, and a trust bundle that has grown, out of its files', async () => {
    const [before, renewed, nextRoot] = [pki.issue(settings.identity), pki.issue(settings.identity), makePki().rootPem];
    await writeIdentity(before);
    const files = await writeSecretFiles();
    const control = await startControlPlane(pki);
    control.publish(before, []);
    const envoy = await startEnvoy(program, (socketPath) => bootstrap(files, { nodeId: before.spiffeId, controlPlane: { host: '127.0.0.1', port: control.port }, admin: { socketPath } }));
    const shows = (serialNumber: string) => waitFor(`certificate ${serialNumber}`, 10_000, async () => ((await envoy.admin('/certs')).includes(serialNumber) ? true : undefined));
    try {
      await shows(before.serialNumber);
      await writeIdentity({ ...renewed, trustBundlePem: renewed.trustBundlePem + nextRoot });
      await shows(renewed.serialNumber);
      await shows(new X509Certificate(nextRoot).serialNumber.toLowerCase());
    } finally {
      await envoy.stop();
      control.stop();
    }
  });
});
