// gRPC over the proxy's HTTP/2, with grpc-js at both ends: the four kinds of calls, status, cancellation.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import {
	Client,
	credentials,
	type Metadata,
	type MethodDefinition,
	Server,
	ServerCredentials,
	type ServerDuplexStream,
	type ServerReadableStream,
	type ServerUnaryCall,
	type ServerWritableStream,
	type sendUnaryData,
	status,
} from '@grpc/grpc-js';
import { renderPrometheusText } from '../../src/telemetry/prometheus-text.ts';
import { httpListener, ROUTER_TYPE, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

const bytes = (value: Buffer): Buffer => value;

function method(name: string, requestStream: boolean, responseStream: boolean): MethodDefinition<Buffer, Buffer> {
	return {
		path: `/test.Echo/${name}`,
		requestStream,
		responseStream,
		requestSerialize: bytes,
		requestDeserialize: bytes,
		responseSerialize: bytes,
		responseDeserialize: bytes,
	};
}

const METHODS = {
	unary: method('Unary', false, false),
	collect: method('Collect', true, false),
	expand: method('Expand', false, true),
	chat: method('Chat', true, true),
	fail: method('Fail', false, false),
	hang: method('Hang', false, false),
	flood: method('Flood', false, true),
	swallow: method('Swallow', true, false),
};

let server: Server;
let proxies: TestProxy[] = [];
let client: Client;
let hangsCancelled = 0;
let flooded = 0;
/** Makes the server read what it is sent by `swallow`. */
let startSwallowing = (): void => {};

const FLOOD_MESSAGES = 600;
const FLOOD_MESSAGE_BYTES = 64 * 1024;

const GRPC_STATS_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig';

const HTTP2_UPSTREAM = {
	typed_extension_protocol_options: {
		'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
			'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
			explicit_http_config: { http2_protocol_options: {} },
		},
	},
};

async function startProxy(port: number): Promise<number> {
	const proxy = await startTestProxy({
		static_resources: {
			listeners: [
				httpListener(0, {
					http_filters: [
						{ name: 'stats', typed_config: { '@type': GRPC_STATS_TYPE, stats_for_all_methods: true } },
						{ name: 'router', typed_config: { '@type': ROUTER_TYPE } },
					],
					route_config: {
						virtual_hosts: [
							{
								name: 'all',
								domains: ['*'],
								routes: [{ match: { prefix: '/' }, route: { cluster: 'next', timeout: '0s' } }],
							},
						],
					},
				}),
			],
			clusters: [staticCluster('next', [port], HTTP2_UPSTREAM)],
		},
	});
	proxies.push(proxy);
	return proxy.port;
}

beforeAll(async () => {
	server = new Server();
	server.addService(METHODS, {
		unary: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => done(null, call.request),
		collect: (call: ServerReadableStream<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
			const all: Buffer[] = [];
			call.on('data', (message: Buffer) => all.push(message));
			call.on('end', () => done(null, Buffer.concat(all)));
		},
		expand: (call: ServerWritableStream<Buffer, Buffer>) => {
			for (let i = 0; i < 100; i++) call.write(Buffer.from(`${i}:${call.request}`));
			call.end();
		},
		chat: (call: ServerDuplexStream<Buffer, Buffer>) => {
			call.on('data', (message: Buffer) => call.write(message));
			call.on('end', () => call.end());
		},
		fail: (_call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) =>
			done({ code: status.FAILED_PRECONDITION, details: 'not so: ß' }),
		flood: (call: ServerWritableStream<Buffer, Buffer>) => {
			const message = Buffer.alloc(FLOOD_MESSAGE_BYTES, 'f');
			const write = (): void => {
				while (flooded < FLOOD_MESSAGES) {
					flooded++;
					if (call.write(message)) continue;
					call.once('drain', write);
					return;
				}
				call.end();
			};
			write();
		},
		swallow: (call: ServerReadableStream<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
			let count = 0;
			startSwallowing = () => {
				call.on('data', () => count++);
				call.on('end', () => done(null, Buffer.from(String(count))));
			};
		},
		hang: (call: ServerUnaryCall<Buffer, Buffer>) => {
			call.on('cancelled', () => {
				hangsCancelled++;
			});
		},
	});
	const port = await new Promise<number>((resolve, reject) =>
		server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
			error === null ? resolve(bound) : reject(error),
		),
	);
	const outer = await startProxy(await startProxy(port));
	client = new Client(`127.0.0.1:${outer}`, credentials.createInsecure());
});

afterAll(async () => {
	client?.close();
	for (const proxy of proxies) await proxy.stop();
	proxies = [];
	server?.forceShutdown();
});

interface Outcome {
	readonly messages: string[];
	readonly code: number;
	readonly details: string;
}

function unary(definition: MethodDefinition<Buffer, Buffer>, request: Buffer, deadlineMs = 10_000): Promise<Outcome> {
	return new Promise((resolve) => {
		const deadline = Date.now() + deadlineMs;
		client.makeUnaryRequest(definition.path, bytes, bytes, request, { deadline }, (error, reply) =>
			resolve({
				messages: reply === undefined ? [] : [reply.toString('latin1')],
				code: error?.code ?? status.OK,
				details: error?.details ?? '',
			}),
		);
	});
}

function heard(call: NodeJS.EventEmitter): Promise<Outcome> {
	const messages: string[] = [];
	return new Promise((resolve) => {
		call.on('data', (message: Buffer) => messages.push(message.toString()));
		call.on('error', () => {});
		call.on('status', (end: { code: number; details: string; metadata: Metadata }) =>
			resolve({ messages, code: end.code, details: end.details }),
		);
	});
}

