/** The table as it came, resource by resource: what is acknowledged, kept on disk, and told to a control plane that comes back. */
import { join } from 'node:path';
import { decodeGatewaySettings, decodeRevocationList, decodeServicePort } from '../api/table-codec.ts';
import { typeUrls } from '../api/type-urls.ts';
import { SallyportError } from '../core/errors.ts';
import type { Revision, ServicePortId } from '../core/plan/plan.ts';
import { readFileSet, replaceFileSet } from '../identity/index.ts';
import type { DeltaUpdate } from '../xds/index.ts';
import type { TableChange } from './table.ts';

/** The types that make up a table. */
export const tableTypes = [typeUrls.gatewaySettings, typeUrls.revocationList, typeUrls.servicePort] as const;

interface HeldResource {
  readonly version: string;
  readonly value: Uint8Array;
}

/** By type URL, then by name. A type is absent until the control plane has answered for it. */
export interface HeldTable {
  readonly revision: Revision;
  readonly types: ReadonlyMap<string, ReadonlyMap<string, HeldResource>>;
}

export const emptyTable: HeldTable = { revision: '' as Revision, types: new Map() };

/** Whether the control plane has answered for every type: only then is it known what is *not* allowed. */
export const isComplete = ({ types }: HeldTable): boolean => tableTypes.every((typeUrl) => types.has(typeUrl)) && types.get(typeUrls.gatewaySettings)!.size > 0;

/** Takes a response into the table. Throws SallyportError `request-invalid`, naming the resource, for one that cannot be read; then nothing has changed. */
export function holdUpdate(table: HeldTable, update: DeltaUpdate): { readonly table: HeldTable; readonly change: TableChange } {
  const resources = new Map(table.types.get(update.typeUrl));
  for (const name of update.removed) resources.delete(name);
  for (const { name, version, value } of update.changed) resources.set(name, { version, value });
  const revision = update.systemVersion as Revision;
  const held = { revision, types: new Map(table.types).set(update.typeUrl, resources) };
  return { table: held, change: { revision, ...readChange(update.typeUrl, update.changed, update.removed) } };
}

/** The whole table as one change, for a data plane that has none. */
export function wholeTable({ revision, types }: HeldTable): TableChange {
  const changes = [...types].map(([typeUrl, resources]) => readChange(typeUrl, [...resources].map(([name, { value }]) => ({ name, value })), []));
  return Object.assign({ revision }, ...changes) as TableChange;
}

function readChange(typeUrl: string, changed: readonly { readonly name: string; readonly value: Uint8Array }[], removed: readonly string[]): Omit<TableChange, 'revision'> {
  switch (typeUrl) {
    case typeUrls.gatewaySettings: {
      // Settings that are removed (the gateway's object is deleted) stay: the service ports, which go with them, say that nothing is allowed.
      const [settings] = changed.map((resource) => read(resource, decodeGatewaySettings));
      return settings === undefined ? {} : { settings };
    }
    case typeUrls.revocationList:
      return { revokedSerialNumbers: changed.flatMap((resource) => read(resource, decodeRevocationList)) };
    case typeUrls.servicePort: {
      const servicePorts = changed.map((resource) => {
        const servicePort = read(resource, decodeServicePort);
        if (servicePort.id !== resource.name) throw new SallyportError('request-invalid', `resource ${JSON.stringify(resource.name)} holds service port "${servicePort.id}"`);
        return servicePort;
      });
      return { servicePorts, removed: removed as readonly ServicePortId[] };
    }
    default:
      return {};
  }
}

function read<Value>({ name, value }: { readonly name: string; readonly value: Uint8Array }, decode: (bytes: Uint8Array) => Value): Value {
  try {
    return decode(value);
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    throw new SallyportError(error.code, `resource ${JSON.stringify(name)}: ${error.message}`, { cause: error });
  }
}

export interface TableStore {
  /** Undefined where there is none. Throws SallyportError `file-unreadable` for one that cannot be read. */
  load(): Promise<HeldTable | undefined>;
  /** Durable when it resolves. */
  save(table: HeldTable): Promise<void>;
}

const fileName = 'table.json';

interface Saved {
  readonly revision: string;
  readonly types: Readonly<Record<string, Readonly<Record<string, { readonly version: string; readonly value: string }>>>>;
}

/** In `directory`, 0600, replaced as a whole. */
export function createTableStore(directory: string): TableStore {
  return {
    async load() {
      const files = await readFileSet(directory, [fileName]);
      if (files === undefined) return undefined;
      try {
        const { revision, types } = JSON.parse(files[fileName]) as Saved; // written by us, into a directory of our own
        const table: HeldTable = {
          revision: revision as Revision,
          types: new Map(Object.entries(types).map(([typeUrl, resources]) => [typeUrl, new Map(Object.entries(resources).map(([name, { version, value }]) => [name, { version, value: Buffer.from(value, 'base64') }]))])),
        };
        wholeTable(table); // whatever cannot be read shall be known now
        return table;
      } catch (cause) {
        throw new SallyportError('file-unreadable', `the table in ${JSON.stringify(directory)} cannot be read`, { place: join(directory, fileName), cause });
      }
    },
    async save({ revision, types }) {
      const saved: Saved = {
        revision,
        types: Object.fromEntries([...types].map(([typeUrl, resources]) => [typeUrl, Object.fromEntries([...resources].map(([name, { version, value }]) => [name, { version, value: Buffer.from(value).toString('base64') }]))])),
      };
      await replaceFileSet(directory, { [fileName]: JSON.stringify(saved) });
    },
  };
}
