/** A control plane for tests: in this process, on loopback, in a directory that goes with it. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { createAdminClient, type AdminClient } from '../../src/api/admin-client.ts';
import { adminPaths, type ApplyResult, type CertificateResult, type TokenResult } from '../../src/api/admin.ts';
import { enrol, type ControlPlane } from '../../src/api/enrolment-client.ts';
import { defaultControlIdentity } from '../../src/api/mesh-credentials.ts';
import { CertificatePurpose } from '../../src/proto/sallyport/v1alpha1/identity_pb.ts';
import { startControl, type Control, type ControlOptions } from '../../src/control/index.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { certificatesToPem, toPem } from '../../src/core/x509/pem.ts';

export const trustDomain = 'cluster.local' as TrustDomain;

/** What an enrolment brings. */
export interface Svid {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly trustBundlePem: string;
}

export interface TestControl {
  readonly directory: string;
  readonly control: Control;
  readonly admin: AdminClient;
  /** How a proxy reaches it; the CA must be there. */
  mesh(): Promise<ControlPlane>;
  apply(text: string): Promise<ApplyResult>;
  token(spiffeId: string): Promise<string>;
  /** Enrols as this identity. */
  svid(spiffeId: string): Promise<Svid>;
  /** The same for a stock Envoy: what it shows the control plane. */
  proxyCertificate(spiffeId: string): Promise<Svid>;
  /** The certificate that an operator makes for this administrator. */
  administrator(spiffeId: string): Promise<Svid>;
  /** Stops it and starts another on the same directory and port. */
  restart(): Promise<TestControl>;
  close(): Promise<void>;
}

export interface TestControlOptions extends Partial<Pick<ControlOptions, 'now' | 'caPropagationMs' | 'admin' | 'probe' | 'administrators' | 'caPassphrase' | 'kubernetes' | 'ledgerOtlp' | 'bigip' | 'log' | 'syslog'>> {
  readonly directory?: string;
  readonly port?: number;
}

export async function startTestControl(options: TestControlOptions = {}): Promise<TestControl> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'sallyport-control-')));
  const socketPath = join(directory, 'admin.sock');
  const control = await startControl({
    directory,
    trustDomain,
    clusterDomain: 'cluster.local',
    mesh: { host: '127.0.0.1', port: options.port ?? 0 },
    socketPath,
    admin: options.admin ?? null,
    probe: options.probe ?? null,
    administrators: options.administrators ?? new Set(),
    caPropagationMs: options.caPropagationMs ?? 0,
    ...(options.caPassphrase === undefined ? {} : { caPassphrase: options.caPassphrase }),
    ...(options.kubernetes === undefined ? {} : { kubernetes: options.kubernetes }),
    ...(options.ledgerOtlp === undefined ? {} : { ledgerOtlp: options.ledgerOtlp }),
    ...(options.bigip === undefined ? {} : { bigip: options.bigip }),
    ...(options.syslog === undefined ? {} : { syslog: options.syslog }),
    version: 'test',
    log: options.log ?? pino({ level: 'silent' }),
    now: options.now ?? Date.now,
  });
  const admin = createAdminClient({ kind: 'unix', socketPath });

  async function certified(token: string, purpose: CertificatePurpose): Promise<Svid> {
    const mesh = await result.mesh();
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { certificateChain } = await enrol(mesh, token, createCsr(privateKey), { timeoutMs: 5_000 }, purpose);
    return { certificateChainPem: certificatesToPem(certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, trustBundlePem: mesh.trustBundlePem };
  }

  const result: TestControl = {
    directory,
    control,
    admin,
    mesh: async () => ({ address: `127.0.0.1:${control.meshPort!}`, identity: defaultControlIdentity(trustDomain), trustBundlePem: await admin.text(adminPaths.bundle) }),
    apply: (text) => admin.post(adminPaths.apply, { sources: [{ file: 'test.yaml', text }] }),
    token: async (spiffeId) => (await admin.post<TokenResult>(adminPaths.tokens, { spiffeId })).token,
    svid: async (spiffeId) => await certified(await result.token(spiffeId), CertificatePurpose.SVID),
    proxyCertificate: async (spiffeId) => await certified((await admin.post<TokenResult>(adminPaths.tokens, { spiffeId, purpose: 'proxy' })).token, CertificatePurpose.PROXY),
    async administrator(spiffeId) {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const { certificateChainPem, trustBundlePem } = await admin.post<CertificateResult>(adminPaths.certificates, { spiffeId, purpose: 'admin', csrPem: toPem('CERTIFICATE REQUEST', createCsr(privateKey)) });
      return { certificateChainPem, privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, trustBundlePem };
    },
    async restart() {
      const port = control.meshPort;
      await control.close();
      return await startTestControl({ ...options, directory, ...(port === undefined ? {} : { port }) });
    },
    async close() {
      await control.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
  return result;
}
