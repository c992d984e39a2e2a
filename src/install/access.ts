/** What the control plane may do at the API server: roles from the table in permissions.ts, and what no role can say. */
import { trustBundleConfigMap } from '../core/pod-identity.ts';
import type { ExplainedObject } from '../generate/index.ts';
import { managedBy, managedByLabel } from '../kubernetes/index.ts';
import { metadataOf } from './metadata.ts';
import { controlAccount } from './names.ts';
import type { InstallOptions } from './options.ts';
import { permissions, ruleOf, type Permission } from './permissions.ts';

const component = 'access';
const rbac = 'rbac.authorization.k8s.io';
/** Cluster-wide, so with our name in it. */
const roleName = 'sallyport-control';

export function access({ namespace, webhooks }: InstallOptions): readonly ExplainedObject[] {
  const rules = (where: Permission['where']): readonly Permission[] => permissions.filter((each) => each.where === where && (webhooks || each.forWebhooks !== true));
  const role = (kind: string, where: Permission['where'], inNamespace?: string): readonly ExplainedObject[] => {
    const metadata = metadataOf(component, roleName, inNamespace);
    const granted = rules(where);
    return [
      { object: { apiVersion: `${rbac}/v1`, kind, metadata, rules: granted.map(ruleOf) }, reasons: granted.map(({ why }, index) => ({ path: ['rules', index], why: `${why}.` })) },
      { object: { apiVersion: `${rbac}/v1`, kind: `${kind}Binding`, metadata, roleRef: { apiGroup: rbac, kind, name: roleName }, subjects: [{ kind: 'ServiceAccount', name: controlAccount, namespace }] } },
    ];
  };
  return [...role('ClusterRole', 'cluster'), ...role('Role', 'own namespace', namespace), ...writesOfOurOwn(namespace)];
}

/** https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/ */
function writesOfOurOwn(namespace: string): readonly ExplainedObject[] {
  const isOurs = (variable: string): string => `${variable}.metadata.?labels[?'${managedByLabel}'].orValue('') == '${managedBy}'`;
  const isConfigMap = "request.resource.resource == 'configmaps'";
  const metadata = metadataOf(component, roleName);
  return [
    {
      why: 'A role cannot say by which label or, to create, by which name: the control plane may write the Services and EndpointSlices that it registers, and the ConfigMaps of the trust bundle.',
      object: {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingAdmissionPolicy',
        metadata,
        spec: {
          failurePolicy: 'Fail',
          matchConstraints: {
            resourceRules: [
              { apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps', 'services'], operations: ['CREATE', 'UPDATE', 'DELETE'] },
              { apiGroups: ['discovery.k8s.io'], apiVersions: ['v1'], resources: ['endpointslices'], operations: ['CREATE', 'UPDATE', 'DELETE'] },
            ],
          },
          matchConditions: [{ name: 'by-the-control-plane', expression: `request.userInfo.username == 'system:serviceaccount:${namespace}:${controlAccount}'` }],
          validations: [
            { expression: `!(${isConfigMap}) || object == null || object.metadata.name == '${trustBundleConfigMap.name}'`, message: `the control plane of Sallyport writes no ConfigMap but ${trustBundleConfigMap.name}` },
            { expression: `(object == null || ${isOurs('object')}) && (oldObject == null || ${isOurs('oldObject')})`, message: `the control plane of Sallyport writes nothing that is not labelled ${managedByLabel}=${managedBy}` },
            { expression: `${isConfigMap} || request.namespace != 'kube-system'`, message: 'the control plane of Sallyport registers nothing in kube-system' },
          ],
        },
      },
    },
    { object: { apiVersion: 'admissionregistration.k8s.io/v1', kind: 'ValidatingAdmissionPolicyBinding', metadata, spec: { policyName: roleName, validationActions: ['Deny'] } } },
  ];
}
