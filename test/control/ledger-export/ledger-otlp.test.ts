import assert from 'node:assert/strict';
import { adminPaths, type StatusResult } from '../../../src/api/admin.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { startAnsweringCollector, type AnsweringCollector } from '../../support/otlp.ts';
import { startTestControl, type TestControl } from '../../support/control.ts';

const limitMs = 8_000;

describe('a control plane whose ledger is sent on', () => {
  let collector: AnsweringCollector;
  let server: TestControl;
  let later = 0;
  let taking = false;
  before(async () => {
    collector = await startAnsweringCollector(() => (taking ? undefined : { status: 503 }));
    server = await startTestControl({ ledgerOtlp: { url: collector.url, replica: 'sallyport-7' }, now: () => Date.now() + later });
    await server.admin.post(adminPaths.caInit, {});
  });
  after(async () => {
    await server.close();
    await collector.close();
  });

  const metric = async (name: string): Promise<number> => Number(new RegExp(`^sallyport_control_ledger_export_${name} (\\S+)$`, 'm').exec(await server.admin.text(adminPaths.metrics))?.[1]);
  const status = async (): Promise<StatusResult> => await server.admin.get<StatusResult>(adminPaths.status);

  it('counts what waits, and says so once it has waited for long', async () => {
    await waitFor('a standstill', limitMs, async () => (((await metric('standstill_seconds')) > 0) || undefined));
    const { ledger, conditions } = await status();
    assert.equal(await metric('waiting_records'), ledger.lastSequence);
    assert.deepEqual(ledger.sentOn, { to: collector.url.href, lastSequence: 0 });
    assert.deepEqual(conditions, []);
    later = 40_000;
    assert.match((await status()).conditions.join(), /^the ledger of sallyport-7 is not sent on since \S+, \d+ records wait: answer 503$/);
    assert.ok((await metric('standstill_seconds')) >= 40);
  });

  it('says nothing more of it once all is there', async () => {
    taking = true;
    await waitFor('all', limitMs, async () => ((await metric('waiting_records')) === 0 || undefined));
    const { ledger, conditions } = await status();
    assert.equal(ledger.sentOn?.lastSequence, ledger.lastSequence);
    assert.deepEqual(conditions, []);
    assert.deepEqual([await metric('standstill_seconds'), await metric('refused_records_total'), await metric('deleted_records_total')], [0, 0, 0]);
    assert.equal(collector.taken.at(-1)?.resource['service.instance.id'], 'sallyport-7');
  });
});
