/**
 * The management half of a BIG-IP's test double: HTTPS that behaves as F5 documents it, and holds what it was declared. The half that carries
 * traffic takes it from here (`running`, `onChange`).
 *
 * What it claims, and whose word that is:
 *
 * - AS3, https://clouddocs.f5.com/products/extensions/f5-appsvcs-extension/latest/refguide/as3-api.html and `docs/openapi.yaml` of
 *   F5Networks/f5-appsvcs-extension 3.56: POST, GET and DELETE of /mgmt/shared/appsvcs/declare[/TENANT], `async=true` with 202 and
 *   /mgmt/shared/appsvcs/task/ID, `controls.dryRun=true`, the shapes of 200, 204, 404, 422 and 503. What the page leaves open is as its `src/lib` does
 *   it: the running configuration is compared, not the last declaration (also userguide/unchecked-mode); a declaration is kept
 *   where nothing has changed, too; a task under way is answered with 200 and code 0; a private key is in what GET gives.
 * - Tokens, userguide/authentication there, and "iControl REST Authentication Token Management" (DevCentral 287462): 1,200 s, 36,000 s at
 *   most, 100 of a user's, a 401 that says `X-F5-Auth-Token does not exist.`
 * - Data groups, "Working with subsets of data-group records via iControl REST" (DevCentral 285113): PATCH of `records` replaces them
 *   all, `?options=records add|modify|delete { ... }` changes some.
 * - /mgmt/tm/cm/sync-status and failover-status, as F5's own tests read them (f5-common-python, `f5.multi_device`).
 *
 * What it does not model: F5's schema (another test holds declarations against that; here only classes are looked at), roles of users and BIG-IP's
 * partitions but those that AS3 makes, burst handling, `redeploy` and `patch` of AS3, history, what is lost by a reboot that was never saved, traffic
 * groups, how long anything takes, and the exact words of tmsh's faults.
 */
