// `networking.istio.io` WorkloadEntry: one instance of a workload, where it listens and who it is.
// The control plane writes one for each sidecar that `weft run` starts; users may write others.

import { isIP } from 'node:net';
import { z } from 'zod';
import type { KindDefinition } from './kind.ts';
import { conditions, dnsSubdomain, labels, port } from './schema.ts';

const workloadEntrySpec = z.strictObject({
	/** An IP address. */
	address: z
		.string()
		.max(253)
		.refine((text) => isIP(text) !== 0, { error: 'an IP address' }),
	/** Service port's name (or target port's name) → the port that the instance listens on. */
	ports: z.record(z.string().min(1).max(63), port).default({}),
	/** What Services select it by. */
	labels: labels.default({}),
	/** Its identity is `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`. */
	serviceAccount: dnsSubdomain.default('default'),
	/** Share of the load among the instances of a service. */
	weight: z.int().min(1).max(4_294_967_295).optional(),
	/** `region/zone/subzone`. */
	locality: z
		.string()
		.max(253)
		.refine((text) => /^[^/\s]+(\/[^/\s]+){0,2}$/.test(text), { error: 'region, region/zone or region/zone/subzone' })
		.optional(),
	/** Istio's multi-network; weft has one network so far. */
	network: z.literal('').optional(),
});

const workloadEntryStatus = z.strictObject({
	/** `Healthy`, by the health checks that its sidecar reports. */
	conditions: conditions.optional(),
	observedGeneration: z.int().optional(),
});

export type WorkloadEntrySpec = z.output<typeof workloadEntrySpec>;
export type WorkloadEntryStatus = z.output<typeof workloadEntryStatus>;

export const WORKLOAD_ENTRY: KindDefinition<WorkloadEntrySpec, WorkloadEntryStatus> = {
	group: 'networking.istio.io',
	versions: ['v1', 'v1beta1'],
	kind: 'WorkloadEntry',
	plural: 'workloadentries',
	singular: 'workloadentry',
	shortNames: ['we'],
	namespaced: true,
	specRequired: true,
	description: 'One instance of a workload: its address, ports, labels and identity',
	nameSchema: dnsSubdomain,
	specSchema: workloadEntrySpec,
	statusSchema: workloadEntryStatus,
	columns: [
		{ name: 'Address', description: 'IP address', type: 'string', value: (entry) => entry.spec.address },
		{
			name: 'Healthy',
			description: 'What its health checks say',
			type: 'string',
			value: (entry) => entry.status?.conditions?.find((one) => one.type === 'Healthy')?.status ?? 'Unknown',
		},
		{
			name: 'Account',
			description: 'Service account of its identity',
			type: 'string',
			wide: true,
			value: (entry) => entry.spec.serviceAccount,
		},
		{
			name: 'Labels',
			description: 'What Services select it by',
			type: 'string',
			wide: true,
			value: (entry) =>
				Object.entries(entry.spec.labels)
					.map(([key, value]) => `${key}=${value}`)
					.join(',') || '<none>',
		},
	],
	mergeKeys: {},
};
