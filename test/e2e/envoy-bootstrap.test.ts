/** From a control plane to a configured Envoy, with nothing between them but what `sallyport bootstrap envoy` makes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonValue } from '@bufbuild/protobuf';
import type { StatusResult } from '../../src/api/admin.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { prepareTestDeployment, type TestDeployment } from '../support/deployment.ts';
import { startEnvoy } from '../support/envoy.ts';
import { requirePeer } from '../support/peers.ts';

const identity = 'spiffe://cluster.local/ns/sallyport-system/sa/egress-2';

describe('a stock Envoy that was bootstrapped', () => {
  let program: string;
  let deployment: TestDeployment;
  before(async function () {
    program = requirePeer(this, 'envoy');
    const [port] = await findFreePorts(1);
    deployment = await prepareTestDeployment({
      manifests: `apiVersion: sallyport.dev/v1alpha1\nkind: EgressGateway\nmetadata: {name: egress-2}\nspec: {class: envoy, listen: [{address: 127.0.0.1, port: ${port}}]}`,
    });
  });
  after(() => deployment.close());

  const directory = () => join(deployment.directory, 'egress-2.identity');
  const bootstrap = (format: 'json' | 'yaml') => deployment.cli(['bootstrap', 'envoy', '--gateway', 'egress-2', '--control', deployment.controlEndpoint, '--identity-dir', directory(), '-o', format]);
  const serialNumber = async () => new X509Certificate(await readFile(join(directory(), 'svid.pem'))).serialNumber.toLowerCase();

  async function proxy() {
    const { proxies } = JSON.parse((await deployment.cli(['status', '-o', 'json'])).stdout) as StatusResult;
    return proxies.find(({ node }) => node === identity);
  }

  it('accepts what was printed, connects as who it is, and is sent what it asks for', async () => {
    const file = join(deployment.directory, 'envoy.yaml');
    await writeFile(file, (await bootstrap('yaml')).stdout);
    const validated = spawnSync(program, ['--mode', 'validate', '-c', file], { encoding: 'utf8', timeout: 20_000 });
    assert.equal(validated.status, 0, validated.stderr);

    const document = JSON.parse((await bootstrap('json')).stdout) as Record<string, JsonValue>;
    const envoy = await startEnvoy(program, (path) => ({ ...document, admin: { address: { pipe: { path, mode: 0o600 } } } }));
    try {
      const held = await waitFor('the stream', 10_000, async () => {
        const found = await proxy();
        return found !== undefined && found.types.length > 0 && found.types.every(({ state }) => state === 'SYNCED') ? found : undefined;
      });
      assert.equal(held.connected, true);

      // The stream of the certificate before ends with it; the one that follows is by the certificate that Envoy has found since.
      const before = await serialNumber();
      await bootstrap('yaml');
      const after = await serialNumber();
      assert.notEqual(after, before);
      const isAdopted = async () => ((await envoy.admin('/certs')).includes(after) ? true : undefined);
      await waitFor('the renewed certificate', 10_000, isAdopted);
      await deployment.cli(['cert', 'revoke', before]);
      await waitFor('the stream by the renewed certificate', 20_000, async () => {
        const found = await proxy();
        return found?.connected === true && found.connectedSince !== held.connectedSince ? true : undefined;
      });
    } finally {
      await envoy.stop();
    }
  }).timeout(90_000);
});
