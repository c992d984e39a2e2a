/** The admin API's routes: each checks the shape of its input and calls what does the work. docs/reference/admin-api.md describes them. */
import * as z from 'zod';
import { adminPaths, type ApplyRequest, type AssignmentList, type CertificateResult, type ExplainResult, type LedgerVerification, type ObjectList, type TokenResult, type WhoisResult } from '../api/admin.ts';
import { defaultLifetimes, type Authority } from '../ca/index.ts';
import { SallyportError } from '../core/errors.ts';
import { describeExplanation, explain } from '../core/plan/explain.ts';
import { parseAddress } from '../core/ip-address.ts';
import { encodeObject } from '../core/manifest/manifest-text.ts';
import type { DesiredObject, Kind } from '../core/objects/index.ts';
import { schemas } from '../core/objects/index.ts';
import { certificatesToPem, pemBlocks, pemBytes } from '../core/x509/pem.ts';
import { parseSpiffeId, trustDomainOf, type SpiffeId, type TrustDomain, type WorkloadName } from '../core/spiffe-id.ts';
import type { Ledger } from '../store/index.ts';
import type { CaKeeper } from './ca-keeper.ts';
import type { HttpAnswer, HttpRoute } from './http-router.ts';
import type { Issuance } from './issuance.ts';
import { makeTokenText, tokenKey, tokenLifetimeMs } from './join-tokens.ts';
import type { Planner } from './planner.ts';
import type { SharedState } from './shared-state.ts';
import { parseTransferQuery, transferLines } from './transfers.ts';

export interface AdminRoutesOptions {
  readonly planner: Planner;
  readonly shared: SharedState;
  readonly ledger: Ledger;
  readonly authority: Authority;
  readonly caKeeper: CaKeeper;
  readonly issuance: Issuance;
  readonly trustDomain: TrustDomain;
  readonly now: () => number;
  readonly randomBytes: (count: number) => Buffer;
  readonly probes: Readonly<Record<string, HttpRoute>>;
}

const text = z.string().max(1 << 24);
const ref = z.strictObject({ kind: z.string().max(64), namespace: z.string().max(64), name: z.string().max(253) });
const applyBody = z.strictObject({ sources: z.array(z.strictObject({ file: z.string().max(4096), text })).min(1).max(10_000), dryRun: z.boolean().optional() });
const removeBody = z.strictObject({ refs: z.array(ref).min(1).max(10_000), dryRun: z.boolean().optional() });
const explainBody = z.strictObject({ subject: z.string().max(2048), target: z.string().max(512), authority: z.string().max(512).optional() });
const tokenBody = z
  .strictObject({
    spiffeId: z.string().max(2048),
    ttlMs: z.int().min(1_000).max(tokenLifetimeMs.max).default(tokenLifetimeMs.byDefault),
    purpose: z.enum(['svid', 'proxy']).default('svid'),
    lifetimeMs: z.int().min(60_000).max(defaultLifetimes.proxyMaxMs).optional(),
  })
  .refine(({ purpose, lifetimeMs }) => purpose === 'proxy' || lifetimeMs === undefined, { path: ['lifetimeMs'], message: 'is for proxy certificates; the control plane decides how long an SVID lives' });
const csrBody = z.strictObject({ subject: z.string().min(1).max(64) });
const importBody = z.strictObject({ certificatesPem: text.optional(), privateKeyPem: text.optional(), pkcs12: text.optional(), passphrase: z.string().max(1024).optional() });
const certificateBody = z.strictObject({
  spiffeId: z.string().max(2048),
  purpose: z.enum(['server', 'admin']),
  csrPem: text,
  dnsNames: z.array(z.string().max(253)).max(64).optional(),
  ipAddresses: z.array(z.string().max(64)).max(64).optional(),
  lifetimeMs: z.int().min(60_000).optional(),
});
const revocationBody = z
  .strictObject({ serialNumber: z.string().regex(/^[0-9a-f]{1,40}$/).optional(), spiffeId: z.string().max(2048).optional() })
  .refine((body) => (body.serialNumber === undefined) !== (body.spiffeId === undefined), 'needs either "serialNumber" or "spiffeId"');
const nothing = z.strictObject({});

