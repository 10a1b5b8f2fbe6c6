// `dynamic_resources.ads_config` of the bootstrap, compiled: where the control plane is, which a static
// cluster says, and how it is spoken to.

import { anyUnpack } from '@bufbuild/protobuf/wkt';
import type { Bootstrap } from '../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import {
	type Cluster,
	ClusterSchema,
	Cluster_DiscoveryType as DiscoveryType,
} from '../generated/envoy/config/cluster/v3/cluster_pb.ts';
import {
	type ApiConfigSource,
	ApiConfigSourceSchema,
	ApiConfigSource_ApiType as ApiType,
} from '../generated/envoy/config/core/v3/config_source_pb.ts';
import { HttpProtocolOptionsSchema } from '../generated/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts';
import { addBinaryMetadata, addMetadata } from '../grpc/metadata.ts';
import type { HeaderList } from '../http/headers.ts';
import { ConfigError, WeftError } from '../std/errors.ts';
import type { GrpcAdsTarget } from '../xds/grpc-ads-transport.ts';
import { CLUSTER_FIELDS } from './cluster/cluster-fields.ts';
import { compileAssignment } from './cluster/endpoint-specs.ts';
import { TransportSockets } from './cluster/transport-sockets.ts';
import { durationMs } from './duration-ms.ts';
import { type SupportedFields, unsupportedFields } from './field-check.ts';
import type { SecretManager } from './tls/secret-manager.ts';

export interface AdsConfig {
	/** The static cluster that the stream goes to. It is not one that routes can use. */
	readonly clusterName: string;
	readonly target: GrpcAdsTarget;
	readonly nodeOnFirstMessageOnly: boolean;
}

const ADS_FIELDS: SupportedFields = {
	'envoy.config.core.v3.ApiConfigSource': [
		'api_type',
		'transport_api_version',
		'grpc_services',
		'set_node_on_first_message_only',
	],
	'envoy.config.core.v3.GrpcService': ['envoy_grpc', 'initial_metadata'],
	'envoy.config.core.v3.GrpcService.EnvoyGrpc': ['cluster_name', 'authority'],
	'envoy.config.core.v3.HeaderValue': ['key', 'value'],
};
/** As for any cluster, and HTTP/2, which gRPC needs. */
const ADS_CLUSTER_FIELDS: SupportedFields = {
	...CLUSTER_FIELDS,
	'envoy.config.cluster.v3.Cluster': [
		...(CLUSTER_FIELDS['envoy.config.cluster.v3.Cluster'] as readonly string[]),
		'upstream_connection_options',
		'http2_protocol_options',
	],
	'envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig': ['http2_protocol_options'],
	'envoy.config.core.v3.Http2ProtocolOptions': '*',
};
const OBJECT = 'bootstrap';
const FIELD = 'dynamic_resources.ads_config';

/** Null: the bootstrap has no `ads_config`. @throws ConfigError */
export function compileAdsConfig(bootstrap: Bootstrap, secrets: SecretManager): AdsConfig | null {
	const config = bootstrap.dynamicResources?.adsConfig;
	if (config === undefined) return null;
	const unsupported = unsupportedFields(ApiConfigSourceSchema, config, ADS_FIELDS, OBJECT, FIELD);
	if (unsupported.length > 0) throw new ConfigError(unsupported);
	if (config.apiType !== ApiType.DELTA_GRPC && config.apiType !== ApiType.AGGREGATED_DELTA_GRPC) {
		throw new ConfigError({
			object: OBJECT,
			field: `${FIELD}.api_type`,
			found: ApiType[config.apiType] ?? String(config.apiType),
			expected: 'DELTA_GRPC',
		});
	}
	const { clusterName, authority, metadata } = grpcTarget(config);
	const cluster = bootstrap.staticResources?.clusters.find((candidate) => candidate.name === clusterName);
	if (cluster === undefined) {
		throw new ConfigError({
			object: OBJECT,
			field: `${FIELD}.grpc_services[0].envoy_grpc.cluster_name`,
			found: clusterName,
			expected: 'a cluster of static_resources.clusters',
		});
	}
	return {
		clusterName,
		target: { ...transportTo(cluster, secrets), authority, metadata },
		nodeOnFirstMessageOnly: config.setNodeOnFirstMessageOnly,
	};
}

