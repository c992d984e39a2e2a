import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { anyPack, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { Client, status, type ServiceError } from '@grpc/grpc-js';
import { adminPaths } from '../../src/api/admin.ts';
import { enrol } from '../../src/api/enrolment-client.ts';
import { grpcMethodDefinition } from '../../src/api/grpc-service.ts';
import { meshChannelCredentials, meshChannelOptions } from '../../src/api/mesh-credentials.ts';
import { stateKeys } from '../../src/backends/envoy/names.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { certificatesToPem } from '../../src/core/x509/pem.ts';
import { AccessLogService, StreamAccessLogsMessageSchema } from '../../src/proto/envoy/service/accesslog/v3/als_pb.ts';
import { startTestControl, type TestControl } from '../support/control.ts';

const envoy = 'spiffe://cluster.local/ns/sallyport-system/sa/front';
const embedded = 'spiffe://cluster.local/ns/sallyport-system/sa/beside';
const gateways = `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: front}
spec: {class: envoy, listen: [{address: 127.0.0.1, port: 15443}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: beside}
spec: {class: sallyport, listen: [{address: 127.0.0.1, port: 16443}]}
`;

describe('the intake of access logs', () => {
  let control: TestControl;
  before(async () => {
    control = await startTestControl();
    await control.admin.post(adminPaths.caInit, {});
    await control.apply(gateways);
  });
  after(() => control.close());

  /** Sends one message and ends; the status that comes back. */
  async function send(spiffeId: string | undefined, message: MessageInitShape<typeof StreamAccessLogsMessageSchema>): Promise<{ code: status; details: string }> {
    const mesh = await control.mesh();
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const certificate = spiffeId === undefined ? undefined : { certificateChainPem: certificatesToPem((await enrol(mesh, await control.token(spiffeId), createCsr(privateKey), { timeoutMs: 5_000 })).certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
    const client = new Client(mesh.address, meshChannelCredentials([mesh.identity], mesh.trustBundlePem, certificate), meshChannelOptions);
    try {
      const { path, requestSerialize, responseDeserialize } = grpcMethodDefinition(AccessLogService.method.streamAccessLogs);
      return await new Promise((resolve) => {
        const stream = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, (error: ServiceError | null) => resolve({ code: error?.code ?? status.OK, details: error?.details ?? '' }));
        stream.write(create(StreamAccessLogsMessageSchema, message));
        stream.end();
      });
    } finally {
      client.close();
    }
  }

  const ours = { identifier: { logName: 'sallyport', node: { id: envoy } } };

  it('takes the log of a gateway of class envoy', async () => {
    assert.deepEqual(await send(envoy, ours), { code: status.OK, details: '' });
  });

  it('takes a bounded number of records of clients that prove nobody, counts the rest, and takes all of the others', async () => {
    const stranger = { commonProperties: { downstreamRemoteAddress: { address: { case: 'socketAddress' as const, value: { address: '127.0.0.9', portSpecifier: { case: 'portValue' as const, value: 40_000 } } } } } };
    const claimant = { commonProperties: { ...stranger.commonProperties, downstreamTransportFailureReason: 'certificate has expired', customTags: { claimed: 'spiffe://cluster.local/ns/bookinfo/sa/details' } } };
    const known = { commonProperties: { ...stranger.commonProperties, filterStateObjects: { [stateKeys.identity]: anyPack(StringValueSchema, create(StringValueSchema, { value: 'spiffe://cluster.local/ns/bookinfo/sa/productpage' })) } } };
    const entries = [...Array.from({ length: 1_500 }, () => [stranger, claimant]).flat(), ...Array.from({ length: 10 }, () => known)];
    await send(envoy, { ...ours, logEntries: { case: 'tcpLogs', value: { logEntry: entries } } });
    const denied: (string | null)[] = [];
    for await (const line of control.admin.lines(adminPaths.ledger, { type: 'connection-denied', last: '5000' }, new AbortController().signal)) denied.push((JSON.parse(line) as { spiffeId: string | null }).spiffeId);
    assert.equal(denied.filter((spiffeId) => spiffeId?.endsWith('/productpage')).length, 10);
    assert.ok(denied.some((spiffeId) => spiffeId?.endsWith('/details')), 'what a certificate claims is recorded, and proves nothing');
    const strangers = denied.length - 10;
    assert.ok(strangers >= 1_000 && strangers < 2_000, `${strangers} records`); // the burst, and some for the time that passed
    assert.match(await control.admin.text(adminPaths.metrics), new RegExp(`^sallyport_control_denials_unrecorded_total\\{gateway="front"\\} ${3_000 - strangers}$`, 'm'));
  });

  it('takes no log of another name', async () => {
    assert.deepEqual(await send(envoy, { identifier: { logName: 'other' } }), { code: status.INVALID_ARGUMENT, details: '"other" is not a log that is taken here' });
  });

  for (const [who, spiffeId] of [
    ['a gateway of class sallyport, which has a way of its own', embedded],
    ['a workload', 'spiffe://cluster.local/ns/bookinfo/sa/productpage'],
    ['nobody', undefined],
  ] as const) {
    it(`takes no log of ${who}, whatever node it names`, async () => {
      assert.equal((await send(spiffeId, ours)).code, status.UNAUTHENTICATED);
    });
  }
});