export function createAdminRoutes(options: AdminRoutesOptions): Readonly<Record<string, HttpRoute>> {
  const { planner, shared, ledger, authority, caKeeper, issuance, trustDomain, now, randomBytes, probes } = options;

  function ownSpiffeId(spiffeIdText: string): SpiffeId {
    const parsed = parseSpiffeId(spiffeIdText);
    if (!parsed.ok) throw new SallyportError('spiffe-id-invalid', parsed.reason, { value: spiffeIdText.slice(0, 256) });
    if (trustDomainOf(parsed.id) !== trustDomain) throw new SallyportError('spiffe-id-invalid', `${JSON.stringify(parsed.id)} is not of trust domain ${JSON.stringify(trustDomain)}`, { value: parsed.id });
    return parsed.id;
  }

  function subjectOf(subject: string): SpiffeId | WorkloadName {
    const workload = /^([a-z0-9-]{1,63})\/([a-z0-9.-]{1,253})$/.exec(subject);
    if (workload !== null) return { namespace: workload[1]!, serviceAccount: workload[2]! };
    const parsed = parseSpiffeId(subject);
    if (!parsed.ok) throw new SallyportError('request-invalid', `${JSON.stringify(subject.slice(0, 256))} is neither NAMESPACE/SERVICEACCOUNT nor a SPIFFE ID`, { value: subject.slice(0, 256) });
    return parsed.id;
  }

  return {
    ...probes,
    [`POST ${adminPaths.apply}`]: post(applyBody, async (body, actor) => json(await planner.apply(body as ApplyRequest, actor))),
    [`POST ${adminPaths.remove}`]: post(removeBody, async ({ refs, dryRun }, actor) => json(await planner.remove({ refs, dryRun: dryRun === true }, actor))),
    [`GET ${adminPaths.objects}`]: ({ query }) => {
      const kind = query.get('kind');
      if (kind !== null && !Object.hasOwn(schemas, kind)) throw new SallyportError('request-invalid', `${JSON.stringify(kind.slice(0, 64))} is not a kind`, { hint: `kinds: ${Object.keys(schemas).join(', ')}` });
      const wanted = (object: DesiredObject) =>
        matches(query.get('name'), object.metadata.name) && matches(query.get('namespace'), 'namespace' in object.metadata ? object.metadata.namespace : '');
      const kinds = kind === null ? (Object.keys(schemas) as Kind[]) : [kind as Kind];
      const items = kinds.flatMap((each) => [...planner.desired[each].entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object)).filter(wanted);
      return json({ revision: planner.plan.revision, items: items.map((object) => encodeObject(object) as Record<string, unknown>) } satisfies ObjectList);
    },
    [`GET ${adminPaths.plan}`]: () => json(planner.plan),
    [`GET ${adminPaths.assignments}`]: () => json({ items: planner.assignments } satisfies AssignmentList),
    [`POST ${adminPaths.explain}`]: post(explainBody, ({ subject, target, authority: authorityText }) => {
      const { plan, desired, rootNamespace, refused } = planner;
      const explanation = explain(plan, subjectOf(subject), target, { desired, rootNamespace, refused: refused.values(), ...(authorityText === undefined ? {} : { authority: authorityText }) });
      return json({ ...explanation, text: describeExplanation(explanation) } satisfies ExplainResult);
    }),
    [`GET ${adminPaths.whois}`]: async ({ query }) => {
      const address = parseAddress(query.get('address') ?? '');
      const port = Number(query.get('port'));
      const timeMs = Date.parse(query.get('time') ?? '');
      const toleranceMs = Number(query.get('toleranceMs') ?? '0');
      if (address === undefined || !Number.isInteger(port) || port < 1 || port > 65535 || Number.isNaN(timeMs) || !(toleranceMs >= 0)) {
        throw new SallyportError('request-invalid', 'whois needs an address, a port and a time', { hint: '?address=10.4.0.11&port=40132&time=2026-11-21T07:30:00Z' });
      }
      const { connections, nearest } = await ledger.whois({ address, port, timeMs, toleranceMs });
      return json({ connections: connections.map(({ opened, closed }) => ({ opened, closed })), nearest: nearest && { opened: nearest.opened, closed: nearest.closed } } satisfies WhoisResult);
    },
    [`GET ${adminPaths.ledger}`]: ({ query, signal }) => {
      const type = query.get('type');
      const last = Math.min(1_000_000, Math.max(0, Number(query.get('last') ?? '20')));
      return { lines: tailLines(ledger, { type, last: Number.isInteger(last) ? last : 20, follow: query.get('follow') === 'true', signal }) };
    },
    [`GET ${adminPaths.transfers}`]: ({ query, signal }) => ({ lines: transferLines(ledger, parseTransferQuery(query), signal) }),
    [`POST ${adminPaths.ledgerVerify}`]: post(nothing, async () => {
      const result = await ledger.verify();
      const lastSequence = result.ok ? (result.head?.sequence ?? 0) : ledger.head.sequence;
      return json({
        ok: result.ok,
        firstSequence: result.ok ? result.firstSequence : 0,
        lastSequence,
        records: result.ok ? Math.max(0, lastSequence - result.firstSequence + 1) : 0,
        fault: result.ok ? null : `${result.message} (record ${result.sequence}, ${result.file}, offset ${result.offset})`,
      } satisfies LedgerVerification);
    }),
    [`POST ${adminPaths.tokens}`]: post(tokenBody, async ({ spiffeId, ttlMs, purpose, lifetimeMs = defaultLifetimes.proxyMs }) => {
      const token = makeTokenText(randomBytes);
      const bound = { spiffeId: ownSpiffeId(spiffeId), expiresAtMs: now() + ttlMs, ...(purpose === 'proxy' ? { proxyLifetimeMs: lifetimeMs } : {}) };
      await shared.change(() => ({ put: { tokens: { [tokenKey(token)!]: bound } }, result: undefined }));
      return json({ token, spiffeId: bound.spiffeId, purpose, expiresAt: new Date(bound.expiresAtMs).toISOString() } satisfies TokenResult);
    }),
    [`GET ${adminPaths.ca}`]: () => json(caKeeper.status()),
    [`GET ${adminPaths.bundle}`]: () => ({ text: certificatesToPem(authority.trustBundle), contentType: 'application/x-pem-file' }),
    [`POST ${adminPaths.caInit}`]: post(nothing, async () => json(await caKeeper.initialize())),
    [`POST ${adminPaths.caCsr}`]: post(csrBody, async ({ subject }) => json(await caKeeper.request(subject))),
    [`POST ${adminPaths.caImport}`]: post(importBody, async ({ certificatesPem, privateKeyPem, pkcs12, passphrase }) =>
      json(
        await caKeeper.import({
          ...(certificatesPem === undefined ? {} : { certificatesPem }),
          ...(privateKeyPem === undefined ? {} : { privateKeyPem }),
          ...(pkcs12 === undefined ? {} : { pkcs12 }),
          ...(passphrase === undefined ? {} : { passphrase }),
        }),
      ),
    ),
    [`POST ${adminPaths.caActivate}`]: post(nothing, async () => json(await caKeeper.activate())),
    [`POST ${adminPaths.caDiscard}`]: post(nothing, async () => json(await caKeeper.discard())),
    [`POST ${adminPaths.caRetire}`]: post(nothing, async () => json(await caKeeper.retire())),
    [`POST ${adminPaths.certificates}`]: post(certificateBody, async ({ spiffeId, purpose, csrPem, dnsNames, ipAddresses, lifetimeMs }) => {
      const block = pemBlocks(csrPem).find(({ label }) => label === 'CERTIFICATE REQUEST');
      const csr = block === undefined ? undefined : pemBytes(block);
      if (csr === undefined) throw new SallyportError('csr-invalid', 'there is no certificate request in the text', { hint: 'send PEM: BEGIN CERTIFICATE REQUEST' });
      const common = { spiffeId: ownSpiffeId(spiffeId), csr, ...(lifetimeMs === undefined ? {} : { lifetimeMs }) };
      const addresses = (ipAddresses ?? []).map((each) => {
        const address = parseAddress(each);
        if (address === undefined) throw new SallyportError('request-invalid', `${JSON.stringify(each)} is not an address`, { value: each });
        return address;
      });
      const issued = await issuance.issue('operator', () =>
        purpose === 'admin' ? authority.issueSvid({ ...common, purpose: 'admin' }) : authority.issueServerCertificate({ ...common, dnsNames: dnsNames ?? [], ipAddresses: addresses }),
      );
      return json({
        spiffeId: issued.spiffeId,
        serialNumber: issued.serialNumber,
        notAfter: new Date(issued.notAfterMs).toISOString(),
        certificateChainPem: certificatesToPem(issued.chainDer),
        trustBundlePem: certificatesToPem(authority.trustBundle),
      } satisfies CertificateResult);
    }),
    [`POST ${adminPaths.revocations}`]: post(revocationBody, async (which) => json({ serialNumbers: await issuance.revoke(which) })),
  };
}

