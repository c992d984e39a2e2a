/** The CustomResourceDefinitions: fields from the schemas in core, and here what only Kubernetes wants to know. */
import * as z from 'zod';
import { schemaOf, type JsonSchema, type SchemaName } from '../../core/manifest/json-schema.ts';
import { apiVersion, olderApiVersion } from '../../core/objects/index.ts';
import { snatAssignment } from './snat-assignment.ts';
import { structuralSchemaOf, type StructuralSchema } from './structural-schema.ts';

export interface CustomResourceDefinition {
  readonly apiVersion: 'apiextensions.k8s.io/v1';
  readonly kind: 'CustomResourceDefinition';
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly spec: {
    readonly group: string;
    readonly scope: 'Cluster' | 'Namespaced';
    readonly names: Names & { readonly kind: string; readonly listKind: string; readonly categories: readonly string[] };
    readonly versions: readonly [Version];
  };
}

interface Names {
  readonly plural: string;
  readonly singular: string;
  readonly shortNames?: readonly string[];
}

interface Version {
  readonly name: string;
  readonly served: true;
  readonly storage: true;
  readonly schema: { readonly openAPIV3Schema: StructuralSchema };
  readonly subresources?: { readonly status: object };
  readonly additionalPrinterColumns: readonly Column[];
}

/** `priority` 1: with `-o wide` only. */
interface Column {
  readonly name: string;
  readonly type: 'date' | 'string' | 'integer';
  readonly jsonPath: string;
  readonly description?: string;
  readonly priority?: 1;
}

/** A kind as kubectl shows it. */
interface Presentation {
  readonly schema: SchemaName | 'SnatAssignment';
  readonly scope: 'Cluster' | 'Namespaced';
  readonly names: Names;
  readonly columns: readonly Column[];
  /** Fields of the status beside those that all have. Undefined: the kind has no status. */
  readonly status?: Readonly<Record<string, StructuralSchema>>;
}

const accepted: Column = { name: 'Accepted', type: 'string', jsonPath: '.status.conditions[?(@.type=="Accepted")].status' };
const enforced: Column = { name: 'Enforced', type: 'string', jsonPath: '.status.enforcedBy', description: 'How many of the gateways that it concerns enforce it' };
const revision: Column = { name: 'Revision', type: 'string', jsonPath: '.status.revision', description: 'The beginning of the revision of the plan since which it is as it is', priority: 1 };
const why: Column = { name: 'Message', type: 'string', jsonPath: '.status.conditions[?(@.type=="Accepted")].message', priority: 1 };
const age: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };

const text = (description: string): StructuralSchema => ({ type: 'string', description });
const planned = {
  revision: text('The revision of the plan since which what this object says is as it is'),
  enforcedBy: text('How many of the gateways that it concerns enforce that, as in 2/2'),
  gateways: {
    type: 'array',
    description: 'The gateways that it concerns',
    items: { type: 'object', required: ['name'], properties: { name: { type: 'string' }, revision: text('The first revision with it that the gateway has taken') } },
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['name'],
  },
} satisfies Record<string, StructuralSchema>;

