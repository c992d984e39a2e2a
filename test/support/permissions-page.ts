/** docs/reference/permissions.md, written from the table that the roles are made of. */
import { permissions, type Permission } from '../../src/install/index.ts';

export function permissionsPage(): string {
  const rows = (where: Permission['where']): readonly string[] => permissions.filter((each) => each.where === where).map(rowOf);
  const heading = ['| resource | verbs | why |', '|---|---|---|'];
  return [
    '# Permissions in a cluster',
    '',
    'What the service account `control` of the control plane may do at the API server. Gateways and agents may do nothing there: their pods have',
    'no token for it.',
    '',
    '## Everywhere',
    '',
    ...heading,
    ...rows('cluster'),
    '',
    'What a role cannot say, the ValidatingAdmissionPolicy `sallyport-control` does: whatever the control plane creates, changes or deletes of',
    'Services, EndpointSlices and ConfigMaps is labelled `app.kubernetes.io/managed-by: sallyport.dev`, before and after; Services and',
    'EndpointSlices not in `kube-system`; and of ConfigMaps `sallyport-trust-bundle` only.',
    '',
    "## In the control plane's namespace",
    '',
    ...heading,
    ...rows('own namespace'),
    '',
    'This page is written from `src/install/permissions.ts`; `UPDATE_GOLDEN=1 npx mocha test/architecture/reference.test.ts` writes it again.',
    '',
  ].join('\n');
}

function rowOf({ group, resources, verbs, names = [], why, forWebhooks }: Permission): string {
  const named = names.length === 0 ? '' : ` named ${names.map(code).join(', ')}`;
  return `| ${resources.map((resource) => code(group === '' ? resource : `${resource}.${group}`)).join(', ')}${named} | ${verbs.join(', ')} | ${why}${forWebhooks === true ? ' (with webhooks)' : ''} |`;
}

const code = (text: string): string => `\`${text}\``;