import { randomUUID, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { makePki } from '../pki.ts';
import { applyRecordOptions, type WireRecord } from './record-options.ts';

export type JsonObject = Record<string, unknown>;

/** Tenants as AS3 has them, by name: what the box does, with what somebody has changed by hand. */
export type RunningTenants = Readonly<Record<string, JsonObject>>;

export interface RecordedRequest {
  readonly method: string;
  /** Decoded, with its query. */
  readonly path: string;
  /** Of head and body, as they were on the wire but for TLS. */
  readonly bytes: number;
  readonly body: unknown;
  /** That it came with. */
  readonly token: string | undefined;
}

/** What a fault makes of a request. */
export type Misbehaviour =
  /** A page, as a proxy or a login form in the place of the API gives it. */
  | 'html'
  /** Its answer breaks off in the middle. */
  | 'half'
  /** Nothing comes. */
  | 'hang'
  /** The token is none any more. */
  | 'unauthorized'
  /** Another configuration operation is under way. */
  | 'busy'
  /** It says yes, and does nothing. */
  | 'lie';

export interface OrderedFault {
  readonly method?: string;
  /** Default: any. */
  readonly path?: RegExp;
  /** Default: until `mend`. */
  readonly times?: number;
  readonly with: Misbehaviour;
}

export interface BigIpManagement {
  readonly port: number;
  /** PEM that its certificate is verified with. */
  readonly caPem: string;
  readonly requests: readonly RecordedRequest[];
  /** What the box does. */
  readonly running: RunningTenants;
  /** What AS3 believes it has declared. */
  readonly declared: RunningTenants;
  /** Called with what it does from now on, after each change. */
  onChange(listener: (running: RunningTenants) => void): void;
  /** Somebody's change by hand, in the GUI or with tmsh: AS3 does not know of it. */
  editByHand(edit: (running: Record<string, JsonObject>) => void): void;
  order(fault: OrderedFault): void;
  /** No fault any more; what hangs is cut. */
  mend(): void;
  /** Tasks wait from now on. */
  holdTasks(): void;
  releaseTasks(): void;
  failoverStatus: 'ACTIVE' | 'STANDBY';
  syncStatus: string;
  close(): Promise<void>;
}

export interface BigIpOptions {
  readonly username?: string;
  readonly password?: string;
  readonly now?: () => number;
  /** Names in its certificate. Default: 127.0.0.1. */
  readonly certificateAddress?: string;
  /** Default: any that is free. */
  readonly port?: number;
  /** SNAT translations that somebody else has in /Common, by address. */
  readonly commonSnatTranslations?: Readonly<Record<string, string>>;
  /** The other one of its pair: what is changed here comes there as configurations are synchronised, at once, where this is `automatic`. */
  readonly peer?: { readonly box: () => BigIpManagement; readonly sync: 'automatic' | 'manual' };
}

interface Answer {
  readonly status: number;
  readonly body?: unknown;
}

interface Task {
  readonly id: string;
  /** Undefined while it is under way. */
  result: Answer | undefined;
}

const tokenLifeMs = 1_200_000;
const tokenLifeMsMax = 36_000_000;
const tokensMax = 100;
const tasksMax = 25;

export async function startBigIp(options: BigIpOptions = {}): Promise<BigIpManagement> {
  const { username = 'sallyport', password = 'correct horse', now = Date.now, certificateAddress = '127.0.0.1', port = 0, commonSnatTranslations = {}, peer } = options;
  const pki = makePki();
  const certificate = pki.issue('spiffe://box.test/management', { names: [{ type: 'ip', value: certificateAddress }] });
  const tokens = new Map<string, { readonly expiresAtMs: number }>();
  const requests: RecordedRequest[] = [];
  const listeners = new Set<(running: RunningTenants) => void>();
  const tasks: Task[] = [];
  const heldTasks: (() => void)[] = [];
  const hanging = new Set<ServerResponse>();
  let faults: { readonly fault: OrderedFault; left: number }[] = [];
  let areTasksHeld = false;
  let isConfiguring = false;
  let running: Record<string, JsonObject> = {};
  let declared: Record<string, JsonObject> = {};
  let declarationId = '';

  /** A change of the configuration, which the other one of a pair gets too. */
  function changed(): void {
    for (const listener of listeners) listener(running);
    if (peer?.sync === 'automatic') (peer.box() as BigIpManagement & Synchronised).takeSynchronised(running, declared);
    else if (peer !== undefined) box.syncStatus = 'Changes Pending';
  }

  // AS3

  function declare(declaration: JsonObject, query: URLSearchParams, tenantsInPath: readonly string[], mayLie: boolean): Answer {
    const tenants = Object.entries(declaration).filter((entry): entry is [string, JsonObject] => isTenant(entry[1]) && (tenantsInPath.length === 0 || tenantsInPath.includes(entry[0])));
    if (tenants.length === 0) return { status: 200, body: { results: [{ message: 'no change', host: 'localhost', code: 200 }], declaration: {} } };
    const dryRun = query.get('controls.dryRun') === 'true';
    const results = tenants.map(([tenant, content]) => ({ ...applyTenant(tenant, content, dryRun || mayLie), host: 'localhost', tenant, runTime: 1, declarationId: declaration['id'] }));
    const good = tenants.filter((_, index) => results[index]!.code === 200);
    if (!dryRun) {
      for (const [tenant, content] of good) {
        declared = withTenant(declared, tenant, content);
      }
      declarationId = String(declaration['id']);
      if (!mayLie && results.some(({ message }) => message === 'success')) changed();
    }
    const status = good.length === 0 ? 422 : good.length === tenants.length ? 200 : 207;
    return { status, body: { results, declaration: { ...envelope(), ...Object.fromEntries(good) }, ...(dryRun ? { dryRun: true } : {}), ...(status === 200 ? {} : { code: status }) } };
  }

  function applyTenant(tenant: string, content: JsonObject, isTrial: boolean): { readonly code: number; readonly message: string; readonly response?: string } {
    const isGone = isEmptyTenant(content);
    if (isGone ? !(tenant in running) : sameConfiguration(running[tenant], content)) return { code: 200, message: 'no change' };
    const taken = snatAddressesOf(content).find((address) => address in commonSnatTranslations);
    if (taken !== undefined) return { code: 422, message: 'declaration failed', response: `01020066:3: The requested SNAT Translation (/Common/${taken}) already exists in partition Common: ${commonSnatTranslations[taken]!}.` };
    if (!isTrial) running = withTenant(running, tenant, content);
    return { code: 200, message: 'success' };
  }

  const envelope = (): JsonObject => ({ class: 'ADC', schemaVersion: '3.0.0', id: declarationId, updateMode: 'selective', controls: { archiveTimestamp: new Date(now()).toISOString() } });

  function invalidity(body: unknown): string | undefined {
    if (!isObject(body)) return ': should be object';
    const declaration = declarationOf(body);
    if (declaration?.['class'] !== 'ADC') return `${body['class'] === 'AS3' ? '/declaration' : ''}: should have required property 'class'`;
    const applicationless = Object.entries(declaration).find(([name, tenant]) => isObject(tenant) && name !== 'controls' && tenant['class'] !== 'Tenant');
    return applicationless === undefined ? undefined : `/${applicationless[0]}: should have required property 'class'`;
  }

  /** What is done under AS3's lock, of which there is one. */
  function deploy(query: URLSearchParams, run: () => Answer): Answer {
    if (isConfiguring) return busy;
    if (query.get('async') !== 'true') return run();
    const task: Task = { id: randomUUID(), result: undefined };
    tasks.unshift(task);
    tasks.splice(tasksMax);
    isConfiguring = true;
    const finish = (): void => {
      isConfiguring = false;
      task.result = run();
    };
    if (areTasksHeld) heldTasks.push(finish);
    else setImmediate(finish);
    return { status: 202, body: taskBody(task, 'Declaration successfully submitted') };
  }

  function taskBody({ id, result }: Task, message: string): JsonObject {
    const selfLink = `https://localhost/mgmt/shared/appsvcs/task/${id}`;
    if (result === undefined) return { id, results: [{ message, tenant: '', host: '', runTime: 0, code: 0 }], declaration: {}, selfLink };
    const body = result.body as JsonObject;
    return { id, results: body['results'] ?? [body], declaration: body['declaration'] ?? {}, selfLink };
  }

  function appsvcs({ method, segments, query, body }: Call, mayLie: boolean): Answer {
    const [endpoint, name = ''] = segments.slice(3);
    const tenantsInPath = name.split(',').filter((tenant) => tenant !== '');
    if (endpoint === 'info' && method === 'GET') return { status: 200, body: { version: '3.56.0', release: '10', schemaCurrent: '3.56.0', schemaMinimum: '3.0.0' } };
    if (endpoint === 'task' && method === 'GET') {
      const task = tasks.find(({ id }) => id === name);
      if (name === '') return { status: 200, body: { items: tasks.map((each) => taskBody(each, 'in progress')) } };
      return task === undefined ? { status: 404, body: { message: `No record found with ID of ${name}` } } : { status: 200, body: taskBody(task, 'in progress') };
    }
    if (endpoint !== 'declare') return notFound;
    switch (method) {
      case 'GET': {
        if (Object.keys(declared).length === 0) return tenantsInPath.length === 0 ? { status: 204 } : { status: 404, body: { code: 404, message: 'declaration in specified path not found' } };
        const missing = tenantsInPath.filter((tenant) => !(tenant in declared));
        if (missing.length > 0) return { status: 404, body: { code: 404, message: `specified Tenant(s) '${missing.join(',')}' not found in declaration` } };
        return { status: 200, body: { ...Object.fromEntries(Object.entries(declared).filter(([tenant]) => tenantsInPath.length === 0 || tenantsInPath.includes(tenant))), ...envelope() } };
      }
      case 'POST': {
        const fault = invalidity(body);
        return deploy(query, () => (fault === undefined ? declare(declarationOf(body as JsonObject)!, query, tenantsInPath, mayLie) : { status: 422, body: { code: 422, errors: [fault], declarationFullId: '', message: 'declaration is invalid' } }));
      }
      case 'DELETE':
        return deploy(query, () => {
          const removed = Object.fromEntries((tenantsInPath.length === 0 ? Object.keys(declared) : tenantsInPath).map((tenant) => [tenant, { class: 'Tenant' }]));
          return declare({ ...removed, id: String(now()) }, query, [], mayLie);
        });
      default:
        return notFound;
    }
  }

  // iControl REST

  function dataGroup({ method, segments, query, body }: Call, mayLie: boolean): Answer {
    const path = (segments[5] ?? '').replaceAll('~', '/');
    const [, tenant = '', application = '', name = ''] = path.split('/');
    const group = objectAt(running, tenant, application, name);
    if (group?.['class'] !== 'Data_Group') return { status: 404, body: { code: 404, message: `01020036:3: The requested value list (${path}) was not found.`, errorStack: [], apiError: 3 } };
    const records = (group['records'] as readonly { readonly key: string; readonly value: string }[]).map(({ key, value }): WireRecord => ({ name: key, data: value }));
    const shown = (now: readonly WireRecord[]): Answer => ({ status: 200, body: { kind: 'tm:ltm:data-group:internal:internalstate', name, partition: tenant, subPath: application, fullPath: path, generation: 1, type: 'string', ...(now.length === 0 ? {} : { records: now }) } });
    if (method === 'GET') return shown(records);
    if (method !== 'PATCH') return notFound;
    const option = query.get('options');
    const replaced = isObject(body) && Array.isArray(body['records']) ? (body['records'] as readonly WireRecord[]) : records;
    const changedTo = option === null ? { ok: true as const, records: replaced } : applyRecordOptions(replaced, option);
    if (!changedTo.ok) return { status: 400, body: { code: 400, message: changedTo.message, errorStack: [], apiError: 26_214_401 } };
    if (!mayLie) {
      group['records'] = changedTo.records.map(({ name: key, data }) => ({ key, value: data })).sort((a, b) => (a.key < b.key ? -1 : 1));
      changed();
    }
    return shown(changedTo.records);
  }

  const stats = (name: string, description: string): Answer => ({
    status: 200,
    body: { kind: `tm:cm:${name}:${name}stats`, selfLink: `https://localhost/mgmt/tm/cm/${name}`, entries: { [`https://localhost/mgmt/tm/cm/${name}/0`]: { nestedStats: { entries: { color: { description: 'green' }, status: { description }, summary: { description: ' ' } } } } } },
  });

  // Authentication

  function login(body: unknown): Answer {
    const { username: user, password: secret, loginProviderName } = isObject(body) ? body : {};
    if (user !== username || secret !== password || loginProviderName !== 'tmos') {
      return { status: 401, body: { code: 401, message: 'Authentication failed.', originalRequestBody: JSON.stringify(body), referer: '127.0.0.1', kind: ':resterrorresponse' } };
    }
    for (const [token, { expiresAtMs }] of tokens) if (expiresAtMs <= now()) tokens.delete(token);
    if (tokens.size >= tokensMax) return { status: 400, body: { code: 400, message: `Bad Request: user ${username} has reached maximum active login tokens` } };
    const token = randomUUID().replaceAll('-', '').slice(0, 26).toUpperCase();
    tokens.set(token, { expiresAtMs: now() + tokenLifeMs });
    return { status: 200, body: { username, loginProviderName, token: { token, name: token, userName: username, authProviderName: 'local', timeout: tokenLifeMs / 1_000, address: '127.0.0.1', partition: '[All]', expirationMicros: (now() + tokenLifeMs) * 1_000, kind: 'shared:authz:tokens:authtokenitemstate' }, generation: 0, lastUpdateMicros: 0 } };
  }

  function manageToken({ method, segments, body }: Call): Answer {
    const token = segments[4] ?? '';
    if (!tokens.has(token)) return notFound;
    if (method === 'DELETE') tokens.delete(token);
    else if (method === 'PATCH') {
      const lifeMs = Number(isObject(body) ? body['timeout'] : NaN) * 1_000;
      if (!(lifeMs <= tokenLifeMsMax)) return { status: 406, body: { code: 406, message: `Auth-token absolute timeout (${tokenLifeMsMax / 1_000} seconds) exceeded` } };
      tokens.set(token, { expiresAtMs: now() + lifeMs });
    } else if (method !== 'GET') return notFound;
    return { status: 200, body: { token } };
  }

  function refusalOf({ headers }: IncomingMessage): Answer | undefined {
    const token = headers['x-f5-auth-token'];
    if (typeof token === 'string') {
      const known = tokens.get(token);
      return known !== undefined && known.expiresAtMs > now() ? undefined : { status: 401, body: { code: 401, message: 'X-F5-Auth-Token does not exist.', referer: '127.0.0.1', kind: ':resterrorresponse' } };
    }
    const expected = Buffer.from(`Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`);
    const shown = Buffer.from(headers.authorization ?? '');
    return shown.length === expected.length && timingSafeEqual(shown, expected) ? undefined : { status: 401, body: { code: 401, message: 'Authorization failed: no user authentication header or token detected.', kind: ':resterrorresponse' } };
  }

  function answer(call: Call, request: IncomingMessage, misbehaviour: Misbehaviour | undefined): Answer {
    const { method, path, body } = call;
    if (misbehaviour === 'busy') return busy;
    if (misbehaviour === 'unauthorized') tokens.clear();
    if (method === 'POST' && path === '/mgmt/shared/authn/login') return login(body);
    const refusal = refusalOf(request);
    if (refusal !== undefined) return refusal;
    if (path.startsWith('/mgmt/shared/authz/tokens/')) return manageToken(call);
    if (path.startsWith('/mgmt/shared/appsvcs/')) return appsvcs(call, misbehaviour === 'lie');
    if (path.startsWith('/mgmt/tm/ltm/data-group/internal/')) return dataGroup(call, misbehaviour === 'lie');
    if (path === '/mgmt/tm/cm/sync-status' && method === 'GET') return stats('sync-status', box.syncStatus);
    if (path === '/mgmt/tm/cm/failover-status' && method === 'GET') return stats('failover-status', box.failoverStatus);
    return notFound;
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    const sent = Buffer.concat(pieces);
    const url = new URL(request.url ?? '/', 'https://box.test');
    const path = decodeURIComponent(url.pathname);
    const headBytes = `${request.method} ${request.url} HTTP/1.1\r\n\r\n`.length + request.rawHeaders.reduce((sum, text) => sum + text.length + 2, 0);
    const call: Call = { method: request.method ?? '', path, segments: path.split('/').slice(1), query: url.searchParams, body: sent.length === 0 ? undefined : JSON.parse(sent.toString()) };
    requests.push({ method: call.method, path: `${path}${url.search === '' ? '' : `?${decodeURIComponent(url.search.slice(1))}`}`, bytes: headBytes + sent.length, body: call.body, token: request.headers['x-f5-auth-token'] as string | undefined });
    const ordered = faults.find(({ fault, left }) => left > 0 && (fault.method ?? call.method) === call.method && (fault.path ?? /^/).test(path));
    if (ordered !== undefined) ordered.left -= 1;
    const misbehaviour = ordered?.fault.with;
    switch (misbehaviour) {
      case 'html':
        response.writeHead(200, { 'content-type': 'text/html' }).end('<html><head><title>BIG-IP&reg;- Redirect</title></head><body>Please log in</body></html>');
        return;
      case 'half':
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 4_096 });
        response.write('{"results":[{"code":200,"mess', () => response.destroy());
        return;
      case 'hang':
        hanging.add(response);
        return;
      default: {
        const { status, body } = answer(call, request, misbehaviour);
        response.writeHead(status, { 'content-type': 'application/json; charset=UTF-8' }).end(body === undefined ? undefined : JSON.stringify(body));
      }
    }
  }

  const server = createServer({ key: certificate.privateKeyPem, cert: certificate.certificateChainPem }, (request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));

  const box: BigIpManagement & Synchronised = {
    port: (server.address() as AddressInfo).port,
    caPem: pki.rootPem,
    requests,
    get running() {
      return running;
    },
    get declared() {
      return declared;
    },
    onChange: (listener) => void listeners.add(listener),
    editByHand(edit) {
      edit(running);
      changed();
    },
    order: (fault) => void faults.push({ fault, left: fault.times ?? Infinity }),
    mend() {
      faults = [];
      for (const response of hanging) response.destroy();
      hanging.clear();
    },
    holdTasks() {
      areTasksHeld = true;
    },
    releaseTasks() {
      areTasksHeld = false;
      for (const finish of heldTasks.splice(0)) finish();
    },
    failoverStatus: 'ACTIVE',
    syncStatus: peer === undefined ? 'Standalone' : 'In Sync',
    takeSynchronised(others, othersDeclared) {
      running = structuredClone(others);
      declared = structuredClone(othersDeclared);
      for (const listener of listeners) listener(running);
    },
    async close() {
      box.mend();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return box;
}

interface Synchronised {
  takeSynchronised(running: Record<string, JsonObject>, declared: Record<string, JsonObject>): void;
}

interface Call {
  readonly method: string;
  readonly path: string;
  readonly segments: readonly string[];
  readonly query: URLSearchParams;
  readonly body: unknown;
}

const busy: Answer = { status: 503, body: { code: 503, message: 'Error: Configuration operation in progress on device localhost, please try again in 2 minutes' } };
const notFound: Answer = { status: 404, body: { code: 404, message: 'Public URI path not registered', kind: ':resterrorresponse' } };

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const isTenant = (value: unknown): value is JsonObject => isObject(value) && value['class'] === 'Tenant';
/** AS3 takes one without an application for an order to remove it. */
const isEmptyTenant = (tenant: JsonObject): boolean => !Object.values(tenant).some(isObject);

function withTenant(tenants: RunningTenants, tenant: string, content: JsonObject): Record<string, JsonObject> {
  const { [tenant]: _before, ...others } = tenants;
  return isEmptyTenant(content) ? others : { ...others, [tenant]: structuredClone(content) };
}

const declarationOf = (body: JsonObject): JsonObject | undefined => (body['class'] === 'AS3' ? (body['declaration'] as JsonObject | undefined) : body);

function objectAt(running: Readonly<Record<string, JsonObject>>, tenant: string, application: string, name: string): JsonObject | undefined {
  const found = running[tenant]?.[application];
  const object = isObject(found) ? found[name] : undefined;
  return isObject(object) ? object : undefined;
}

const objectsOf = (tenant: JsonObject): readonly JsonObject[] => Object.values(tenant).filter(isObject).flatMap((application) => Object.values(application).filter(isObject));

function snatAddressesOf(tenant: JsonObject): readonly string[] {
  return objectsOf(tenant).filter((object) => object['class'] === 'SNAT_Pool').flatMap((object) => object['snatAddresses'] as readonly string[]);
}

/** What the box would do of both is the same: labels and remarks are words, and records of a data group have no order. */
function sameConfiguration(a: JsonObject | undefined, b: JsonObject): boolean {
  return a !== undefined && isDeepStrictEqual(normalised(a), normalised(b));
}

function normalised(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normalised);
  if (!isObject(value)) return value;
  const { label: _label, remark: _remark, ...fields } = value;
  const records = fields['class'] === 'Data_Group' ? { records: (fields['records'] as readonly { readonly key: string }[]).toSorted((x, y) => (x.key < y.key ? -1 : 1)) } : {};
  return Object.fromEntries(Object.entries({ ...fields, ...records }).map(([name, field]) => [name, normalised(field)]));
}
