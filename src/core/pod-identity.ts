/** By what a pod proves who it is, and knows the control plane: manifests, webhook, CLI and control plane agree about it here. */

/** Of the service account tokens that are for us. https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken */
export const podTokenAudience = 'sallyport';

/** In every namespace, since a pod mounts what its own one has. */
export const trustBundleConfigMap = { name: 'sallyport-trust-bundle', key: 'trust-bundle.pem' } as const;

/** Where a container finds them. */
export const podFiles = { token: '/var/run/secrets/sallyport/token', trustBundle: '/var/run/secrets/sallyport/trust/trust-bundle.pem' } as const;
