/** The names of a cluster's Services, as its DNS has them: dnsmasq reads them from a file that is kept. */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import type { ApiClient } from '../../../src/kubernetes/client.ts';
import type { ApiObject } from '../../../src/kubernetes/watch/reflection.ts';
import { reflect } from '../../../src/kubernetes/watch/reflect.ts';

interface Service extends ApiObject {
  readonly spec: { readonly clusterIP?: string };
}

/**
 * Follows the Services until what it gives is called.
 *
 * @param directory for `--hostsdir`
 */
export function followServices(client: ApiClient, directory: string, clusterDomain: string): () => void {
  const write = (services: Iterable<Service>): void => {
    const lines = [...services].map(({ metadata: { name, namespace = '' }, spec: { clusterIP = 'None' } }) => (clusterIP === 'None' ? '' : `${clusterIP} ${name}.${namespace}.svc.${clusterDomain}\n`));
    const partial = join(directory, '.services'); // dnsmasq passes over such names
    writeFileSync(partial, lines.join(''));
    renameSync(partial, join(directory, 'services'));
  };
  const services = reflect<Service>({ client, resource: { group: '', version: 'v1', plural: 'services' }, onChange: () => write(services.objects.values()), random: Math.random, log: pino({ level: 'silent' }) });
  return () => services.close();
}
