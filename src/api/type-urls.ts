/** The types of resource that the control plane serves to its own proxies. */
export const typeUrls = {
  agentUpstream: 'type.googleapis.com/sallyport.v1alpha1.AgentUpstream',
  gatewaySettings: 'type.googleapis.com/sallyport.v1alpha1.GatewaySettings',
  revocationList: 'type.googleapis.com/sallyport.v1alpha1.RevocationList',
  secret: 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
  servicePort: 'type.googleapis.com/sallyport.v1alpha1.ServicePort',
  workloadAddress: 'type.googleapis.com/sallyport.v1alpha1.WorkloadAddress',
} as const;

/** The name of the Secret that holds the trust bundle, as Istio's SDS names it. */
export const trustBundleName = 'ROOTCA';
