/** Names that an installation and what runs in it have to agree about. */

/** The control plane's StatefulSet and Service, and the prefix of what is installed beside them. */
export const controlPlaneName = 'sallyport';
export const controlAccount = 'control';
/** A namespace of their own, since they use the node's network, which no pod of the control plane's namespace may. */
export const gatewayNamespace = 'sallyport-gateways';
/** Of a node: the gateway that runs there. */
export const gatewayLabel = 'sallyport.dev/gateway';
/** Of all that is installed but the definitions; by it an installation is found again. */
export const componentLabel = 'sallyport.dev/component';

export const leaseName = 'sallyport';
export const caSecretName = 'sallyport-ca';
/** What replicas know together: join tokens, and what is revoked. */
export const stateSecretName = 'sallyport-state';
export const webhookConfigurations = { inject: 'sallyport-inject', validate: 'sallyport-validate' } as const;

/** Where BIG-IPs send their logs, from outside of the cluster. */
export const syslogName = 'sallyport-syslog';

/** That of syslog over TLS is IANA's (RFC 5425), that of plain syslog what is usual where 514 and 601 need a right of their own. */
export const ports = { mesh: 15_012, webhook: 15_017, probe: 15_020, syslogTls: 6_514, syslog: 1_514 } as const;
