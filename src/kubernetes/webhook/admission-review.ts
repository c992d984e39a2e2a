/**
 * What an API server asks an admission webhook, and what it is answered.
 *
 * https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request
 */
import * as z from 'zod';
import { SallyportError } from '../../core/errors.ts';
import type { JsonPatch } from './injection.ts';

const apiVersion = 'admission.k8s.io/v1';
const kind = 'AdmissionReview';

const object = z.record(z.string(), z.unknown()).nullish();
const admissionReview = z.object({
  apiVersion: z.literal(apiVersion),
  kind: z.literal(kind),
  request: z.object({
    uid: z.string().min(1).max(256),
    kind: z.object({ group: z.string(), version: z.string(), kind: z.string() }),
    /** Empty where the API server is yet to make one up. */
    name: z.string().default(''),
    /** Empty for what is in no namespace. */
    namespace: z.string().default(''),
    operation: z.enum(['CREATE', 'UPDATE', 'DELETE', 'CONNECT']),
    object,
    oldObject: object,
  }),
});

/** The part that is looked at. Whether it is a dry run is not: nothing is changed here in any case. */
export type AdmissionRequest = z.output<typeof admissionReview>['request'];

export type AdmissionAnswer =
  | { readonly allowed: true; readonly patch?: JsonPatch; readonly warnings: readonly string[] }
  | { readonly allowed: false; readonly status: Refusal; readonly warnings: readonly string[] };

/** The part of a `metav1.Status` that the API server passes on to whoever has asked. */
export interface Refusal {
  readonly code: number;
  /** One of Kubernetes' own words, https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1#StatusReason */
  readonly reason: string;
  readonly message: string;
}

/** Throws `request-invalid`. */
export function readAdmissionReview(text: string): AdmissionRequest {
  try {
    return admissionReview.parse(JSON.parse(text)).request;
  } catch (cause) {
    throw new SallyportError('request-invalid', `the request is no ${kind} of ${apiVersion}`, { cause });
  }
}

export function writeAdmissionReview(uid: string, answer: AdmissionAnswer): string {
  const { allowed, warnings } = answer;
  const detail = !answer.allowed ? { status: answer.status } : answer.patch === undefined ? {} : { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(answer.patch)).toString('base64') };
  return JSON.stringify({ apiVersion, kind, response: { uid, allowed, ...detail, ...(warnings.length === 0 ? {} : { warnings }) } });
}
