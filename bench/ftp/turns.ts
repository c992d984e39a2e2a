/** Several ways to the same place, measured in turns within one run, and the table of it. */
import { loadavg } from 'node:os';
import { quantile } from '../large-world.ts';

/** Row, then way, then one value a round. */
export type Figures<Way extends string> = Map<string, Partial<Record<Way, number[]>>>;
export type Note = (figure: string, value: number) => void;

export interface Turns<Way extends string, Place> {
  readonly rounds: number;
  readonly places: Partial<Readonly<Record<Way, Place>>>;
  readonly measure: (place: Place, note: Note) => Promise<void>;
}

/** The first round is to warm up; every other one goes the other way round. */
export async function inTurns<Way extends string, Place>(figures: Figures<Way>, { rounds, places, measure }: Turns<Way, Place>): Promise<void> {
  const ways = Object.entries(places) as [Way, Place][];
  for (let round = -1; round < rounds; round += 1) {
    for (const [way, place] of round % 2 === 0 ? ways : ways.toReversed()) {
      await measure(place, (figure, value) => {
        if (round < 0) return;
        const row = figures.get(figure) ?? figures.set(figure, {}).get(figure)!;
        (row[way] ??= []).push(value);
      });
    }
  }
}

/** Medians, and what the last way is of each other one. */
export function print<Way extends string>(figures: Figures<Way>, ways: readonly Way[], rounds: number): void {
  console.log(`medians of ${rounds} rounds; load average ${loadavg()[0]!.toFixed(1)}; node ${process.version}\n`);
  const shown = (value: number): string => (Number.isNaN(value) ? '-' : value >= 100 ? value.toFixed(0) : value.toFixed(2));
  const others = ways.slice(0, -1);
  console.log(['figure'.padEnd(34), ...ways.map((way) => way.padStart(10)), ...others.map((way) => `of ${way}`.padStart(10))].join('  '));
  for (const [figure, row] of figures) {
    const medians = ways.map((way) => (row[way] === undefined ? NaN : quantile(row[way], 0.5)));
    const last = medians.at(-1)!;
    console.log([figure.padEnd(34), ...[...medians, ...others.map((_way, index) => last / medians[index]!)].map((value) => shown(value).padStart(10))].join('  '));
  }
}
