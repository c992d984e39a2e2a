/**
 * Names of objects on a BIG-IP: the same for the same thing, within the rules of AS3, and told apart also where they are too long.
 *
 * Source: `propertyNames` of the class Application in the AS3 schema (a letter first, no hyphen last), of which we take the 63 characters
 * that every interface of a BIG-IP shows whole.
 */
import { hash } from 'node:crypto';
import { byText } from '../../core/order.ts';
import type { Endpoint, ServicePort, ServicePortId, SnatSource } from '../../core/plan/plan.ts';
import { sidesOf } from '../../core/snat/snat-source.ts';

/** The application of a tenant that holds everything: what changes together stands together. */
export const application = 'shared';

/** What there is once in the application. */
export const fixedNames = {
  certificate: 'certificate',
  caBundle: 'ca',
  clientSsl: 'client-ssl',
  cipherGroup: 'ciphers',
  cipherRule: 'cipher-rule',
  tcpProfile: 'tcp',
  ftpProfile: 'ftp',
  monitor: 'connects',
  iRule: 'sallyport',
  ftpRule: 'sallyport-ftp',
  logPublisher: 'log',
  logDestination: 'log-stream',
  logPool: 'log-receivers',
  services: 'services',
  grants: 'grants',
  revoked: 'revoked',
  settings: 'settings',
} as const;

const lengthMax = 63;
/** 80 bits: whoever may name a service cannot look for one whose name falls together with another's. */
const hashCharacters = 20;
const allowed = /^[A-Za-z](?:[0-9A-Za-z_.-]*[0-9A-Za-z_.])?$/;

/**
 * Parts joined by `_`, which no name of Kubernetes has; shortened, they end in `__` and a hash, which no name has that is whole.
 * What a BIG-IP would not take in a part becomes a hyphen.
 */
export function objectName(...parts: readonly string[]): string {
  const whole = parts.join('_');
  if (whole.length <= lengthMax && allowed.test(whole)) return whole;
  const kept = whole.replaceAll(/[^0-9A-Za-z_.-]/g, '-').slice(0, lengthMax - hashCharacters - 2);
  return `${kept}__${hash('sha256', whole).slice(0, hashCharacters)}`;
}

/** Of the servers of a service port. */
export const poolName = ({ service, portName }: Pick<ServicePort, 'service' | 'portName'>): string => objectName('pool', service.namespace, service.name, portName);
/** Of the virtual server at an endpoint, the gateway's or a service port's own. */
export const virtualServerName = ({ address, port }: Endpoint): string => objectName('vs', inName(address), String(port));
/** Of what leaves from a source. */
export const snatPoolName = (source: SnatSource): string => objectName('snat', ...sidesOf(source).map(({ address }) => inName(address)));
/** Of a source address and the limit of its connections. */
export const snatTranslationName = (address: string): string => objectName('address', inName(address));

/** A hyphen last, of an address that ends in `::`, is left to `objectName`. */
const inName = (address: string): string => address.replaceAll(':', '-');

/** As iRules, tmsh and the REST API name an object. */
export const pathOf = (partition: string, name: string): string => `/${partition}/${application}/${name}`;

/** The key of a listener in the data group `services`: no brackets about an address, which `IP::local_addr` does not write either. */
export const listenerKey = ({ address, port }: Endpoint): string => `listener:${address}:${port}`;

/** Whoever shares the name with another: to which of them it belongs nobody could tell. Sorted. */
export function namesakes(servicePorts: readonly ServicePort[], nameOf: (servicePort: ServicePort) => string = poolName): readonly (readonly ServicePortId[])[] {
  return [...Map.groupBy(servicePorts, nameOf).values()].map((group) => group.map(({ id }) => id).sort(byText)).filter(({ length }) => length > 1);
}
