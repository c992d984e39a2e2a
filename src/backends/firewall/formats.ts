import type { AllowList } from './allow-list.ts';
import { renderCiscoAsa } from './cisco-asa.ts';
import { renderCsv } from './csv.ts';
import { renderFortiOs } from './forti-os.ts';
import { renderNftables } from './nftables.ts';
import { renderPanOs } from './pan-os.ts';

/** What firewalls, and their owners, read. */
const renderers = { csv: renderCsv, nftables: renderNftables, 'cisco-asa': renderCiscoAsa, 'pan-os': renderPanOs, 'forti-os': renderFortiOs } as const satisfies Readonly<Record<string, (list: AllowList) => string>>;

export type FirewallFormat = keyof typeof renderers;
export const firewallFormats = Object.keys(renderers) as readonly FirewallFormat[];

export const renderFirewall = (format: FirewallFormat, list: AllowList): string => renderers[format](list);
