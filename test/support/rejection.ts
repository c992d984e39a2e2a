import assert from 'node:assert/strict';
import { SallyportError } from '../../src/core/errors.ts';

/** The SallyportError that the promise rejects with; fails where it resolves, or rejects with anything else. */
export async function rejection(promise: Promise<unknown>): Promise<SallyportError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof SallyportError, String(error));
    return error;
  }
  return assert.fail('was not refused');
}
