/**
 * What answers of a BIG-IP mean. Pure. Only who speaks the API says something: a page of a proxy, or of a login, does not.
 *
 * Sources: AS3's `docs/openapi.yaml` (F5Networks/f5-appsvcs-extension 3.56): results by tenant with `code`, which is 0 until a tenant is done; 422
 * with `errors`; 503 while another configuration operation is under way. /mgmt/tm/cm: f5-common-python, `f5.multi_device`.
 */
import { printable } from '../../core/printable.ts';
import { isObject, type JsonObject } from './tenant.ts';

export interface BoxAnswer {
  readonly status: number;
  /** Undefined where there is none. */
  readonly body: unknown;
}

export type As3Verdict =
  /** `isSame`: the box was so already. */
  | { readonly kind: 'done'; readonly isSame: boolean }
  /** It is being worked on; ask for `task` again. */
  | { readonly kind: 'under-way'; readonly task: string }
  /** Nothing was done, for something else is. */
  | { readonly kind: 'busy'; readonly message: string }
  /** For what it is: it would not have it another time either, unless somebody changes the box. */
  | { readonly kind: 'refused'; readonly message: string }
  /** Whatever it means, it is no yes. */
  | { readonly kind: 'unclear'; readonly message: string };

/** Of a declaration for a tenant, or of the task that it has become. */
export function judgeDeclaration({ status, body }: BoxAnswer, tenant: string): As3Verdict {
  if (status === 503) return { kind: 'busy', message: wordsOf(status, body) };
  const results = isObject(body) && Array.isArray(body['results']) ? body['results'].filter(isObject) : undefined;
  if (results === undefined) return { kind: status === 422 ? 'refused' : 'unclear', message: wordsOf(status, body) };
  // A task of which nothing is known yet names no tenant; nor does one that was refused as a whole.
  const ours = results.find((result) => result['tenant'] === tenant) ?? (results.length === 1 ? results[0] : undefined);
  if (ours === undefined) return { kind: 'unclear', message: 'the answer says nothing of the tenant' };
  const code = ours['code'];
  if (code === 0 && isObject(body) && typeof body['id'] === 'string') return { kind: 'under-way', task: body['id'] };
  if (code === 200) {
    if (ours['message'] === 'no change' || ours['message'] === 'success') return { kind: 'done', isSame: ours['message'] === 'no change' };
    return { kind: 'unclear', message: wordsOf(200, ours) };
  }
  if (code === 503) return { kind: 'busy', message: wordsOf(503, ours) };
  return { kind: code === 422 ? 'refused' : 'unclear', message: wordsOf(typeof code === 'number' ? code : status, ours) };
}

/** `status` of `sync-status` or `failover-status`; undefined where the answer is none of those. */
export function statusIn({ body }: BoxAnswer): string | undefined {
  const entries = fieldOf(body, 'entries');
  const status = fieldOf(fieldOf(fieldOf(isObject(entries) ? Object.values(entries)[0] : undefined, 'nestedStats'), 'entries'), 'status');
  const description = fieldOf(status, 'description');
  return typeof description === 'string' ? description : undefined;
}

const fieldOf = (value: unknown, name: string): unknown => (isObject(value) ? value[name] : undefined);

const wordsCharsMax = 500;

/** What it says itself, fit for a line of the log and of the status, and without what may be secret. */
export function wordsOf(status: number, body: unknown): string {
  const { message, response, errors }: JsonObject = isObject(body) ? body : {};
  const said = [message, response, ...(Array.isArray(errors) ? (errors as readonly unknown[]) : [])].filter((text) => typeof text === 'string' && text !== '');
  return `answer ${status}${said.length === 0 ? '' : `: ${printable(withoutPem(said.join('; ')).slice(0, wordsCharsMax))}`}`;
}

const withoutPem = (text: string): string => text.replaceAll(/-----BEGIN[^]*?(-----END [A-Z ]+-----|$)/g, '(PEM)');
