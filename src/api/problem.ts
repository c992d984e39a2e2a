/** RFC 9457 problem details: how a SallyportError crosses HTTP. Both directions stand here, so that they agree. */
import { errorCodes, SallyportError, type ErrorCode } from '../core/errors.ts';
import type { Problem } from './admin.ts';

export const problemContentType = 'application/problem+json';

/** What a caller is told. The cause stays in the log; an error that is not ours says nothing but that it happened. */
export function problemOf(error: unknown): Problem {
  const known = error instanceof SallyportError ? error : new SallyportError('internal', 'internal error', { hint: 'the log of the control plane has the cause' });
  return {
    type: `https://sallyport.dev/errors/${known.code}`,
    title: known.message,
    status: known.meaning.http,
    code: known.code,
    ...(known.place === undefined ? {} : { place: known.place }),
    ...(known.value === undefined ? {} : { value: known.value }),
    ...(known.hint === undefined ? {} : { hint: known.hint }),
    ...(known.faults.length === 0 ? {} : { faults: known.faults }),
  };
}

/** The error behind a problem, at the caller. `body` is whatever the peer sent with a status that is not 2xx. */
export function errorOfProblem(status: number, body: unknown): SallyportError {
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Partial<Problem>;
  if (problem.code === undefined || !Object.hasOwn(errorCodes, problem.code)) {
    return new SallyportError('unavailable', `the server answered with status ${status} and no problem of ours`, { hint: 'check that the address is that of a Sallyport control plane' });
  }
  return new SallyportError(problem.code satisfies ErrorCode, problem.title ?? problem.code, {
    ...(problem.place === undefined ? {} : { place: problem.place }),
    ...(problem.value === undefined ? {} : { value: problem.value }),
    ...(problem.hint === undefined ? {} : { hint: problem.hint }),
    ...(problem.faults === undefined ? {} : { faults: problem.faults }),
  });
}