function grpcTarget(config: ApiConfigSource) {
	const field = `${FIELD}.grpc_services`;
	const service = config.grpcServices[0];
	if (config.grpcServices.length !== 1 || service?.targetSpecifier.case !== 'envoyGrpc') {
		throw new ConfigError({ object: OBJECT, field, expected: 'exactly one, with envoy_grpc' });
	}
	const metadata: HeaderList = [];
	for (const [index, { key, value }] of service.initialMetadata.entries()) {
		addInitialMetadata(metadata, key.toLowerCase(), value, `${field}[0].initial_metadata[${index}]`);
	}
	const { clusterName, authority } = service.targetSpecifier.value;
	return { clusterName, authority, metadata };
}

/** As elsewhere in gRPC, a value whose name ends in `-bin` is written in base64. */
function addInitialMetadata(metadata: HeaderList, name: string, value: string, field: string): void {
	try {
		if (!name.endsWith('-bin')) addMetadata(metadata, name, value);
		else addBinaryMetadata(metadata, name, Buffer.from(value, 'base64'));
	} catch (error) {
		if (!(error instanceof WeftError)) throw error;
		const expected = 'a name of a-z, 0-9, "-", "_", "." that gRPC does not use itself, and printable ASCII';
		throw new ConfigError({ object: OBJECT, field, found: JSON.stringify(name), expected });
	}
}

function transportTo(cluster: Cluster, secrets: SecretManager): Omit<GrpcAdsTarget, 'authority' | 'metadata'> {
	const object = `cluster ${JSON.stringify(cluster.name)}`;
	checkHttp2(cluster, object);
	const type = cluster.clusterDiscoveryType.value ?? DiscoveryType.STATIC;
	const isDns = type === DiscoveryType.STRICT_DNS || type === DiscoveryType.LOGICAL_DNS;
	if (type !== DiscoveryType.STATIC && !isDns) {
		throw new ConfigError({
			object,
			field: 'type',
			expected: 'STATIC, STRICT_DNS or LOGICAL_DNS for the control plane',
		});
	}
	if (cluster.loadAssignment === undefined) {
		throw new ConfigError({ object, field: 'load_assignment', expected: 'the address of the control plane' });
	}
	const { endpoints } = compileAssignment(cluster.loadAssignment, isDns, object, 'load_assignment');
	if (endpoints.length !== 1) {
		const found = `${endpoints.length} endpoints`;
		throw new ConfigError({ object, field: 'load_assignment', found, expected: 'exactly one for the control plane' });
	}
	const { address, metadata } = endpoints[0]!;
	const connectTimeoutMs = durationMs(cluster.connectTimeout);
	return {
		addresses: [address],
		tls: new TransportSockets(cluster, secrets).forEndpoint(metadata),
		...(connectTimeoutMs === null ? {} : { connectTimeoutMs }),
		...keepaliveOf(cluster),
	};
}

/** The cluster is never made, so its own compilation does not look at these. */
function checkHttp2(cluster: Cluster, object: string): void {
	const details = unsupportedFields(ClusterSchema, cluster, ADS_CLUSTER_FIELDS, object);
	// The typed options are an Any, which the walk does not open.
	for (const [key, any] of Object.entries(cluster.typedExtensionProtocolOptions)) {
		const options = anyUnpack(any, HttpProtocolOptionsSchema);
		const field = `typed_extension_protocol_options[${JSON.stringify(key)}]`;
		if (options === undefined)
			throw new ConfigError({ object, field, found: any.typeUrl, expected: 'HttpProtocolOptions' });
		details.push(...unsupportedFields(HttpProtocolOptionsSchema, options, ADS_CLUSTER_FIELDS, object, field));
	}
	if (details.length > 0) throw new ConfigError(details);
}

function keepaliveOf(cluster: Cluster): { keepaliveMs?: number; keepaliveTimeoutMs?: number } {
	for (const any of Object.values(cluster.typedExtensionProtocolOptions)) {
		const config = anyUnpack(any, HttpProtocolOptionsSchema)?.upstreamProtocolOptions;
		if (config?.case !== 'explicitHttpConfig' || config.value.protocolConfig.case !== 'http2ProtocolOptions') continue;
		const keepalive = config.value.protocolConfig.value.connectionKeepalive;
		const keepaliveMs = durationMs(keepalive?.interval);
		const keepaliveTimeoutMs = durationMs(keepalive?.timeout);
		return {
			...(keepaliveMs === null ? {} : { keepaliveMs }),
			...(keepaliveTimeoutMs === null ? {} : { keepaliveTimeoutMs }),
		};
	}
	return {};
}
