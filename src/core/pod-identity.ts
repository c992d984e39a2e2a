/** By what a pod proves who it is, and knows the control plane: manifests, webhook, CLI and control plane agree about it here. */

/** Of the service account tokens that are for us. https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken */
export const podTokenAudience = 'sallyport';

/** In every namespace, since a pod mounts what its own one has. */
export const trustBundleConfigMap = { name: 'sallyport-trust-bundle', key: 'trust-bundle.pem' } as const;

const directory = '/var/run/secrets/sallyport';
const names = { token: 'token', trustBundle: 'trust/trust-bundle.pem' } as const;
/** How long a token is good; the kubelet renews it in time. A certificate that was bought with it has a time of its own. */
const tokenSeconds = 3_600;

/** Where a container finds them. */
export const podFiles = { directory, token: `${directory}/${names.token}`, trustBundle: `${directory}/${names.trustBundle}` } as const;

/** The volume that has them, to be mounted at their directory. */
export const podIdentitySource = {
  projected: {
    sources: [
      { serviceAccountToken: { audience: podTokenAudience, expirationSeconds: tokenSeconds, path: names.token } },
      { configMap: { name: trustBundleConfigMap.name, items: [{ key: trustBundleConfigMap.key, path: names.trustBundle }] } },
    ],
  },
};
