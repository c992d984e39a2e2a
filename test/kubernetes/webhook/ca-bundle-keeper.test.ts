import assert from 'node:assert/strict';
import pino from 'pino';
import { waitFor } from '../../../src/demo/processes.ts';
import { ApiRefusal, type ApiClient, type ApiRequest } from '../../../src/kubernetes/client.ts';
import { caBundlePatch, createCaBundleKeeper, type CaBundleKeeper, type WebhookConfiguration } from '../../../src/kubernetes/webhook/ca-bundle-keeper.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const configuration = (...bundles: readonly (string | undefined)[]): WebhookConfiguration => ({ metadata: { resourceVersion: '7' }, webhooks: bundles.map((bundle) => ({ clientConfig: bundle === undefined ? {} : { caBundle: base64(bundle) } })) });

describe('the CA bundle of a webhook configuration', () => {
  it('is written for each webhook that says another or none, of exactly this version', () => {
    assert.deepEqual(caBundlePatch(configuration('new', 'old', undefined), 'new'), [
      { op: 'test', path: '/metadata/resourceVersion', value: '7' },
      { op: 'add', path: '/webhooks/1/clientConfig/caBundle', value: base64('new') },
      { op: 'add', path: '/webhooks/2/clientConfig/caBundle', value: base64('new') },
    ]);
  });

  it('is left as it is where all say it', () => {
    assert.equal(caBundlePatch(configuration('new', 'new'), 'new'), null);
    assert.equal(caBundlePatch({ metadata: { resourceVersion: '7' } }, 'new'), null);
  });
});

function refuse(status: number): never {
  throw new ApiRefusal(status, '', `it says ${status}`);
}

describe('the keeper of CA bundles', () => {
  /** What was asked, as in `GET sallyport-inject`. */
  let asked: string[];
  let answers: (what: string) => WebhookConfiguration;
  let keeper: CaBundleKeeper;
  let complaints: string[];
  beforeEach(() => {
    asked = [];
    complaints = [];
    const client: Pick<ApiClient, 'request'> = {
      request: <Answer>({ method, path }: ApiRequest) => {
        const what = `${method} ${path.split('/').at(-1)!}`;
        asked.push(what);
        return Promise.resolve().then(() => answers(what) as Answer);
      },
    };
    keeper = createCaBundleKeeper({ client, random: () => 0, log: pino({ level: 'warn' }, { write: (line: string) => void complaints.push(line) }), lookEveryMs: 10 });
  });
  afterEach(() => keeper.close());

  const count = (what: string): number => asked.filter((each) => each === what).length;
  const looks = (times: number) => waitFor(`${times} looks`, 5_000, () => (count('GET sallyport-inject') >= times && count('GET sallyport-validate') >= times ? true : undefined));

  it('writes nothing while all is as it is to be', async () => {
    answers = () => configuration('new');
    keeper.publish('new');
    await looks(5);
    assert.deepEqual(asked.filter((what) => !what.startsWith('GET ')), []);
  });

  it('leaves alone what is not installed', async () => {
    answers = () => refuse(404);
    keeper.publish('new');
    await looks(5);
    assert.deepEqual([asked.filter((what) => !what.startsWith('GET ')), complaints], [[], []]);
  });

  it('asks for nothing before there is a trust bundle, nor after its end', async () => {
    answers = () => configuration('old');
    await keeper.close();
    keeper.publish('new');
    assert.deepEqual(asked, []);
  });

  it('tries again where somebody was faster, or the API server is away', async () => {
    const failures = [500, 422];
    let isWritten = false;
    answers = (what) => {
      if (!what.endsWith('sallyport-inject')) return configuration('new');
      if (what.startsWith('GET')) return configuration(isWritten ? 'new' : 'old');
      const failure = failures.shift();
      if (failure !== undefined) return refuse(failure);
      isWritten = true;
      return configuration('new');
    };
    keeper.publish('new');
    await waitFor('the third try', 5_000, () => (isWritten ? true : undefined));
    const seen = count('GET sallyport-inject');
    await looks(seen + 5);
    assert.equal(count('PATCH sallyport-inject'), 3);
  });
});
