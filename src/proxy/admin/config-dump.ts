// `/config_dump`: everything that is in force, in the shape of Envoy's `ConfigDump` as JSON. Private
// keys and credentials never appear.

import {
	type DescMessage,
	type JsonObject,
	type JsonValue,
	type MessageShape,
	type Registry,
	toJson,
} from '@bufbuild/protobuf';
import { BootstrapSchema } from '../../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { ClusterSchema } from '../../generated/envoy/config/cluster/v3/cluster_pb.ts';
import { ListenerSchema } from '../../generated/envoy/config/listener/v3/listener_pb.ts';
import { RouteConfigurationSchema } from '../../generated/envoy/config/route/v3/route_pb.ts';
import { errorMessage } from '../../std/errors.ts';
import type { UpstreamCluster } from '../cluster/upstream-cluster.ts';
import type { AdminState } from './admin-state.ts';

const ADMIN_TYPE = 'type.googleapis.com/envoy.admin.v3.';
const REDACTED = '[redacted]';
/** Fields whose content is secret: Envoy's `udpa.annotations.sensitive`, and headers with credentials. */
const SECRET_FIELDS: ReadonlySet<string> = new Set([
	'private_key',
	'password',
	'session_ticket_keys',
	'generic_secret',
]);
/** What a header is set to, or matched by. */
const HEADER_CONTENTS: ReadonlySet<string> = new Set([
	...['value', 'raw_value', 'string_match'],
	...['exact_match', 'prefix_match', 'suffix_match', 'contains_match', 'safe_regex_match'],
]);
const SECRET_HEADERS: ReadonlySet<string> = new Set(['authorization', 'cookie', 'proxy-authorization', 'x-api-key']);

export function configDump(state: AdminState, includeEds: boolean): JsonObject {
	const configs: JsonObject[] = [
		{
			'@type': `${ADMIN_TYPE}BootstrapConfigDump`,
			bootstrap: messageJson(BootstrapSchema, state.bootstrap, state.types),
			last_updated: timestamp(state.startedMs),
		},
		clustersDump(state),
	];
	if (includeEds) configs.push(endpointsDump(state));
	configs.push(listenersDump(state), routesDump(state), secretsDump(state));
	return { configs };
}

function clustersDump(state: AdminState): JsonObject {
	const { clusters, types } = state;
	const dynamic = (cluster: UpstreamCluster): JsonObject => ({
		version_info: cluster.version,
		cluster: anyJson(ClusterSchema, cluster.config.message, types),
	});
	const active = [...clusters.all()];
	return {
		'@type': `${ADMIN_TYPE}ClustersConfigDump`,
		static_clusters: active
			.filter((cluster) => clusters.isStatic(cluster.name))
			.map((cluster) => ({ cluster: anyJson(ClusterSchema, cluster.config.message, types) })),
		dynamic_active_clusters: active.filter((cluster) => !clusters.isStatic(cluster.name)).map(dynamic),
		dynamic_warming_clusters: [...clusters.allWarming()].map(dynamic),
	};
}

function endpointsDump(state: AdminState): JsonObject {
	const fixed: JsonObject[] = [];
	const dynamic: JsonObject[] = [];
	for (const cluster of state.clusters.all()) {
		const { discovery } = cluster.config;
		const assignment: JsonObject = {
			'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
			cluster_name: discovery.kind === 'eds' ? discovery.serviceName : cluster.name,
			endpoints: [...cluster.hosts()].map((host): JsonObject => {
				const { address } = host;
				return {
					priority: host.spec.priority,
					lb_endpoints: [
						{
							endpoint: {
								hostname: host.hostname,
								address:
									address.kind === 'pipe'
										? { pipe: { path: address.path } }
										: { socket_address: { address: address.host, port_value: address.port } },
							},
							health_status: host.healthy ? 'HEALTHY' : 'UNHEALTHY',
							load_balancing_weight: host.weight,
							metadata: { filter_metadata: host.metadata as JsonObject },
						},
					],
				};
			}),
		};
		(discovery.kind === 'eds' ? dynamic : fixed).push({ endpoint_config: assignment });
	}
	return {
		'@type': `${ADMIN_TYPE}EndpointsConfigDump`,
		static_endpoint_configs: fixed,
		dynamic_endpoint_configs: dynamic,
	};
}

