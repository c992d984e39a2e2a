/** Where a BIG-IP listens. */
import type { Endpoint, PlannedGateway, ServicePort } from '../../core/plan/plan.ts';
import type { As3Object, As3Objects } from './as3-object.ts';
import type { ServedPort } from './data-groups.ts';
import { fixedNames, virtualServerName } from './names.ts';

/** The gateway's listeners, and those of service ports of their own. */
export function virtualServers({ listen, ftpPassivePorts }: Pick<PlannedGateway, 'listen' | 'ftpPassivePorts'>, served: readonly ServedPort[]): As3Objects {
  const own = served.flatMap(({ servicePort }) => (servicePort.listen === null ? [] : [[servicePort.listen, ftpOf(servicePort)] as const]));
  const all = [...listen.map((endpoint) => [endpoint, null] as const), ...own];
  return Object.fromEntries(all.map(([endpoint, ftp]) => [virtualServerName(endpoint), virtualServer(endpoint, ftp, ftpPassivePorts !== null)]));
}

const ftpOf = ({ ftp }: ServicePort): string | null => (ftp === null ? null : ftp.tls === null ? fixedNames.ftpProfile : fixedNames.ftpsProfile);

/**
 * No pool, no source address: nothing goes upstream before the iRule has named both. The source port is changed always, for a workload's own could be
 * one below those of its SNAT address.
 */
function virtualServer({ address, port }: Endpoint, ftp: string | null, hasFtpRule: boolean): As3Object {
  return {
    class: 'Service_TCP',
    virtualAddresses: [address],
    virtualPort: port,
    serverTLS: fixedNames.clientSsl,
    profileTCP: { use: fixedNames.tcpProfile },
    ...(ftp === null ? {} : { profileFTP: { use: ftp } }),
    iRules: [fixedNames.iRule, ...(ftp !== null && hasFtpRule ? [fixedNames.ftpRule] : [])],
    snat: 'none',
    translateClientPort: true,
    persistenceMethods: [],
  };
}
