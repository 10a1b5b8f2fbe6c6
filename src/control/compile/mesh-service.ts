// A Service as the compilers see it: resolved once per change, read by all of them.

import type { ServicePort } from '../../config/service.ts';
import { workloadSpiffeId } from '../../identity/spiffe.ts';
import type { ProgramProtocol } from '../../xds/node-metadata.ts';
import type { Service, WorkloadEntry } from '../mesh-kinds.ts';
import { serviceHost } from './names.ts';

/** Istio's label: the workload takes mutual TLS. */
export const TLS_MODE_LABEL = 'security.istio.io/tlsMode';
export const TLS_MODE_ISTIO = 'istio';

/**
 * What the programs behind a port speak, and so what the proxies do with its traffic: HTTP/1.1 and HTTP/2 are read, of
 * the rest the bytes are carried. Callers may use either version of HTTP.
 */
export type PortProtocol = 'http' | 'http2' | 'tcp';

export interface MeshService {
	readonly key: string;
	readonly namespace: string;
	readonly name: string;
	readonly host: string;
	/** Empty when it has none yet. */
	readonly address: string;
	readonly ports: readonly ServicePort[];
	/** SPIFFE IDs that an instance may have, sorted. */
	readonly spiffeIds: readonly string[];
	/** Every instance takes mutual TLS. */
	readonly mutualTls: boolean;
}

/** `previous` is kept where no instance says otherwise, so that a service does not change while it has none. */
export function meshService(
	service: Service,
	entries: readonly WorkloadEntry[],
	trustDomain: string,
	previous: MeshService | null,
): MeshService {
	const namespace = service.metadata.namespace ?? '';
	const accounts = new Set(entries.map((entry) => entry.spec.serviceAccount));
	const spiffeIds = [...accounts].map((account) =>
		workloadSpiffeId({ trustDomain, namespace, serviceAccount: account }),
	);
	return {
		key: `${namespace}/${service.metadata.name}`,
		namespace,
		name: service.metadata.name,
		host: serviceHost(service),
		address: service.spec.clusterIP,
		ports: service.spec.ports,
		spiffeIds: entries.length === 0 ? (previous?.spiffeIds ?? []) : spiffeIds.sort(),
		mutualTls: entries.length === 0 ? (previous?.mutualTls ?? true) : entries.every(hasMutualTls),
	};
}

export function hasMutualTls(entry: WorkloadEntry): boolean {
	return entry.spec.labels[TLS_MODE_LABEL] === TLS_MODE_ISTIO;
}

export function programProtocol(protocol: ProgramProtocol): PortProtocol {
	return protocol === 'grpc' ? 'http2' : protocol;
}

/** By `appProtocol`, else by the port's name up to its first dash (Istio's rule), else HTTP/1.1. */
export function portProtocol(port: ServicePort): PortProtocol {
	const word = port.appProtocol ?? port.name?.split('-')[0] ?? 'http';
	switch (word) {
		case 'grpc':
		case 'grpc-web':
		case 'http2':
		case 'h2c':
		case 'kubernetes.io/h2c':
			return 'http2';
		case 'tcp':
		case 'tls':
		case 'https':
		case 'kubernetes.io/wss':
		case 'mongo':
		case 'mysql':
		case 'postgres':
		case 'redis':
			return 'tcp';
		default:
			return 'http';
	}
}