const presentations: readonly Presentation[] = [
  {
    schema: 'EgressGateway',
    scope: 'Cluster',
    names: { plural: 'egressgateways', singular: 'egressgateway', shortNames: ['egw'] },
    columns: [{ name: 'Class', type: 'string', jsonPath: '.spec.class' }, accepted, { name: 'Connected', type: 'integer', jsonPath: '.status.connected' }, { name: 'Warned', type: 'string', jsonPath: '.status.conditions[?(@.type=="Warned")].reason', description: 'The gravest of what there is to know of it, such as that somebody has changed what is in force' }, { ...revision, description: 'The revision of the plan that it enforces' }, why, age],
    status: { revision: text('The revision of the plan that it enforces'), connected: { type: 'integer', description: 'How many processes of it have their stream of configuration open' } },
  },
  {
    schema: 'EgressPolicy',
    scope: 'Namespaced',
    names: { plural: 'egresspolicies', singular: 'egresspolicy', shortNames: ['egp'] },
    columns: [accepted, enforced, revision, why, age],
    status: planned,
  },
  {
    schema: 'ExternalService',
    scope: 'Namespaced',
    names: { plural: 'externalservices', singular: 'externalservice', shortNames: ['exts'] },
    columns: [accepted, { name: 'Gateway', type: 'string', jsonPath: '.status.gateways[*].name' }, enforced, revision, why, age],
    status: planned,
  },
  {
    schema: 'OlderExternalService',
    scope: 'Namespaced',
    names: { plural: 'externalservices', singular: 'externalservice' },
    columns: [{ name: 'Target', type: 'string', jsonPath: '.spec.targetIP' }, accepted, enforced, revision, why, age],
    status: planned,
  },
  {
    schema: 'ReferenceGrant',
    scope: 'Namespaced',
    names: { plural: 'referencegrants', singular: 'referencegrant', shortNames: ['refg'] },
    columns: [{ name: 'From', type: 'string', jsonPath: '.spec.from[*].namespace' }, { name: 'To', type: 'string', jsonPath: '.spec.to[*].name', description: 'Empty where it is for every one' }, age],
  },
  {
    schema: 'SnatAssignment',
    scope: 'Cluster',
    names: { plural: 'snatassignments', singular: 'snatassignment', shortNames: ['snata'] },
    columns: [
      { name: 'Holder', type: 'string', jsonPath: '.spec.holder' },
      { name: 'Address', type: 'string', jsonPath: '.spec.address' },
      { name: 'First', type: 'integer', jsonPath: '.spec.ports.first', priority: 1 },
      { name: 'Last', type: 'integer', jsonPath: '.spec.ports.last', priority: 1 },
      { name: 'Pool', type: 'string', jsonPath: '.spec.pool' },
      { name: 'Released', type: 'date', jsonPath: '.spec.releasedAt' },
      age,
    ],
  },
  {
    schema: 'SnatBinding',
    scope: 'Namespaced',
    names: { plural: 'snatbindings', singular: 'snatbinding', shortNames: ['snatb'] },
    columns: [accepted, { name: 'Address', type: 'string', jsonPath: '.status.addresses[*]' }, enforced, revision, why, age],
    status: { ...planned, addresses: { type: 'array', description: 'Where its subject leaves from, with the ports where the address is shared', items: { type: 'string' }, 'x-kubernetes-list-type': 'atomic' } },
  },
  {
    schema: 'SnatPool',
    scope: 'Cluster',
    names: { plural: 'snatpools', singular: 'snatpool', shortNames: ['snatp'] },
    columns: [accepted, { name: 'Assigned', type: 'integer', jsonPath: '.status.assigned' }, { name: 'Quarantined', type: 'integer', jsonPath: '.status.quarantined' }, why, age],
    status: { assigned: { type: 'integer', description: 'How many sources of it are in use' }, quarantined: { type: 'integer', description: 'How many wait for their quarantine to end' } },
  },
  {
    schema: 'WorkloadEntry',
    scope: 'Namespaced',
    names: { plural: 'workloadentries', singular: 'workloadentry', shortNames: ['we'] },
    columns: [
      { name: 'Addresses', type: 'string', jsonPath: '.spec.addresses[*]' },
      { name: 'Namespace', type: 'string', jsonPath: '.spec.namespace', description: "The workload's, where it is another" },
      { name: 'Account', type: 'string', jsonPath: '.spec.serviceAccount' },
      accepted,
      { name: 'Warned', type: 'string', jsonPath: '.status.conditions[?(@.type=="Warned")].status', description: 'Whether an address of it is claimed by somebody else too, and so is nobody\'s' },
      why,
      age,
    ],
    status: {},
  },
];

/** `metav1.Condition`, https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1#Condition */
const condition: StructuralSchema = {
  type: 'object',
  required: ['type', 'status', 'lastTransitionTime', 'reason', 'message'],
  properties: {
    type: { type: 'string', maxLength: 316 },
    status: { type: 'string', enum: ['True', 'False', 'Unknown'] },
    observedGeneration: { type: 'integer', format: 'int64', minimum: 0 },
    lastTransitionTime: { type: 'string', format: 'date-time' },
    reason: { type: 'string', minLength: 1, maxLength: 1024 },
    message: { type: 'string', maxLength: 32_768 },
  },
};

function statusSchema(own: Readonly<Record<string, StructuralSchema>>): StructuralSchema {
  return {
    type: 'object',
    properties: {
      observedGeneration: { type: 'integer', format: 'int64', description: 'The generation of the object that this is about' },
      conditions: { type: 'array', items: condition, 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] },
      inForce: { type: 'object', description: 'What the object said before it was changed to what cannot be in force: that stays', properties: { spec: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } }, 'x-kubernetes-map-type': 'atomic' },
      ...own,
    },
  };
}

function definitionOf({ schema: name, scope, names, columns, status }: Presentation): CustomResourceDefinition {
  const schema: JsonSchema = name === 'SnatAssignment' ? (z.toJSONSchema(snatAssignment, { io: 'input' }) as JsonSchema) : schemaOf(name);
  const [group, version] = (name === 'OlderExternalService' ? olderApiVersion : apiVersion).split('/') as [string, string];
  const kind = name === 'OlderExternalService' ? 'ExternalService' : name;
  const { spec } = schema.properties!;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${names.plural}.${group}`, labels: { 'app.kubernetes.io/name': 'sallyport' } },
    spec: {
      group,
      scope,
      names: { ...names, kind, listKind: `${kind}List`, categories: ['sallyport'] },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              required: ['spec'],
              properties: { apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { type: 'object' }, spec: structuralSchemaOf(spec!), ...(status === undefined ? {} : { status: statusSchema(status) }) },
            },
          },
          ...(status === undefined ? {} : { subresources: { status: {} } }),
          additionalPrinterColumns: columns,
        },
      ],
    },
  };
}

/** All of them, by name. */
export const customResourceDefinitions: readonly CustomResourceDefinition[] = presentations.map(definitionOf);