/** A route whose body must have this shape; what has another is refused with the place of each fault. */
function post<Body>(schema: z.ZodType<Body>, handle: (body: Body, actor: string) => HttpAnswer | Promise<HttpAnswer>): HttpRoute {
  return ({ body, actor }) => {
    const parsed = schema.safeParse(body ?? {});
    if (!parsed.success) {
      throw new SallyportError('request-invalid', 'the request does not have the form that this path takes', {
        faults: parsed.error.issues.map((issue) => ({ code: 'request-field', message: issue.message, path: issue.path.filter((part) => typeof part !== 'symbol') })),
      });
    }
    return handle(parsed.data, actor);
  };
}

function json(value: object): HttpAnswer {
  return { json: value };
}

function matches(wanted: string | null, actual: string): boolean {
  return wanted === null || wanted === actual;
}

/** The last so many records that fit, then, if asked for, every new one. Reads backwards only as far as needed when there is no filter. */
async function* tailLines(ledger: Ledger, { type, last, follow, signal }: { readonly type: string | null; readonly last: number; readonly follow: boolean; readonly signal: AbortSignal }): AsyncGenerator<string> {
  const end = ledger.head.sequence;
  const filter = type === null ? {} : { filter: (entry: { readonly record: { readonly type: string } }) => entry.record.type === type };
  const kept: string[] = [];
  for await (const entry of ledger.tail({ ...filter, from: type === null ? Math.max(1, end - last + 1) : 1, signal })) {
    kept.push(JSON.stringify({ sequence: entry.sequence, ...entry.record }));
    if (kept.length > last) kept.shift();
  }
  yield* kept;
  if (!follow) return;
  for await (const entry of ledger.tail({ ...filter, from: end + 1, follow: true, signal })) yield JSON.stringify({ sequence: entry.sequence, ...entry.record });
}
