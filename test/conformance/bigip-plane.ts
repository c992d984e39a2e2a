/** A BIG-IP, both halves of its test double: the control plane drives the one, workloads come to the other, and the ledger hears of it by syslog. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { parseAddressRange } from '../../src/core/ip-address.ts';
import { startTraffic } from '../support/bigip/data-plane.ts';
import { readDeclared } from '../support/bigip/declared.ts';
import { startBigIp } from '../support/bigip/management.ts';
import type { DataPlane, DataPlaneOptions } from './data-plane.ts';
import { startDataPlane } from './gateway-site.ts';

const username = 'sallyport';
const password = 'correct horse';
/** Nothing is awaited that nobody has asked for. */
const timings = { lookEveryMs: 3_600_000, noteAfterMs: 3_600_000, pollEveryMs: 5, backOff: { baseMs: 5, maxMs: 50 } };

export async function startBigIpPlane(tclsh: string, options: DataPlaneOptions): Promise<DataPlane> {
  const box = await startBigIp({ username, password });
  const traffic = startTraffic(tclsh);
  const [logPort] = (await findFreePorts(1)) as [number];
  const credentialsDirectory = await mkdtemp(join(tmpdir(), 'sallyport-credentials-'));
  await mkdir(join(credentialsDirectory, 'box'));
  for (const [file, content] of Object.entries({ username, password, 'ca.pem': box.caPem })) await writeFile(join(credentialsDirectory, 'box', file), content);
  let fault: Error | undefined;
  box.onChange((running) => void traffic.enforce(running).catch((error: unknown) => (fault = error as Error)));
  const onBox = (group: string): readonly string[] => (readDeclared(box.running).dataGroups.get(`/sallyport_egress-1/shared/${group}`) ?? []).map(({ key }) => key);
  const loopback = parseAddressRange('127.0.0.1');
  if (!loopback.ok) throw new Error(loopback.reason);

  return await startDataPlane({
    ...options,
    class: 'bigip',
    beside: null,
    control: { bigip: { credentialsDirectory, timings }, syslog: { tcp: { host: '127.0.0.1', port: logPort }, tls: null, allowed: [{ gateway: 'egress-1', addresses: loopback.range }] } },
    spec: { bigip: { management: [{ host: '127.0.0.1', port: box.port }], credentials: 'box', logTo: [{ address: '127.0.0.1', port: logPort }] } },
    start: () =>
      Promise.resolve({
        async enforced() {
          await traffic.settled();
          if (fault !== undefined) throw fault;
        },
        async settled(revoked) {
          // A revocation is no other plan, which the box could be seen to hold.
          await waitFor('the box to know what is revoked', 5_000, () => revoked.every((serialNumber) => onBox('revoked').includes(serialNumber)) || undefined);
          await traffic.settled();
        },
        async stop() {
          await traffic.stop();
          await box.close();
          await rm(credentialsDirectory, { recursive: true });
        },
      }),
  });
}
