// A control plane for tests: sends every stream the resources that it is given, and keeps what it hears.

import { create, fromJson, type JsonValue } from '@bufbuild/protobuf';
import { type Any, anyPack } from '@bufbuild/protobuf/wkt';
import * as grpc from '@grpc/grpc-js';
import { ClusterSchema } from '../../src/generated/envoy/config/cluster/v3/cluster_pb.ts';
import { ClusterLoadAssignmentSchema } from '../../src/generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import { ListenerSchema } from '../../src/generated/envoy/config/listener/v3/listener_pb.ts';
import { RouteConfigurationSchema } from '../../src/generated/envoy/config/route/v3/route_pb.ts';
import { AggregatedDiscoveryService } from '../../src/generated/envoy/service/discovery/v3/ads_pb.ts';
import {
	type DeltaDiscoveryRequest,
	type DeltaDiscoveryResponse,
	DeltaDiscoveryResponseSchema,
} from '../../src/generated/envoy/service/discovery/v3/discovery_pb.ts';
import { serviceDefinition } from '../../src/grpc/protobuf-methods.ts';
import { typeRegistry } from '../../src/proxy/type-registry.ts';

const SCHEMAS = {
	cluster: ClusterSchema,
	endpoints: ClusterLoadAssignmentSchema,
	listener: ListenerSchema,
	routes: RouteConfigurationSchema,
} as const;

export type AdsKind = keyof typeof SCHEMAS;

type Call = grpc.ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

interface Sent {
	readonly typeUrl: string;
	readonly name: string;
	readonly version: string;
	readonly resource: Any;
}

export class SimpleAds {
	/** That are open now. */
	readonly streams = new Set<Call>();
	streamsEver = 0;
	readonly acknowledged: string[] = [];
	readonly refused: string[] = [];
	private readonly resources = new Map<string, Sent>();
	private version = 0;

	private constructor(
		private readonly server: grpc.Server,
		readonly port: number,
	) {}

	static async start(): Promise<SimpleAds> {
		const server = new grpc.Server();
		let ads: SimpleAds | null = null;
		server.addService(serviceDefinition(AggregatedDiscoveryService), {
			deltaAggregatedResources: (call: Call) => ads?.serve(call),
		});
		const port = await new Promise<number>((resolve, reject) => {
			server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
				if (error === null) resolve(bound);
				else reject(error);
			});
		});
		ads = new SimpleAds(server, port);
		return ads;
	}

	stop(): void {
		this.server.forceShutdown();
	}

	/** Sends it to all streams, and to those to come. */
	set(kind: AdsKind, name: string, message: object): void {
		const schema = SCHEMAS[kind];
		const resource = anyPack(schema, fromJson(schema, message as JsonValue, { registry: typeRegistry }));
		const sent: Sent = { typeUrl: resource.typeUrl, name, version: String(++this.version), resource };
		this.resources.set(`${sent.typeUrl} ${name}`, sent);
		for (const call of this.streams) this.send(call, sent.typeUrl, [sent], []);
	}

	remove(kind: AdsKind, name: string): void {
		const typeUrl = `type.googleapis.com/${SCHEMAS[kind].typeName}`;
		this.resources.delete(`${typeUrl} ${name}`);
		for (const call of this.streams) this.send(call, typeUrl, [], [name]);
	}

	private serve(call: Call): void {
		this.streamsEver += 1;
		this.streams.add(call);
		call.on('data', (request: DeltaDiscoveryRequest) => this.onRequest(call, request));
		call.on('end', () => call.end());
		call.on('close', () => this.streams.delete(call));
		call.on('cancelled', () => this.streams.delete(call));
		call.on('error', () => {});
	}

	private onRequest(call: Call, request: DeltaDiscoveryRequest): void {
		const { typeUrl, responseNonce, errorDetail, resourceNamesSubscribe } = request;
		if (responseNonce !== '') {
			if (errorDetail === undefined) this.acknowledged.push(typeUrl);
			else this.refused.push(errorDetail.message);
			if (resourceNamesSubscribe.length === 0) return;
		}
		const all = [...this.resources.values()].filter((one) => one.typeUrl === typeUrl);
		const some =
			resourceNamesSubscribe.length === 0 ? all : all.filter((one) => resourceNamesSubscribe.includes(one.name));
		this.send(call, typeUrl, some, []);
	}

	private send(call: Call, typeUrl: string, sent: readonly Sent[], removed: readonly string[]): void {
		call.write(
			create(DeltaDiscoveryResponseSchema, {
				typeUrl,
				nonce: String(++this.version),
				systemVersionInfo: String(this.version),
				removedResources: [...removed],
				resources: sent.map(({ name, version, resource }) => ({ name, version, resource })),
			}),
		);
	}
}
