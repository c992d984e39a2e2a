/**
 * Runs tasks, at most so many in a turn of the event loop: at once while there are fewer, the others in the turns that follow,
 * in their order. A task that waits already is not taken twice.
 *
 * For what a great many streams are to do at once. What each of them makes is then mostly gone before the young generation is
 * full, rather than kept because all the others have their own; and acknowledgements, new clients and whatever else the process
 * does come in between.
 */
export function createTurnQueue(tasksPerTurnMax: number): (task: () => void) => void {
  const waiting = new Set<() => void>();
  let left = tasksPerTurnMax;

  function run(task: () => void): void {
    if (left === tasksPerTurnMax) setImmediate(beginTurn);
    left -= 1;
    task();
  }

  function beginTurn(): void {
    left = tasksPerTurnMax;
    for (const task of waiting) {
      if (left === 0) return;
      waiting.delete(task);
      run(task);
    }
  }

  return (task) => {
    if (left > 0 && waiting.size === 0) run(task);
    else waiting.add(task);
  };
}
