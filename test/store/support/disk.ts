import { openDurableFile, type OpenDurableFile } from '../../../src/store/durable-file.ts';

export interface FaultyDisk {
  readonly openFile: OpenDurableFile;
  /** From now on every write fails with this code, after `bytes` of it have reached the file. */
  readonly fail: (code: string, bytes?: number) => void;
}

/** A disk that works until it is told not to. */
export function faultyDisk(): FaultyDisk {
  let fault: { readonly code: string; readonly bytes: number } | undefined;
  return {
    fail: (code, bytes = 0) => (fault = { code, bytes }),
    openFile: async (path, bytes) => {
      const file = await openDurableFile(path, bytes);
      let durable = bytes;
      return {
        get bytes() {
          return durable;
        },
        append: async (content) => {
          await file.append(content.subarray(0, fault?.bytes));
          if (fault !== undefined) throw Object.assign(new Error('write failed'), { code: fault.code });
          durable += content.length;
        },
        close: () => file.close(),
      };
    },
  };
}

export interface SlowDisk {
  readonly openFile: OpenDurableFile;
  /** How many lines each append brought, in order. */
  readonly groups: number[];
  /** Lets appends go on, which wait until then. */
  readonly release: () => void;
}

/** A disk on which every append waits for `release`. */
export function slowDisk(): SlowDisk {
  const groups: number[] = [];
  const released = Promise.withResolvers<undefined>();
  return {
    groups,
    release: () => released.resolve(undefined),
    openFile: async (path, bytes) => {
      const file = await openDurableFile(path, bytes);
      return {
        get bytes() {
          return file.bytes;
        },
        append: async (content) => {
          groups.push(content.toString().split('\n').length - 1);
          await released.promise;
          await file.append(content);
        },
        close: () => file.close(),
      };
    },
  };
}
