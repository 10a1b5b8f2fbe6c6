// A management server for tests: real gRPC, and a test that decides each answer.

import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import * as grpc from '@grpc/grpc-js';
import { AggregatedDiscoveryService } from '../generated/envoy/service/discovery/v3/ads_pb.ts';
import {
	type DeltaDiscoveryRequest,
	type DeltaDiscoveryResponse,
	DeltaDiscoveryResponseSchema,
} from '../generated/envoy/service/discovery/v3/discovery_pb.ts';
import { serviceDefinition } from '../grpc/protobuf-methods.ts';
import type { Address } from '../net/network.ts';

type Call = grpc.ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

export interface FakeManagementServerOptions {
	readonly tls?: { readonly certificatePem: string; readonly privateKeyPem: string; readonly rootsPem: string };
}

export class FakeManagementServer {
	private server: grpc.Server | null = null;
	private port = 0;
	private call: Call | null = null;
	private subjectAltName = '';
	private readonly requests = new Waiting<DeltaDiscoveryRequest>();
	private readonly ends = new Waiting<'orderly' | 'cancelled'>();

	constructor(private readonly options: FakeManagementServerOptions = {}) {}

	/** Also again after `stop`, on the same port. */
	async start(): Promise<void> {
		const server = new grpc.Server();
		server.addService(serviceDefinition(AggregatedDiscoveryService), {
			deltaAggregatedResources: (call: Call) => this.serve(call),
		});
		this.port = await new Promise<number>((resolve, reject) => {
			server.bindAsync(`127.0.0.1:${this.port}`, this.credentials(), (error, port) => {
				if (error === null) resolve(port);
				else reject(error);
			});
		});
		this.server = server;
	}

	async stop(): Promise<void> {
		this.server?.forceShutdown();
		this.server = null;
	}

	get target(): Address {
		return { kind: 'ip', host: '127.0.0.1', port: this.port };
	}

	/** The next request, of any stream. */
	request(): Promise<DeltaDiscoveryRequest> {
		return this.requests.next();
	}

	/** How the next stream that ends did so. */
	streamEnd(): Promise<'orderly' | 'cancelled'> {
		return this.ends.next();
	}

	peerUris(): string {
		return this.subjectAltName;
	}

	/** `resources`: name → [version, content]. */
	respond(
		typeUrl: string,
		resources: Readonly<Record<string, readonly [string, string]>>,
		removed: readonly string[],
		nonce: string,
		innerTypeUrl = typeUrl,
	): void {
		this.call!.write(
			create(DeltaDiscoveryResponseSchema, {
				typeUrl,
				nonce,
				systemVersionInfo: `system-${nonce}`,
				removedResources: [...removed],
				resources: Object.entries(resources).map(([name, [version, content]]) => ({
					name,
					version,
					resource: create(AnySchema, { typeUrl: innerTypeUrl, value: new TextEncoder().encode(content) }),
				})),
			}),
		);
	}

	private serve(call: Call): void {
		this.call = call;
		const context = call.getAuthContext();
		this.subjectAltName = context.sslPeerCertificate?.subjectaltname ?? '';
		let ended = false;
		call.on('data', (request) => this.requests.push(request));
		call.on('end', () => {
			ended = true;
			this.ends.push('orderly');
			call.end();
		});
		call.on('cancelled', () => {
			if (!ended) this.ends.push('cancelled');
		});
		call.on('error', () => {});
	}

	private credentials(): grpc.ServerCredentials {
		const { tls } = this.options;
		if (tls === undefined) return grpc.ServerCredentials.createInsecure();
		return grpc.ServerCredentials.createSsl(
			Buffer.from(tls.rootsPem),
			[{ cert_chain: Buffer.from(tls.certificatePem), private_key: Buffer.from(tls.privateKeyPem) }],
			true,
		);
	}
}

/** A queue that a test waits on. */
class Waiting<T> {
	private readonly items: T[] = [];
	private readonly waiting: ((item: T) => void)[] = [];

	push(item: T): void {
		const waiter = this.waiting.shift();
		if (waiter === undefined) this.items.push(item);
		else waiter(item);
	}

	next(): Promise<T> {
		const item = this.items.shift();
		return item === undefined ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve(item);
	}
}
