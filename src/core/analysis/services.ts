/** Analyses of what is out there, and of who serves it. */
import { keyOf, refOf } from '../desired-state.ts';
import { serviceKeyOf } from '../plan/targets.ts';
import type { Analysis, Found, World } from './analysis.ts';

function servicesWithoutPolicy({ desired }: World): readonly Found[] {
  const named = new Set([...desired.EgressPolicy.values()].flatMap(({ metadata, spec }) => spec.to.map((target) => serviceKeyOf(target, metadata.namespace))));
  return [...desired.ExternalService].filter(([key]) => !named.has(key)).map(([, service]) => ({ object: refOf(service), message: 'no EgressPolicy names it, so nobody may use it', hint: 'apply an EgressPolicy for whoever is to use it' }));
}

/** A name of the cluster leads back into it, where the mesh itself would have gone directly. */
function hostsOfCluster({ desired, clusterDomain }: World): readonly Found[] {
  return [...desired.ExternalService.values()].flatMap((service) =>
    (service.spec.hosts ?? []).flatMap((host, index) => {
      const inside = new RegExp(`^([a-z0-9-]+)\\.([a-z0-9-]+)\\.svc(\\.${RegExp.escape(clusterDomain)})?$`).exec(host.toLowerCase());
      if (inside === null) return [];
      const [, name, namespace] = inside;
      return [{ object: refOf(service), path: ['spec', 'hosts', index], message: `host "${host}" is Service "${name}" of namespace "${namespace}" in the cluster itself, not something outside`, hint: 'let workloads use the Service directly, or name the host outside' }];
    }),
  );
}

function namesTaken({ desired, registered }: World): readonly Found[] {
  return [...desired.ExternalService].flatMap(([key, service]) => {
    if (!desired.Service.has(key) || registered.has(key)) return [];
    return [{ object: refOf(service), path: ['metadata', 'name'], message: `Service "${key}" is there already, and not made by Sallyport: nothing of ours leads to it`, hint: 'give the ExternalService another name, or remove the Service' }];
  });
}

function unusedGateways({ desired, plan }: World): readonly Found[] {
  const used = new Set(plan.servicePorts.flatMap(({ gateway, entrance }) => [gateway, entrance]));
  const beside = new Set([...desired.EgressGateway.values()].flatMap(({ spec }) => spec.handOver ?? []));
  return [...desired.EgressGateway.values()].filter((gateway) => !used.has(gateway.metadata.name) && !beside.has(keyOf(refOf(gateway)))).map((gateway) => ({ object: refOf(gateway), message: 'no ExternalService is placed at it', hint: 'name it in the "gateway" of an ExternalService, or remove it' }));
}

export const serviceAnalyses: readonly Analysis[] = [
  { code: 'gateway-unused', level: 'info', says: 'no ExternalService is placed at an EgressGateway, and none hands over to it', remedy: "name it in a service's `gateway`, or remove it", find: unusedGateways },
  { code: 'host-of-cluster', level: 'warning', says: 'one of the `hosts` of an ExternalService is a name of the cluster itself (`NAME.NAMESPACE.svc`, with its domain or without): traffic leaves the mesh by a gateway to come back', remedy: 'let workloads use the Service directly, or name the host outside', find: hostsOfCluster },
  { code: 'service-name-taken', level: 'warning', says: 'a Service of Kubernetes has the name of an ExternalService, and is not made by Sallyport; nothing of ours leads to it', remedy: 'give the ExternalService another name, or remove the Service', find: namesTaken },
  { code: 'service-without-policy', level: 'info', says: 'no EgressPolicy names an ExternalService, so nobody may use it', remedy: 'apply an EgressPolicy', find: servicesWithoutPolicy },
];
