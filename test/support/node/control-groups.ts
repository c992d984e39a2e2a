/** Control groups of cgroup v1, for the containers of a node: below one of its own in every tree, so that they are found and removed together. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const mounted = '/sys/fs/cgroup';

/** What a kubelet asks for. */
const needed = ['cpu', 'cpuacct', 'cpuset', 'memory', 'pids'];

export function canMakeControlGroups(): boolean {
  return process.getuid?.() === 0 && needed.every((controller) => existsSync(join(mounted, controller, 'tasks')));
}

/** @param name of the group: the kubelet's cgroup root is `/NAME` */
export function makeControlGroup(name: string): void {
  for (const tree of trees()) mkdirSync(join(tree, name), { recursive: true });
  for (const set of ['cpuset.cpus', 'cpuset.mems']) writeFileSync(join(mounted, 'cpuset', name, set), readFileSync(join(mounted, 'cpuset', set))); // nothing runs in one that has none
}

/** With all that is below it. False where a process is still in it, or is about to end. */
export function removeControlGroup(name: string): boolean {
  return trees().map((tree) => remove(join(tree, name))).every(Boolean);
}

/** A controller may be found by two names, of which one is a link. */
const trees = (): readonly string[] => readdirSync(mounted).map((tree) => join(mounted, tree)).filter((tree) => existsSync(join(tree, 'cgroup.procs')));

function remove(group: string): boolean {
  if (!existsSync(group)) return true;
  const isEmpty = readdirSync(group, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name: child }) => remove(join(group, child))).every(Boolean);
  if (!isEmpty) return false;
  try {
    rmdirSync(group);
    return true;
  } catch {
    return false;
  }
}
