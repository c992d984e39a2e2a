/** What a firewall behind the gateways has to let through, rendered from the plan: pure. */
export { allowList, describeEnd, describeNeeds, flowKey, type AllowedFlow, type AllowList, type Need } from './allow-list.ts';
export { differenceOf, type AllowListDifference } from './difference.ts';
export { firewallFormats, renderFirewall, type FirewallFormat } from './formats.ts';
