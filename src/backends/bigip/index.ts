/**
 * The plan as a BIG-IP enforces it: pure renderers from the plan, and from the log of its iRule back to ledger records. Whatever a
 * BIG-IP cannot do as exactly as the plan says it is a condition on the service port, and refused.
 *
 *     virtual server: mTLS ─▶ iRule: service by SNI or listener, identity by SAN, grant by data group ─▶ pool and SNAT pool ─▶ server
 *
 * - Nothing is opened onward before the identity is proved and has a grant.
 * - A change of policy changes data groups only.
 * - A private key is in no plan: whoever renders says where it is (`BoxIdentity`).
 *
 * Source: docs/decisions/0800 and following.
 */
export { renderAs3, type As3Declaration, type RenderedDeclaration } from './as3.ts';
export { renderCis, type CisConfigMap, type RenderedConfigMap } from './cis.ts';
export { isRefusal, type DataGroupRecord, type DataGroups } from './data-groups.ts';
export { importedIdentity, issuedIdentity, type BoxIdentity, type IssuedIdentity } from './identity.ts';
export { readLogLine, type BigipRecord, type LineContext, type LineReading } from './log-line.ts';
export { application, fixedNames, pathOf } from './names.ts';
export { renderTmsh, type RenderedTmsh } from './tmsh.ts';
