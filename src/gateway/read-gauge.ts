import { Gauge, type Registry } from 'prom-client';

/** A gauge that is read when it is asked for. */
export function registerReadGauge(registry: Registry, name: string, help: string, source: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(source());
    },
  });
}
