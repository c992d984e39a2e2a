/** Where a BIG-IP listens. */
import type { Endpoint, PlannedGateway } from '../../core/plan/plan.ts';
import type { As3Object, As3Objects } from './as3-object.ts';
import type { ServedPort } from './data-groups.ts';
import { fixedNames, virtualServerName } from './names.ts';
import { hasFtpProfile } from './profiles.ts';

/** The gateway's listeners, and those of service ports of their own. */
export function virtualServers({ listen, ftpPassivePorts }: Pick<PlannedGateway, 'listen' | 'ftpPassivePorts'>, served: readonly ServedPort[]): As3Objects {
  const own = served.flatMap(({ servicePort }) => (servicePort.listen === null ? [] : [[servicePort.listen, hasFtpProfile(servicePort)] as const]));
  const all = [...listen.map((endpoint) => [endpoint, false] as const), ...own];
  return Object.fromEntries(all.map(([endpoint, isFtp]) => [virtualServerName(endpoint), virtualServer(endpoint, isFtp, ftpPassivePorts !== null)]));
}

/**
 * No pool, no source address: nothing goes upstream before the iRule has named both. The source port is changed always, for a workload's own could be
 * one below those of its SNAT address.
 */
function virtualServer({ address, port }: Endpoint, isFtp: boolean, hasFtpRule: boolean): As3Object {
  return {
    class: 'Service_TCP',
    virtualAddresses: [address],
    virtualPort: port,
    serverTLS: fixedNames.clientSsl,
    profileTCP: { use: fixedNames.tcpProfile },
    ...(isFtp ? { profileFTP: { use: fixedNames.ftpProfile } } : {}),
    iRules: [fixedNames.iRule, ...(isFtp && hasFtpRule ? [fixedNames.ftpRule] : [])],
    snat: 'none',
    translateClientPort: true,
    persistenceMethods: [],
  };
}
