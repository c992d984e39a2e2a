/** Lists of any length, page by page. */
import { SallyportError } from '../../core/errors.ts';
import type { Query } from '../client.ts';
import type { Asker } from './asking.ts';

interface Page<Item> {
  readonly items: readonly Item[];
  readonly metadata: { readonly continue?: string };
}

const pageItems = 500;

/** `isOptional`: of a resource that the API server does not have there is nothing; it first asks for the right. */
export async function listAll<Item>(ask: Asker['ask'], path: string, { query = {}, isOptional = false }: { readonly query?: Query; readonly isOptional?: boolean } = {}): Promise<readonly Item[]> {
  const items: Item[] = [];
  try {
    let next: string | undefined;
    do {
      const page: Page<Item> = await ask({ method: 'GET', path, query: { ...query, limit: pageItems, continue: next } });
      items.push(...page.items);
      next = page.metadata.continue === '' ? undefined : page.metadata.continue;
    } while (next !== undefined);
  } catch (error) {
    if (!(isOptional && error instanceof SallyportError && ['not-found', 'cluster-forbidden'].includes(error.code))) throw error;
  }
  return items;
}
