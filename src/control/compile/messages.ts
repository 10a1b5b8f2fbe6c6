// Small messages that several resources are put together from.

import { create, type DescMessage, type JsonObject, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { type Any, AnySchema, type Duration, DurationSchema } from '@bufbuild/protobuf/wkt';
import { type Address, AddressSchema } from '../../generated/envoy/config/core/v3/address_pb.ts';
import {
	ApiConfigSource_ApiType,
	ApiVersion,
	type ConfigSource,
	ConfigSourceSchema,
} from '../../generated/envoy/config/core/v3/config_source_pb.ts';
import {
	type SdsSecretConfig,
	SdsSecretConfigSchema,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { TypedStructSchema } from '../../generated/xds/type/v3/typed_struct_pb.ts';

const PREFIX = 'type.googleapis.com/';

/** gRPC cluster of the bootstrap that answers SDS; a weft sidecar answers it itself. */
export const SECRETS_CLUSTER = 'sds-grpc';

export function any<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Any {
	return create(AnySchema, { typeUrl: PREFIX + schema.typeName, value: toBinary(schema, message) });
}

/** A message without fields of its own, by its full name. */
export function emptyAny(typeName: string): Any {
	return create(AnySchema, { typeUrl: PREFIX + typeName });
}

/** `xds.type.v3.TypedStruct`: how weft's own filters are configured. */
export function typedStruct(typeName: string, value: JsonObject): Any {
	return any(TypedStructSchema, create(TypedStructSchema, { typeUrl: PREFIX + typeName, value }));
}

export function duration(ms: number): Duration {
	return create(DurationSchema, { seconds: BigInt(Math.floor(ms / 1000)), nanos: Math.round((ms % 1000) * 1e6) });
}

/** `networkNamespace`: path of the one in which the socket is made; empty for the proxy's own. */
export function socketAddress(host: string, port: number, networkNamespace = ''): Address {
	return create(AddressSchema, {
		address: {
			case: 'socketAddress',
			value: {
				address: host,
				portSpecifier: { case: 'portValue', value: port },
				networkNamespaceFilepath: networkNamespace,
			},
		},
	});
}

export function adsSource(): ConfigSource {
	return create(ConfigSourceSchema, {
		configSourceSpecifier: { case: 'ads', value: {} },
		resourceApiVersion: ApiVersion.V3,
	});
}

/** A secret of the sidecar's identity, by Istio's names. */
export function sdsSecret(name: string): SdsSecretConfig {
	return create(SdsSecretConfigSchema, {
		name,
		sdsConfig: {
			configSourceSpecifier: {
				case: 'apiConfigSource',
				value: {
					apiType: ApiConfigSource_ApiType.GRPC,
					transportApiVersion: ApiVersion.V3,
					grpcServices: [{ targetSpecifier: { case: 'envoyGrpc', value: { clusterName: SECRETS_CLUSTER } } }],
					setNodeOnFirstMessageOnly: true,
				},
			},
			initialFetchTimeout: duration(0),
			resourceApiVersion: ApiVersion.V3,
		},
	});
}
