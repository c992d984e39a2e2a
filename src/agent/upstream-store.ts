import { join } from 'node:path';
import { SallyportError } from '../core/errors.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { readFileSet, replaceFileSet } from '../identity/index.ts';

/** Resources as they came: name to version and encoded value. */
export type HeldUpstreams = ReadonlyMap<string, { readonly version: string; readonly value: Uint8Array }>;

/** Where the last upstreams outlive the process, so that an agent can start while the control plane is away. */
export interface UpstreamStore {
  /** What was saved for this identity; empty for nothing, and for what cannot be read: the control plane knows it better. */
  load(spiffeId: SpiffeId): Promise<HeldUpstreams>;
  /** Throws what the file system throws. */
  save(spiffeId: SpiffeId, upstreams: HeldUpstreams): Promise<void>;
}

const fileName = 'upstreams.json';

interface Saved {
  readonly spiffeId: string;
  readonly upstreams: readonly { readonly name: string; readonly version: string; readonly value: string }[];
}

/** In the directory `upstreams` of the agent's state directory. */
export function createUpstreamStore(stateDirectory: string, onFault: (error: SallyportError) => void): UpstreamStore {
  const directory = join(stateDirectory, 'upstreams');
  return {
    async load(spiffeId) {
      try {
        const files = await readFileSet(directory, [fileName]);
        if (files === undefined) return new Map();
        const saved = JSON.parse(files[fileName]) as Saved; // written by us, into a directory of our own
        if (saved.spiffeId !== spiffeId) return new Map();
        return new Map(saved.upstreams.map(({ name, version, value }) => [name, { version, value: Buffer.from(value, 'base64') }]));
      } catch (error) {
        onFault(new SallyportError('file-unreadable', `upstreams in "${directory}" cannot be read`, { place: directory, cause: error }));
        return new Map();
      }
    },
    async save(spiffeId, upstreams) {
      const saved: Saved = { spiffeId, upstreams: [...upstreams].map(([name, { version, value }]) => ({ name, version, value: Buffer.from(value).toString('base64') })) };
      await replaceFileSet(directory, { [fileName]: JSON.stringify(saved) });
    },
  };
}
