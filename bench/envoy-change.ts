/**
 * One changed policy among 20,000 grants, until Envoy enforces it: node bench/envoy-change.ts --envoy PATH [--changes N]
 * 10,000 identities with an address each, 500 services; a stock Envoy as the gateway. Each change lets one identity go to another
 * service than before; what counts is when the first of its connections to that service is answered.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { parseArgs, promisify } from 'node:util';
import { stringify } from 'yaml';
import { adminPaths, type ApplyResult } from '../src/api/admin.ts';
import { findFreePorts } from '../src/demo/processes.ts';
import { commands, createWorld, eachIdentity, gatewayName, isAnswered, objectsBesidePolicies, policyOf, printTable, quantile, startProgram, trustDomain, waitFor, writeLargeState, type Row } from './large-world.ts';

const { values: options } = parseArgs({ options: { envoy: { type: 'string', default: process.env['ENVOY'] ?? 'envoy' }, changes: { type: 'string', default: '50' } } });

const rows: Row[] = [];
const report = (what: string, value: number, unit: string) => rows.push({ what, figure: `${value >= 100 ? Math.round(value) : value.toPrecision(2)} ${unit}` });

const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
const target = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
try {
  await once(target.listen(0, '127.0.0.1'), 'listening');
  const [gatewayPort, meshPort] = (await findFreePorts(2)) as [number, number];
  const objects = objectsBesidePolicies({ gateway: gatewayPort, target: (target.address() as AddressInfo).port }, 'envoy');
  await writeLargeState(join(directory, 'control'), [...objects, ...eachIdentity((namespace, account) => policyOf(namespace, account))]);
  const world = createWorld(directory, meshPort);
  const { process: control } = await world.startControl();

  const { stdout: bootstrap } = await promisify(execFile)(process.execPath, [commands[0]!.path, 'bootstrap', 'envoy', '--gateway', gatewayName, '--control', `127.0.0.1:${meshPort}`, '--identity-dir', join(directory, 'identity')], { env: { ...process.env, SALLYPORT_STATE: directory } });
  await writeFile(join(directory, 'envoy.yaml'), bootstrap);
  const startedAtMs = performance.now();
  const envoy = startProgram(options.envoy, ['-c', join(directory, 'envoy.yaml'), '--use-dynamic-base-id', '--drain-time-s', '1', '--drain-strategy', 'immediate', '--log-level', 'error']);

  const identity = await world.certificateOf(`spiffe://${trustDomain}/ns/n3/sa/a3`);
  const secureContext = createSecureContext({ cert: identity.certificateChainPem, key: identity.privateKeyPem, ca: identity.trustBundlePem });

  const isServed = (service: number): Promise<boolean> => isAnswered(gatewayPort, `s${service}.out.svc.cluster.local`, secureContext);

  /** What Envoy has read of its connection to the control plane so far, bytes. */
  const received = async (): Promise<number> => Number(/upstream_cx_rx_bytes_total: ([0-9]+)/.exec(await adminOf(join(directory, 'identity/admin.sock'), '/stats?filter=cluster.*upstream_cx_rx_bytes_total&usedonly'))?.[1]);

  const serviceOf = (shift: number): number => (33 + shift) % 500;
  await waitFor('the first answer through Envoy', () => isServed(serviceOf(0)));
  report('20,000 grants: from the start of Envoy until it enforces them', performance.now() - startedAtMs, 'ms');
  report('  bytes that it was sent', (await received()) / 1024, 'KiB');
  report('  its resident memory at most', await envoy.peakMib(), 'MiB');

  const changes: { readonly answeredMs: number; readonly enforcedMs: number; readonly bytes: number }[] = [];
  for (let round = 1; round <= Number(options.changes); round += 1) {
    const service = serviceOf(100 + round);
    if (await isServed(service)) throw new Error(`s${service} is allowed already`);
    const text = stringify(policyOf(3, 3, 100 + round));
    const before = await received();
    const appliedAtMs = performance.now();
    const enforced = waitFor('the change', () => isServed(service)).then(() => performance.now() - appliedAtMs);
    await world.admin.post<ApplyResult>(adminPaths.apply, { sources: [{ file: 'policy.yaml', text }] });
    const answeredMs = performance.now() - appliedAtMs;
    changes.push({ answeredMs, enforcedMs: await enforced, bytes: (await received()) - before });
  }
  const at = (share: number, value: (change: (typeof changes)[number]) => number) => quantile(changes.map(value), share);
  report(`one changed policy, ${changes.length} times: until the answer, p50`, at(0.5, ({ answeredMs }) => answeredMs), 'ms');
  report('  until Envoy enforces it, p50', at(0.5, ({ enforcedMs }) => enforcedMs), 'ms');
  report('  p99', at(0.99, ({ enforcedMs }) => enforcedMs), 'ms');
  report('  bytes sent, p50', at(0.5, ({ bytes }) => bytes) / 1024, 'KiB');
  await envoy.end();
  await control.end();
  printTable(`load average ${loadavg()[0]!.toFixed(1)}`, rows);
} finally {
  target.close();
  await rm(directory, { recursive: true, force: true });
}

function adminOf(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk)).once('end', () => resolve(text));
    })
      .once('error', reject)
      .end();
  });
}
