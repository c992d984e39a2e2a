/** Names of objects at a firewall: the same for the same thing, told apart also where they are too long or hold what a box does not take. */
import { hash } from 'node:crypto';
import { byText } from '../../core/order.ts';
import { describePorts, type AllowedFlow } from './allow-list.ts';

/** What PAN-OS and FortiOS take in a name, and ASA too. */
const lengthMax = 63;
const prefix = 'sallyport-';
const hashCharacters = 12;

export function objectName(what: string): string {
  const name = prefix + what.replaceAll(/[^A-Za-z0-9._-]/g, '-');
  if (name === prefix + what && name.length <= lengthMax) return name;
  return `${name.slice(0, lengthMax - hashCharacters - 1)}-${shortHash(what)}`;
}

export const shortHash = (text: string): string => hash('sha256', text).slice(0, hashCharacters);

/** Of the service object that says a flow's transport and ports. */
export function serviceName({ transport, source, destination }: AllowedFlow): string {
  return objectName(`${transport}-${describePorts(destination.ports)}-from-${describePorts(source.ports)}`);
}

/** The service objects that flows need, by name. */
export function servicesOf(flows: readonly AllowedFlow[]): readonly (readonly [name: string, flow: AllowedFlow])[] {
  return [...new Map(flows.map((flow) => [serviceName(flow), flow]))].sort(([a], [b]) => byText(a, b));
}
