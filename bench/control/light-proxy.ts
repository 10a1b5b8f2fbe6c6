// A proxy that only does what costs the control plane: it connects over mutual TLS, asks for
// everything by delta ADS as a sidecar does, acknowledges, and keeps the names.

import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import * as grpc from '@grpc/grpc-js';
import type { Node } from '../../src/generated/envoy/config/core/v3/base_pb.ts';
import { DeltaDiscoveryRequestSchema } from '../../src/generated/envoy/service/discovery/v3/discovery_pb.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../../src/xds/type-urls.ts';
import type { Ready } from './control-plane-child.ts';

const METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
/** What a sidecar asks for when it has these. */
const FOLLOWING: Readonly<Record<string, string>> = { [CLUSTER_TYPE]: ENDPOINT_TYPE, [LISTENER_TYPE]: ROUTE_TYPE };

interface Response {
	readonly typeUrl: string;
	readonly nonce: string;
	readonly names: string[];
}

export class LightProxy {
	/** Names of each type that it was sent at least once. */
	readonly received = new Map<string, Set<string>>();
	bytes = 0;
	private closed = false;
	private readonly client: grpc.Client;
	private readonly call: grpc.ClientDuplexStream<Uint8Array, Buffer>;

	constructor(
		control: Ready,
		credentials: grpc.ChannelCredentials,
		node: Node,
		private readonly onNames: (proxy: LightProxy, typeUrl: string, names: readonly string[]) => void,
	) {
		this.client = new grpc.Client(`127.0.0.1:${control.port}`, credentials, {
			'grpc.ssl_target_name_override': control.serverName,
			'grpc.default_authority': control.serverName,
			'grpc.max_receive_message_length': -1,
			'grpc.use_local_subchannel_pool': 1,
			'grpc.service_config_disable_resolution': 1,
		});
		this.call = this.client.makeBidiStreamRequest(
			METHOD,
			(bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
			(bytes: Buffer) => bytes,
			new grpc.Metadata(),
		);
		this.call.on('data', (bytes: Buffer) => this.onResponse(bytes));
		this.call.on('error', (error: Error) => {
			if (!this.closed) throw error;
		});
		this.call.write(
			toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, { node, typeUrl: CLUSTER_TYPE })),
		);
		this.send(LISTENER_TYPE, '', []);
	}

	close(): void {
		this.closed = true;
		this.call.cancel();
		this.client.close();
	}

	has(typeUrl: string): number {
		return this.received.get(typeUrl)?.size ?? 0;
	}

	private send(typeUrl: string, responseNonce: string, resourceNamesSubscribe: string[]): void {
		const request = create(DeltaDiscoveryRequestSchema, { typeUrl, responseNonce, resourceNamesSubscribe });
		this.call.write(toBinary(DeltaDiscoveryRequestSchema, request));
	}

	private onResponse(bytes: Buffer): void {
		this.bytes += bytes.length;
		const { typeUrl, nonce, names } = readResponse(bytes);
		let known = this.received.get(typeUrl);
		if (known === undefined) {
			known = new Set();
			this.received.set(typeUrl, known);
		}
		const fresh: string[] = [];
		for (const name of names) {
			if (known.has(name)) continue;
			known.add(name);
			if (name.startsWith('outbound|')) fresh.push(name);
		}
		const following = FOLLOWING[typeUrl];
		if (following !== undefined && fresh.length > 0) this.send(following, '', fresh);
		this.send(typeUrl, nonce, []);
		this.onNames(this, typeUrl, names);
	}
}

function readResponse(bytes: Uint8Array): Response {
	const reader = new BinaryReader(bytes);
	let typeUrl = '';
	let nonce = '';
	const names: string[] = [];
	while (reader.pos < reader.len) {
		const [field, wire] = reader.tag();
		if (field === 2) names.push(resourceName(reader, reader.uint32() + reader.pos));
		else if (field === 4) typeUrl = reader.string();
		else if (field === 5) nonce = reader.string();
		else reader.skip(wire);
	}
	return { typeUrl, nonce, names };
}

function resourceName(reader: BinaryReader, end: number): string {
	let name = '';
	while (reader.pos < end) {
		const [field, wire] = reader.tag();
		if (field === 3) name = reader.string();
		else reader.skip(wire);
	}
	return name;
}
