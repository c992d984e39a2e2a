/** What a gateway says of itself, as those who ask the control plane hear it. */
import assert from 'node:assert/strict';
import { adminPaths, type StatusResult } from '../../src/api/admin.ts';
import { startStateReport, type GatewayState } from '../../src/api/gateway-state.ts';
import { meshChannelCredentials, meshChannelOptions } from '../../src/api/mesh-credentials.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { startTestControl, type Svid, type TestControl } from '../support/control.ts';

const edge = 'spiffe://cluster.local/ns/sallyport-system/sa/edge';
const manifest = 'apiVersion: sallyport.dev/v1alpha1\nkind: EgressGateway\nmetadata: {name: edge}\nspec: {class: kernel, kernel: {interface: eth1}}\n';
const changed: GatewayState = { node: `${edge}~left`, inForce: false, conditions: [{ code: 'ruleset-changed', message: 'somebody has changed it', hint: 'undo it' }] };
const byAddress = /^gateway edge: a workload is known by its address alone/;

describe('what gateways say of themselves', function () {
  this.timeout(30_000);
  let nowMs = Date.now();
  let control: TestControl;
  before(async () => {
    control = await startTestControl({ now: () => nowMs });
    await control.admin.post(adminPaths.caInit, {});
    await control.apply(manifest);
  });
  after(() => control.close());

  const conditions = async (): Promise<readonly string[]> => (await control.admin.get<StatusResult>(adminPaths.status)).conditions;
  const isSaid = (condition: string) => waitFor(`"${condition}"`, 5_000, async () => ((await conditions()).includes(condition) ? true : undefined));
  /** Reports for as long as the test lasts; gives what came of each call. */
  async function report(svid: Svid, state: () => GatewayState, process = 'one'): Promise<{ readonly refusals: string[]; readonly close: () => void }> {
    const mesh = await control.mesh();
    const refusals: string[] = [];
    const endpoint = () => ({ address: mesh.address, credentials: meshChannelCredentials([mesh.identity], mesh.trustBundlePem, svid), options: meshChannelOptions });
    const reporter = startStateReport({ process, state, listener: () => ({ address: mesh.address, shown: svid, endpoint }), onFailure: (error) => void refusals.push((error as Error).message), now: Date.now });
    return { refusals, close: () => reporter.close() };
  }
  const refusalOf = async (spiffeId: string, state: GatewayState): Promise<string> => {
    const { refusals, close } = await report(await control.svid(spiffeId), () => state);
    return await waitFor('a refusal', 5_000, () => refusals[0]).finally(close);
  };

  it('are beside what is so of every gateway of the class, from before it runs', async () => {
    assert.ok((await conditions()).some((condition) => byAddress.test(condition)), String(await conditions()));
  });

  it('are heard at once, follow each change, and are forgotten of whoever has fallen silent', async () => {
    let state = changed;
    const reporter = await report(await control.svid(edge), () => state);
    await isSaid('gateway edge: somebody has changed it (undo it)');
    assert.match((await conditions()).at(-1)!, byAddress); // the gravest first
    state = { ...changed, conditions: [{ code: 'ruleset-refused', message: 'it is refused' }] };
    await isSaid('gateway edge: it is refused');
    reporter.close();
    nowMs += 8_000;
    assert.deepEqual((await conditions()).filter((condition) => !byAddress.test(condition)), []);
  });

  it('are those of both routers of a pair', async () => {
    const own = (host: string): GatewayState => ({ node: `${edge}~${host}`, inForce: host === 'right', conditions: [{ code: 'ruleset-changed', message: `at ${host}` }] });
    const svid = await control.svid(edge);
    const reporters = await Promise.all(['left', 'right'].map((host) => report(svid, () => own(host), host)));
    for (const host of ['left', 'right']) await isSaid(`gateway edge: at ${host}`);
    for (const { close } of reporters) close();
    nowMs += 8_000;
  });

  it('are not taken of who is no gateway, or of one under the name of another, nor a code that no status could hold', async () => {
    assert.match(await refusalOf('spiffe://cluster.local/ns/bookinfo/sa/productpage', changed), /not the identity of a gateway/);
    assert.match(await refusalOf(edge, { ...changed, node: 'spiffe://cluster.local/ns/sallyport-system/sa/other' }), /calls itself what it may not/);
    assert.match(await refusalOf(edge, { ...changed, conditions: [{ code: 'Not a code', message: '' }] }), /"Not a code" is not a code/);
  });
});
