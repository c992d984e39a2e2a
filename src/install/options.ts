/**
 * What an installation is told. One schema gives the type, the defaults, the checks of the command line, and the chart's `values.yaml` and
 * `values.schema.json`, so that both ways take the same and refuse the same.
 */
import * as z from 'zod';
import { dnsLabel, dnsSubdomain } from '../core/objects/common.ts';
import { ports } from './names.ts';

/** A repository and a tag or digest, by the grammar of container registries; no more of it is looked at. */
const imageName = z.string().max(512).regex(/^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$/, 'must be a container image, such as sallyport:0.1.0');
const trustDomainName = z.string().min(1).max(255).regex(/^[a-z0-9._-]+$/, 'must be lower-case letters, digits, ".", "-" and "_"');
const quantity = z.string().max(32).regex(/^[1-9][0-9]*([kMGTPE]i?)?$/, 'must be a quantity of Kubernetes, such as 10Gi');

/** In the clear to nobody, and with its port, since a NetworkPolicy lets out by ports. */
const collectorUrl = z.string().max(512).regex(/^(https:\/\/([a-zA-Z0-9.-]+|\[[0-9a-fA-F:.]+\]):[1-9][0-9]{0,4}(\/[a-zA-Z0-9._~/-]*)?)?$/, 'must be an https:// URL with a port, such as https://collector.observability:4318');
/** As `serve --syslog-allow` has it, as far as a pattern can tell. */
const octet = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const address = `(${octet}(\\.${octet}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)`;
const allowedSender = z.string().max(512).regex(new RegExp(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?=${address}(/[0-9]{1,3}|-${address})?$`), 'must be a gateway and its addresses, such as f5=10.0.0.4/31');
const objectName = z.string().max(253).regex(/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$/, 'must be the name of an object of Kubernetes');

/** @param version of the package: the default image is of the same */
export function installOptions(version: string) {
  return z.strictObject({
    namespace: dnsLabel.default('sallyport-system').meta({ description: 'namespace of the control plane' }),
    image: imageName.default(`sallyport:${version}`).meta({ description: 'container image of control plane and gateways' }),
    replicas: z.int().min(1).max(9).default(2).meta({ description: 'replicas of the control plane, of which one writes and all serve' }),
    trustDomain: trustDomainName.default('cluster.local').meta({ description: 'SPIFFE trust domain' }),
    clusterDomain: dnsSubdomain.default('cluster.local').meta({ description: 'suffix of the names of Services' }),
    ledgerStorage: quantity.default('10Gi').meta({ description: 'size of the volume of each replica, which holds its ledger; Kubernetes lets nobody change it afterwards' }),
    storageClass: z.string().max(253).regex(/^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$/, 'must be the name of a StorageClass').default('').meta({ description: "StorageClass of all volumes; empty: the cluster's default" }),
    ledgerOtlp: collectorUrl.default('').meta({ description: 'where each replica sends its ledger on to, by OTLP/HTTP, such as https://collector.observability:4318; empty: nowhere' }),
    ledgerOtlpCa: objectName.default('').meta({ description: "ConfigMap in the control plane's namespace whose ca.crt has the CAs that the collector's certificate may come from; empty: those that Node.js trusts" }),
    ledgerOtlpHeaders: objectName.default('').meta({ description: "Secret in the control plane's namespace whose \"headers\" go to the collector, one a line, such as \"Authorization: Bearer TOKEN\"; empty: none" }),
    bigipCredentials: z.array(dnsSubdomain).max(64).default([]).meta({ description: "Secrets in the control plane's namespace by which it drives BIG-IPs, each by the name that stands in bigip.credentials: username, password, and ca.pem to trust nobody else" }),
    syslogTls: z.boolean().default(false).meta({ description: `the log of BIG-IPs is taken over TLS, at port ${ports.syslogTls} of a Service of type LoadBalancer` }),
    syslogAllow: z.array(allowedSender).max(64).default([]).meta({ description: `the same over plain TCP, at port ${ports.syslog}, of these gateways and addresses, such as f5=10.0.0.4/31` }),
    gateways: z.array(dnsLabel).max(64).default([]).meta({ description: 'embedded gateways to run, by the names of their EgressGateway objects: each on the node that is labelled sallyport.dev/gateway=NAME' }),
    webhooks: z.boolean().default(true).meta({ description: 'agents are added to the pods that ask for it, and faults are told when objects are applied' }),
    olderForm: z.boolean().default(false).meta({ description: 'the definition of externalservice.example.com/v1alpha1 too, and the namespace of its Services' }),
  });
}
export type InstallOptions = z.output<ReturnType<typeof installOptions>>;