function listenersDump(state: AdminState): JsonObject {
	const listeners = state.listeners();
	return {
		'@type': `${ADMIN_TYPE}ListenersConfigDump`,
		static_listeners: listeners
			.filter((listener) => listener.isStatic)
			.map((listener) => ({
				listener: anyJson(ListenerSchema, listener.message, state.types),
				last_updated: timestamp(listener.lastUpdatedMs),
			})),
		dynamic_listeners: listeners
			.filter((listener) => !listener.isStatic)
			.map((listener) => ({
				name: listener.name,
				active_state: {
					version_info: listener.version,
					listener: anyJson(ListenerSchema, listener.message, state.types),
					last_updated: timestamp(listener.lastUpdatedMs),
				},
			})),
	};
}

function routesDump(state: AdminState): JsonObject {
	const routes = state.routes();
	const dump = (isStatic: boolean): JsonObject[] =>
		routes
			.filter((entry) => entry.isStatic === isStatic)
			.map((entry) => ({
				...(isStatic ? {} : { version_info: entry.version }),
				route_config: anyJson(RouteConfigurationSchema, entry.message, state.types),
				last_updated: timestamp(entry.lastUpdatedMs),
			}));
	return {
		'@type': `${ADMIN_TYPE}RoutesConfigDump`,
		static_route_configs: dump(true),
		dynamic_route_configs: dump(false),
	};
}

function secretsDump(state: AdminState): JsonObject {
	const fixed: JsonObject[] = [];
	const active: JsonObject[] = [];
	const warming: JsonObject[] = [];
	for (const { name, origin, version, secret, lastUpdatedMs, lastError } of state.secrets.all()) {
		const entry: JsonObject = {
			name,
			...(origin === 'static' ? {} : { version_info: version }),
			...(secret === null ? {} : { last_updated: timestamp(lastUpdatedMs) }),
			...(lastError === null ? {} : { error_state: { details: lastError } }),
		};
		if (secret?.kind === 'certificate') {
			entry.secret = {
				'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
				name,
				tls_certificate: {
					certificate_chain: { inline_string: secret.certificateChainPem },
					private_key: { inline_string: REDACTED },
				},
			};
		} else if (secret?.kind === 'validation') {
			entry.secret = {
				'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
				name,
				validation_context: { trusted_ca: { inline_string: secret.rootsPem } },
			};
		}
		(origin === 'static' ? fixed : secret === null ? warming : active).push(entry);
	}
	return {
		'@type': `${ADMIN_TYPE}SecretsConfigDump`,
		static_secrets: fixed,
		dynamic_active_secrets: active,
		dynamic_warming_secrets: warming,
	};
}

function anyJson<T extends DescMessage>(schema: T, message: MessageShape<T>, types: Registry): JsonObject {
	return { '@type': `type.googleapis.com/${schema.typeName}`, ...messageJson(schema, message, types) };
}

/** A message with an Any of a type that is not known is shown by its reason: the rest of the dump is still of use. */
function messageJson<T extends DescMessage>(schema: T, message: MessageShape<T>, types: Registry): JsonObject {
	try {
		return redact(toJson(schema, message, { registry: types, useProtoFieldName: true })) as JsonObject;
	} catch (error) {
		return { weft_not_shown: errorMessage(error) };
	}
}

function redact(value: JsonValue): JsonValue {
	if (Array.isArray(value)) return value.map(redact);
	if (typeof value !== 'object' || value === null) return value;
	// A header to add has a key, one to match a name.
	const header = value.key ?? value.name;
	const isSecretHeader = typeof header === 'string' && SECRET_HEADERS.has(header.toLowerCase());
	const result: JsonObject = {};
	for (const [name, inner] of Object.entries(value)) {
		if (isSecretHeader && HEADER_CONTENTS.has(name)) result[name] = REDACTED;
		else result[name] = SECRET_FIELDS.has(name) ? hide(inner) : redact(inner);
	}
	return result;
}

/** Where a secret is read from may be seen; what it is may not. */
function hide(value: JsonValue): JsonValue {
	if (Array.isArray(value)) return value.map(hide);
	if (typeof value !== 'object' || value === null) return REDACTED;
	const result: JsonObject = {};
	for (const [name, inner] of Object.entries(value)) {
		result[name] = name === 'filename' || name === 'environment_variable' ? inner : hide(inner);
	}
	return result;
}

export function timestamp(ms: number): string {
	return new Date(ms).toISOString();
}
