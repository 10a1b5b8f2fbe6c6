// `v1` Namespace: a scope for names. Deleting one deletes what is in it.

import { z } from 'zod';
import type { KindDefinition } from './kind.ts';
import { dnsLabel } from './schema.ts';

const namespaceSpec = z.strictObject({
	/** Kubernetes writes `["kubernetes"]` here; weft knows no other finalizer. */
	finalizers: z.array(z.literal('kubernetes')).max(1).optional(),
});

const namespaceStatus = z.strictObject({ phase: z.enum(['Active', 'Terminating']).optional() });

export type NamespaceSpec = z.output<typeof namespaceSpec>;
export type NamespaceStatus = z.output<typeof namespaceStatus>;

export const DEFAULT_NAMESPACE = 'default';
export const SYSTEM_NAMESPACE = 'weft-system';

export const NAMESPACE: KindDefinition<NamespaceSpec, NamespaceStatus> = {
	group: '',
	versions: ['v1'],
	kind: 'Namespace',
	plural: 'namespaces',
	singular: 'namespace',
	shortNames: ['ns'],
	namespaced: false,
	specRequired: false,
	description: 'A scope for the names of all other objects',
	nameSchema: dnsLabel,
	specSchema: namespaceSpec,
	statusSchema: namespaceStatus,
	columns: [
		{
			name: 'Status',
			description: 'Active, or Terminating while its content is being deleted',
			type: 'string',
			value: (namespace) => namespace.status?.phase ?? 'Active',
		},
	],
	mergeKeys: {},
};
