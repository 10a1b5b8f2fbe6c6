// Envoy's `ClusterLoadAssignment`, checked and flattened: what hosts there are, before names are
// resolved.

import { isIP } from 'node:net';
import type { Address as AddressMessage } from '../../generated/envoy/config/core/v3/address_pb.ts';
import { SocketAddress_Protocol } from '../../generated/envoy/config/core/v3/address_pb.ts';
import { HealthStatus } from '../../generated/envoy/config/core/v3/health_check_pb.ts';
import type {
	LbEndpoint,
	LocalityLbEndpoints,
} from '../../generated/envoy/config/endpoint/v3/endpoint_components_pb.ts';
import {
	type ClusterLoadAssignment,
	ClusterLoadAssignmentSchema,
} from '../../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import type { Address } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';
import { unsupportedFields } from '../field-check.ts';
import { OVERPROVISIONING_FACTOR_DEFAULT } from '../load-balancing/priority-picker.ts';
import { ENDPOINT_FIELDS } from './cluster-fields.ts';
import type { EndpointStatus, HostSpec } from './upstream-host.ts';

/** An address whose host is still a name. */
export interface NamedAddress {
	readonly kind: 'name';
	readonly name: string;
	readonly port: number;
}

export interface EndpointSpec extends Omit<HostSpec, 'address' | 'healthCheckAddress'> {
	readonly address: Address | NamedAddress;
	/** Its own address or another port of the same host for active health checks; null: as `address`. */
	readonly healthCheckAddress: Address | null;
	readonly healthCheckPort: number | null;
}

export interface AssignmentSpec {
	readonly endpoints: readonly EndpointSpec[];
	/** Percent. */
	readonly overprovisioningFactor: number;
}

/** A mesh of this size has one cluster per service; more is a mistake or an attack. */
const ENDPOINTS_MAX = 50_000;
/** Envoy's bound. */
const PRIORITY_MAX = 128;

/**
 * @param allowNames a host may be a DNS name (STRICT_DNS, LOGICAL_DNS); else it must be an IP literal
 * @throws ConfigError
 */
export function compileAssignment(
	message: ClusterLoadAssignment,
	allowNames: boolean,
	object: string,
	field: string,
): AssignmentSpec {
	const unsupported = unsupportedFields(ClusterLoadAssignmentSchema, message, ENDPOINT_FIELDS, object, field);
	if (unsupported.length > 0) throw new ConfigError(unsupported);
	const endpoints: EndpointSpec[] = [];
	const prefix = field === '' ? '' : `${field}.`;
	for (const [i, locality] of message.endpoints.entries()) {
		if (locality.priority > PRIORITY_MAX) {
			throw new ConfigError({
				object,
				field: `${prefix}endpoints[${i}].priority`,
				found: String(locality.priority),
				expected: `at most ${PRIORITY_MAX}`,
			});
		}
		for (const [j, endpoint] of locality.lbEndpoints.entries()) {
			if (endpoints.length >= ENDPOINTS_MAX) {
				throw new ConfigError({ object, field: `${prefix}endpoints`, expected: `at most ${ENDPOINTS_MAX} endpoints` });
			}
			endpoints.push(
				compileEndpoint(endpoint, locality, allowNames, object, `${prefix}endpoints[${i}].lb_endpoints[${j}]`),
			);
		}
	}
	return {
		endpoints,
		overprovisioningFactor: message.policy?.overprovisioningFactor || OVERPROVISIONING_FACTOR_DEFAULT,
	};
}

function compileEndpoint(
	message: LbEndpoint,
	locality: LocalityLbEndpoints,
	allowNames: boolean,
	object: string,
	field: string,
): EndpointSpec {
	if (message.hostIdentifier.case !== 'endpoint') {
		throw new ConfigError({ object, field: `${field}.endpoint`, expected: 'an endpoint' });
	}
	const endpoint = message.hostIdentifier.value;
	const check = endpoint.healthCheckConfig;
	const at = `${field}.endpoint.address`;
	const address = compileHostAddress(endpoint.address, allowNames, object, at);
	let healthCheckAddress: Address | null = null;
	if (check?.address !== undefined) {
		healthCheckAddress = compileHostAddress(
			check.address,
			false,
			object,
			`${field}.endpoint.health_check_config.address`,
		) as Address;
	}
	return {
		address,
		hostname: endpoint.hostname || (address.kind === 'name' ? address.name : ''),
		weight: Math.max(1, message.loadBalancingWeight ?? 1),
		metadata: message.metadata?.filterMetadata ?? {},
		status: (HealthStatus[message.healthStatus] ?? 'UNKNOWN') as EndpointStatus,
		priority: locality.priority,
		locality: {
			region: locality.locality?.region ?? '',
			zone: locality.locality?.zone ?? '',
			subZone: locality.locality?.subZone ?? '',
		},
		healthCheckAddress,
		healthCheckPort: check !== undefined && check.portValue > 0 ? check.portValue : null,
		healthCheckHostname: check?.hostname ?? '',
		healthChecksDisabled: check?.disableActiveHealthCheck ?? false,
	};
}

/** The host of an endpoint whose address is `address`. */
export function hostSpecAt(endpoint: EndpointSpec, address: Address): HostSpec {
	const port = endpoint.healthCheckPort;
	const checkAddress =
		endpoint.healthCheckAddress ?? (port !== null && address.kind === 'ip' ? { ...address, port } : null);
	return {
		address,
		hostname: endpoint.hostname,
		weight: endpoint.weight,
		metadata: endpoint.metadata,
		status: endpoint.status,
		priority: endpoint.priority,
		locality: endpoint.locality,
		healthCheckAddress: checkAddress,
		healthCheckHostname: endpoint.healthCheckHostname,
		healthChecksDisabled: endpoint.healthChecksDisabled,
	};
}

/** @throws ConfigError for what is not a TCP address or a unix socket */
export function compileHostAddress(
	message: AddressMessage | undefined,
	allowNames: boolean,
	object: string,
	field: string,
): Address | NamedAddress {
	if (message?.address.case === 'pipe') {
		const { path } = message.address.value;
		if (path === '') throw new ConfigError({ object, field: `${field}.pipe.path`, expected: 'a path' });
		return { kind: 'pipe', path };
	}
	if (message?.address.case !== 'socketAddress') {
		throw new ConfigError({ object, field, expected: 'socket_address or pipe' });
	}
	const socket = message.address.value;
	const at = `${field}.socket_address`;
	if (socket.protocol !== SocketAddress_Protocol.TCP) {
		throw new ConfigError({ object, field: `${at}.protocol`, found: 'UDP', expected: 'TCP' });
	}
	const port = socket.portSpecifier.case === 'portValue' ? socket.portSpecifier.value : 0;
	if (port < 1 || port > 65535) {
		throw new ConfigError({ object, field: `${at}.port_value`, found: String(port), expected: 'a port, 1 to 65535' });
	}
	if (isIP(socket.address) !== 0) {
		const networkNamespace = socket.networkNamespaceFilepath || undefined;
		return { kind: 'ip', host: socket.address, port, ...(networkNamespace === undefined ? {} : { networkNamespace }) };
	}
	if (allowNames && isName(socket.address)) return { kind: 'name', name: socket.address, port };
	const expected = allowNames ? 'an IP address or a DNS name' : 'an IP address (names need the type STRICT_DNS)';
	throw new ConfigError({ object, field: `${at}.address`, found: socket.address.slice(0, 100), expected });
}

function isName(text: string): boolean {
	return text.length <= 253 && /^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$/.test(text);
}