test('unary, empty and large', async () => {
	for (const size of [0, 5, 100_000, 3_000_000]) {
		const { messages, code } = await unary(METHODS.unary, Buffer.alloc(size, 'x'));
		expect([code, messages[0]?.length]).toEqual([status.OK, size]);
	}
});

test('a status and its message', async () => {
	const { code, details } = await unary(METHODS.fail, Buffer.from('x'));
	expect([code, details]).toEqual([status.FAILED_PRECONDITION, 'not so: ß']);
});

test('a method that is not there', async () => {
	expect((await unary(method('Nowhere', false, false), Buffer.from('x'))).code).toBe(status.UNIMPLEMENTED);
});

test('a deadline cancels the call at the server', async () => {
	expect((await unary(METHODS.hang, Buffer.from('x'), 300)).code).toBe(status.DEADLINE_EXCEEDED);
	for (let i = 0; i < 500 && hangsCancelled === 0; i++) await new Promise((resolve) => setImmediate(resolve));
	expect(hangsCancelled).toBeGreaterThan(0);
});

test('a stream of answers', async () => {
	const call = client.makeServerStreamRequest(METHODS.expand.path, bytes, bytes, Buffer.from('a'));
	const { messages, code } = await heard(call);
	expect([code, messages.length, messages[99]]).toEqual([status.OK, 100, '99:a']);
});

test('a stream of requests', async () => {
	const reply = await new Promise<Buffer | undefined>((resolve) => {
		const call = client.makeClientStreamRequest(METHODS.collect.path, bytes, bytes, (_error, value) => resolve(value));
		for (let i = 0; i < 100; i++) call.write(Buffer.from(`${i},`));
		call.end();
	});
	expect(reply?.toString().split(',').length).toBe(101);
});

test('ping-pong', async () => {
	const call = client.makeBidiStreamRequest(METHODS.chat.path, bytes, bytes);
	let next = 0;
	call.on('data', () => {
		if (++next < 50) call.write(Buffer.from(`m${next}`));
		else call.end();
	});
	call.write(Buffer.from('m0'));
	const { messages, code } = await heard(call);
	expect([code, messages.length, messages[49]]).toEqual([status.OK, 50, 'm49']);
});

/** Calls that are answered while another stream is stuck. */
async function neighboursAnswer(): Promise<void> {
	for (let i = 0; i < 30; i++) expect((await unary(METHODS.unary, Buffer.alloc(20_000, 'n'))).code).toBe(status.OK);
}

test('a client that does not read holds its server back, and nobody else', async () => {
	flooded = 0;
	const call = client.makeServerStreamRequest(METHODS.flood.path, bytes, bytes, Buffer.from('x'));
	await neighboursAnswer();
	// Windows and buffers of three hops; without flow control all of it would have come by now.
	expect(flooded).toBeGreaterThan(0);
	expect(flooded).toBeLessThan(FLOOD_MESSAGES / 2);
	const { messages, code } = await heard(call);
	expect([code, messages.length, flooded]).toEqual([status.OK, FLOOD_MESSAGES, FLOOD_MESSAGES]);
	expect(messages.every((message) => message.length === FLOOD_MESSAGE_BYTES)).toBe(true);
}, 60_000);

test('a server that does not read holds its client back, and nobody else', async () => {
	let written = 0;
	const reply = new Promise<Buffer | undefined>((resolve) => {
		const call = client.makeClientStreamRequest(METHODS.swallow.path, bytes, bytes, (_error, value) => resolve(value));
		const message = Buffer.alloc(FLOOD_MESSAGE_BYTES, 'f');
		// grpc-js says when a message has left.
		const write = (): void => {
			if (written === FLOOD_MESSAGES) {
				call.end();
				return;
			}
			call.write(message, () => {
				written++;
				write();
			});
		};
		write();
	});
	await neighboursAnswer();
	expect(written).toBeGreaterThan(0);
	expect(written).toBeLessThan(FLOOD_MESSAGES / 2);
	startSwallowing();
	expect(String(await reply)).toBe(String(FLOOD_MESSAGES));
}, 60_000);

test('many streams at once, each with many small messages, and all are counted', async () => {
	const counted = (name: string): number => {
		const line = renderPrometheusText(proxies[1]!.registry)
			.split('\n')
			.find((one) => one.startsWith(`envoy_cluster_grpc_${name}{`) && one.includes('_method="Chat"'));
		return Number(line?.split(' ')[1] ?? 0);
	};
	const before = { request: counted('request_message_count'), response: counted('response_message_count') };
	const outcomes = await Promise.all(
		Array.from({ length: 100 }, (_, index) => {
			const call = client.makeBidiStreamRequest(METHODS.chat.path, bytes, bytes);
			for (let i = 0; i < 20; i++) call.write(Buffer.from(`${index}.${i}`));
			call.end();
			return heard(call);
		}),
	);
	outcomes.forEach(({ messages, code }, index) => {
		expect([code, messages]).toEqual([status.OK, Array.from({ length: 20 }, (_, i) => `${index}.${i}`)]);
	});
	expect(counted('request_message_count') - before.request).toBe(2000);
	expect(counted('response_message_count') - before.response).toBe(2000);
	expect(counted('success')).toBeGreaterThanOrEqual(100);
}, 60_000);
