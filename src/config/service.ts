// `v1` Service: a name and an address for the instances that its selector matches. Fields of
// Kubernetes that weft has one behaviour for are accepted with the value that says so, and refused
// with any other.

import { z } from 'zod';
import type { KindDefinition } from './kind.ts';
import { dnsLabel, labels, port, portName, serviceName } from './schema.ts';

const PORTS_MAX = 64;

const servicePort = z.strictObject({
	/** Required when there are several ports. */
	name: dnsLabel.optional(),
	port,
	/** Where the instances listen: a number, or the name of a WorkloadEntry's port. Default: `port`. */
	targetPort: z.union([port, portName], { error: 'a port (1 to 65535) or the name of one' }).optional(),
	protocol: z.literal('TCP').default('TCP'),
	/** What is spoken: `http`, `kubernetes.io/h2c`, `grpc`, `tcp` …; default by the port's name (Istio's rule). */
	appProtocol: z
		.enum([
			'http',
			'http2',
			'h2c',
			'grpc',
			'grpc-web',
			'tcp',
			'tls',
			'https',
			'kubernetes.io/h2c',
			'kubernetes.io/ws',
			'kubernetes.io/wss',
		])
		.optional(),
});

const serviceSpec = z.strictObject({
	ports: z.array(servicePort).min(1).max(PORTS_MAX),
	/** Labels of the WorkloadEntries behind it; empty matches none. */
	selector: labels.default({}),
	/** Given by the API server at creation; may be asked for; never changes. */
	clusterIP: z.string().max(45).default(''),
	clusterIPs: z.array(z.string().max(45)).max(1).optional(),
	type: z.literal('ClusterIP').default('ClusterIP'),
	sessionAffinity: z.literal('None').optional(),
	internalTrafficPolicy: z.literal('Cluster').optional(),
	ipFamilies: z.array(z.literal('IPv4')).max(1).optional(),
	ipFamilyPolicy: z.literal('SingleStack').optional(),
	publishNotReadyAddresses: z.literal(false).optional(),
});

const serviceStatus = z.strictObject({
	/** Written by Kubernetes tools; always empty here. */
	loadBalancer: z.strictObject({}).optional(),
});

export type ServicePort = z.output<typeof servicePort>;
export type ServiceSpec = z.output<typeof serviceSpec>;
export type ServiceStatus = z.output<typeof serviceStatus>;

/** Service addresses are 127.96.H.L with index H·256+L from 1 to this. */
export const SERVICE_INDEX_MAX = 65534;

/** `127.96.0.1` for 1. */
export function serviceAddress(index: number): string {
	return `127.96.${index >> 8}.${index & 255}`;
}

/** The index of a service address; null when it is not one. */
export function serviceIndex(address: string): number | null {
	const match = /^127\.96\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/.exec(address);
	if (match === null) return null;
	const high = Number(match[1]);
	const low = Number(match[2]);
	const index = high * 256 + low;
	return high > 255 || low > 255 || index < 1 || index > SERVICE_INDEX_MAX ? null : index;
}

export const SERVICE: KindDefinition<ServiceSpec, ServiceStatus> = {
	group: '',
	versions: ['v1'],
	kind: 'Service',
	plural: 'services',
	singular: 'service',
	shortNames: ['svc'],
	namespaced: true,
	specRequired: true,
	description: 'A name and an address for the instances that a selector matches',
	nameSchema: serviceName,
	specSchema: serviceSpec,
	statusSchema: serviceStatus,
	validate(service, errors) {
		const { ports, clusterIP, clusterIPs } = service.spec;
		const names = new Set<string>();
		const numbers = new Set<number>();
		for (const [index, entry] of ports.entries()) {
			const path = ['spec', 'ports', index];
			if (entry.name === undefined && ports.length > 1) {
				errors.add([...path, 'name'], 'a name, because the Service has several ports');
			}
			if (entry.name !== undefined && names.has(entry.name)) {
				errors.add([...path, 'name'], 'a name that no other port of the Service has');
			}
			if (numbers.has(entry.port)) errors.add([...path, 'port'], 'a port that is listed once');
			if (entry.name !== undefined) names.add(entry.name);
			numbers.add(entry.port);
		}
		if (clusterIP === 'None') {
			errors.add(['spec', 'clusterIP'], 'an address of 127.96.0.0/16', 'weft has no headless Services; leave it out');
		} else if (clusterIP !== '' && serviceIndex(clusterIP) === null) {
			errors.add(['spec', 'clusterIP'], 'an address of 127.96.0.0/16', 'leave it out to be given one');
		}
		if (clusterIPs?.[0] !== undefined && clusterIPs[0] !== clusterIP) {
			errors.add(['spec', 'clusterIPs', 0], `the same as spec.clusterIP (${JSON.stringify(clusterIP)})`);
		}
	},
	validateChange(before, after, errors) {
		if (after.spec.clusterIP !== before.spec.clusterIP) {
			errors.add(['spec', 'clusterIP'], `${JSON.stringify(before.spec.clusterIP)}, it never changes`);
		}
	},
	columns: [
		{ name: 'Type', description: 'Always ClusterIP', type: 'string', value: (service) => service.spec.type },
		{
			name: 'Cluster-IP',
			description: 'The address that clients reach it by',
			type: 'string',
			value: (service) => service.spec.clusterIP,
		},
		{
			name: 'Port(s)',
			description: 'Port and protocol',
			type: 'string',
			value: (service) => service.spec.ports.map((entry) => `${entry.port}/${entry.protocol}`).join(','),
		},
		{
			name: 'Selector',
			description: 'Labels of its instances',
			type: 'string',
			wide: true,
			value: (service) =>
				Object.entries(service.spec.selector)
					.map(([key, value]) => `${key}=${value}`)
					.join(',') || '<none>',
		},
	],
	mergeKeys: { 'spec.ports': 'port' },
};
