/** How virtual servers speak TLS, TCP and FTP: the same for all of a gateway. */
import { isReadAsFtp } from '../../core/plan/gateway-class.ts';
import type { GatewayLimits, PlannedGateway, ServicePort } from '../../core/plan/plan.ts';
import type { As3Object, As3Objects } from './as3-object.ts';
import { fixedNames } from './names.ts';

/** Those of the other gateways; the names are those that `tmm --clientciphers` lists. */
const cipherSuites = [
  'TLS13-AES128-GCM-SHA256',
  'TLS13-AES256-GCM-SHA384',
  'TLS13-CHACHA20-POLY1305-SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-RSA-CHACHA20-POLY1305-SHA256',
] as const;

/**
 * mTLS of version 1.2 or 1.3. Every connection proves anew who it is: the certificate is asked for on resumption too, and what may be
 * resumed is forgotten at once. A BIG-IP gives out no tickets unless told (tmsh reference, "ltm profile client-ssl": session-ticket); that
 * its cache has no room (cache-size 0) cannot be said in AS3, so the iRule does not count on it. Revocation: docs/decisions/0800.
 */
function clientSsl({ handshakeTimeoutMs }: GatewayLimits): As3Object {
  return {
    class: 'TLS_Server',
    certificates: [{ certificate: fixedNames.certificate }],
    authenticationMode: 'require',
    authenticationFrequency: 'every-time',
    authenticationTrustCA: fixedNames.caBundle,
    authenticationInviteCA: fixedNames.caBundle,
    cipherGroup: { use: fixedNames.cipherGroup },
    tls1_3Enabled: true,
    tls1_1Enabled: false,
    tls1_0Enabled: false,
    ssl3Enabled: false,
    sslEnabled: false,
    dtlsEnabled: false,
    dtls1_2Enabled: false,
    renegotiationEnabled: false,
    cacheTimeout: 0,
    handshakeTimeout: Math.ceil(handshakeTimeoutMs / 1_000),
  };
}

/** As much as a TCP profile holds: a connection that is to last longer without a byte ends after a day. */
const idleSecondsMax = 86_400;

function tcpProfile({ idleTimeoutMs, connectTimeoutMs }: GatewayLimits): As3Object {
  return { class: 'TCP_Profile', idleTimeout: Math.min(Math.ceil(idleTimeoutMs / 1_000), idleSecondsMax), ...synRetransmission(connectTimeoutMs) };
}

const synBaseMsMax = 5_000;
const synRetransmissionsMax = 12;

/** A SYN is sent again after a time that doubles with each, so that n more take the first one's time 2^(n+1) - 1 times over: as many as fill the timeout. */
function synRetransmission(connectTimeoutMs: number): { readonly synMaxRetrans: number; readonly synRtoBase: number } {
  const synMaxRetrans = Math.min(Math.max(0, Math.ceil(Math.log2(connectTimeoutMs / 3_000 + 1)) - 1), synRetransmissionsMax);
  return { synMaxRetrans, synRtoBase: Math.min(Math.floor(connectTimeoutMs / (2 ** (synMaxRetrans + 1) - 1)), synBaseMsMax) };
}

/** Whether the listener of a service port has the FTP profile. FTP that nobody can read is a stream. */
export const hasFtpProfile = ({ ftp }: Pick<ServicePort, 'ftp'>): boolean => ftp !== null && isReadAsFtp(ftp);

/** The gateway opens the data connections (Passive), whatever the workload asks for, and translates their addresses. */
const ftpProfile: As3Object = { class: 'FTP_Profile', port: 20, ftpsMode: 'disallow', activeModeEnabled: false, inheritParentProfileEnabled: true };

/** Which ports a BIG-IP awaits the data connections of workloads at; `FTP::port` of the iRules reference. */
const ftpRule = (first: number, last: number): As3Object => ({ class: 'iRule', expand: false, iRule: `when SERVER_CONNECTED {\n    FTP::port ${first} ${last}\n}\n` });

export function profileObjects({ limits, ftpPassivePorts }: PlannedGateway, relaysFtp: boolean): As3Objects {
  return {
    [fixedNames.cipherRule]: { class: 'Cipher_Rule', cipherSuites, namedGroups: ['X25519', 'P256', 'P384'], signatureAlgorithms: ['DEFAULT'] },
    [fixedNames.cipherGroup]: { class: 'Cipher_Group', allowCipherRules: [{ use: fixedNames.cipherRule }] },
    [fixedNames.clientSsl]: clientSsl(limits),
    [fixedNames.tcpProfile]: tcpProfile(limits),
    ...(relaysFtp ? { [fixedNames.ftpProfile]: ftpProfile } : {}),
    ...(relaysFtp && ftpPassivePorts !== null ? { [fixedNames.ftpRule]: ftpRule(ftpPassivePorts.first, ftpPassivePorts.last) } : {}),
  };
}
