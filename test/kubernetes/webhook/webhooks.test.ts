import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { connect } from 'node:tls';
import pino from 'pino';
import type { TrustDomain } from '../../../src/core/spiffe-id.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import type { ValidateChange } from '../../../src/kubernetes/webhook/validation.ts';
import { startWebhooks, type Webhooks } from '../../../src/kubernetes/webhook/webhooks.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { makePki, type Pki } from '../../support/pki.ts';

const pool = { apiVersion: 'sallyport.dev/v1alpha1', kind: 'SnatPool', metadata: { name: 'eu', uid: '1', resourceVersion: '1' }, spec: { addresses: ['10.0.0.1'] } };
const review = (request: object = {}) => ({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: { uid: 'u-1', kind: { group: 'sallyport.dev', version: 'v1alpha1', kind: 'SnatPool' }, name: 'eu', operation: 'CREATE', object: pool, oldObject: null, ...request } });

describe('webhooks over HTTPS', () => {
  const pki = makePki();
  const identityOf = (issuer: Pki) => issuer.issue('', { names: [{ type: 'ip', value: '127.0.0.1' }] });
  let webhooks: Webhooks;
  let agent: Agent;
  let validate: ValidateChange;
  const lines: string[] = [];
  beforeEach(async () => {
    validate = () => Promise.resolve({ faults: [], warnings: [] });
    lines.length = 0;
    agent = new Agent({ ca: pki.rootPem, keepAlive: true });
    webhooks = await startWebhooks({
      host: '127.0.0.1',
      port: 0,
      identity: identityOf(pki),
      inject: { image: 'i', control: 'c:1', trustDomain: 'cluster.local' as TrustDomain, systemNamespace: 'sallyport-system' },
      validate: (change) => validate(change),
      log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) }),
    });
  });
  afterEach(async () => {
    agent.destroy();
    await webhooks.close();
  });

  interface Answer {
    readonly status: number;
    readonly text: string;
  }

  async function send(options: RequestOptions, body: string): Promise<Answer> {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...(options.headers as OutgoingHttpHeaders | undefined) };
    const request = httpsRequest({ host: '127.0.0.1', port: webhooks.port, path: '/validate', method: 'POST', agent, ...options, headers }).on('error', () => undefined); // one more may come after an early answer
    request.end(body);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let text = '';
    for await (const piece of response) text += String(piece);
    return { status: response.statusCode!, text };
  }
  const ask = (body: unknown, options: RequestOptions = {}) => send(options, JSON.stringify(body));

  it('answer with the id that they were asked with', async () => {
    const { status, text } = await ask(review());
    assert.deepEqual([status, JSON.parse(text)], [200, { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid: 'u-1', allowed: true } }]);
  });

  it('answer for pods with a patch, and leave what is no pod that is being made', async () => {
    const pod = { metadata: { generateName: 'x-' }, spec: { containers: [] } };
    const asked = (more: object) => ask(review({ kind: { group: '', version: 'v1', kind: 'Pod' }, namespace: 'bookinfo', object: pod, ...more }), { path: '/inject' });
    const { response } = JSON.parse((await asked({})).text) as { readonly response: { readonly patchType: string; readonly patch: string } };
    assert.equal(response.patchType, 'JSONPatch');
    assert.match(Buffer.from(response.patch, 'base64').toString(), /^\[\{"op":"add","path":"\/spec\/initContainers"/);
    for (const more of [{ operation: 'UPDATE' }, { operation: 'CONNECT' }, { kind: { group: 'apps', version: 'v1', kind: 'Deployment' } }]) assert.equal((await asked(more)).text.includes('patch'), false);
  });

  const notAnswered: readonly [what: string, status: number, asked: () => Promise<Answer>][] = [
    ['another path', 404, () => ask(review(), { path: '/' })],
    ['another method', 400, () => ask(review(), { method: 'PUT' })],
    ['another type', 400, () => ask(review(), { headers: { 'content-type': 'text/plain' } })],
    ['no JSON', 400, () => send({}, '{')],
    ['no AdmissionReview', 400, () => ask({ kind: 'AdmissionReview' })],
    ['one of another version', 400, () => ask({ ...review(), apiVersion: 'admission.k8s.io/v1beta1' })],
    ['7 MB', 413, () => send({ headers: { 'content-length': 7_000_000 } }, '')],
  ];
  for (const [what, status, asked] of notAnswered) it(`do not answer ${what}`, async () => assert.equal((await asked()).status, status));

  it('take what an API server may send at most: an object of 3 MiB, and what it was', async () => {
    const large = { ...pool, metadata: { ...pool.metadata, annotations: { x: 'x'.repeat(3 << 20) } } };
    assert.equal((await ask(review({ operation: 'UPDATE', object: large, oldObject: large }))).status, 200);
  });

  it('hold no more than so much at once, and go on when that is gone', async () => {
    const large = { path: '/validate', headers: { 'content-length': 6 << 20 } };
    const holders = Array.from({ length: 10 }, () => httpsRequest({ host: '127.0.0.1', port: webhooks.port, method: 'POST', agent, ...large, headers: { ...large.headers, 'content-type': 'application/json' } }).on('error', () => undefined));
    for (const holder of holders) holder.write('{');
    await waitFor('all of them to be held', 5_000, async () => ((await Promise.race([send(large, '{'), send({}, '{')])).status === 503 ? true : undefined));
    for (const holder of holders) holder.destroy();
    await waitFor('room', 5_000, async () => ((await send({}, ' '.repeat(5 << 20)).catch(() => ({ status: 503 }))).status === 400 ? true : undefined));
  });

  it('leave it to the failure policy where no answer comes in the time that the API server gives', async () => {
    validate = () => new Promise(() => undefined);
    const { status, text } = await ask(review(), { path: '/validate?timeout=50ms' });
    assert.deepEqual([status, text], [504, 'there is no answer within 40 ms']);
  });

  it('look at no more than so many changes at once', async () => {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    validate = () => promise.then(() => ({ faults: [], warnings: [] }));
    const asked = Array.from({ length: 65 }, () => ask(review()));
    assert.equal((await Promise.race(asked)).status, 503);
    resolve(undefined);
    assert.deepEqual((await Promise.all(asked)).map(({ status }) => status).sort(), [...Array<number>(64).fill(200), 503]);
  });

  it('keep to the log what went wrong within', async () => {
    validate = () => Promise.reject(new Error('the secret is 42'));
    assert.deepEqual(await ask(review()), { status: 500, text: 'internal error' });
    assert.ok(lines.some((line) => line.includes('the secret is 42')));
    validate = () => Promise.reject(new SallyportError('unavailable', 'the API server is not known yet'));
    assert.deepEqual(await ask(review()), { status: 503, text: 'the API server is not known yet' });
  });

  it('say in the log what they have refused', async () => {
    validate = () => Promise.resolve({ faults: [{ code: 'pools-overlap', message: 'it overlaps' }], warnings: [] });
    await ask(review());
    assert.ok(lines.some((line) => /"kind":"SnatPool".*"name":"eu".*it overlaps/.test(line)));
  });

  it('show a new certificate to whoever comes anew, and cut nobody off', async () => {
    const next = makePki();
    await ask(review());
    webhooks.setIdentity(identityOf(next));
    assert.equal((await ask(review())).status, 200); // over the connection that there is
    const socket = connect({ host: '127.0.0.1', port: webhooks.port, ca: next.rootPem });
    await once(socket, 'secureConnect');
    socket.destroy();
    await assert.rejects(ask(review(), { agent: new Agent({ ca: pki.rootPem }) }), /unable to (get|verify)|self-signed/);
  });

  it('refuse what is no certificate, and go on with the one before', async () => {
    assert.throws(() => webhooks.setIdentity({ certificateChainPem: 'none', privateKeyPem: 'none' }));
    assert.equal((await ask(review(), { agent: new Agent({ ca: pki.rootPem }) })).status, 200);
  });

  it('answer what has been asked before they end', async () => {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    let isAsked = false;
    validate = () => {
      isAsked = true;
      return promise.then(() => ({ faults: [], warnings: [] }));
    };
    const answer = ask(review());
    await waitFor('the question', 5_000, () => (isAsked ? true : undefined));
    const closed = webhooks.close();
    resolve(undefined);
    assert.equal((await answer).status, 200);
    await closed;
  }).timeout(4_000); // sooner than the impatience with those who do not let go
});
