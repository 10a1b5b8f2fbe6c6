// Health checks over HTTP/2, by gRPC and by HTTP, on the simulated network.

import { describe, expect, test } from 'bun:test';
import type { JsonObject } from '@bufbuild/protobuf';
import { frameMessage } from '../../grpc/message-reader.ts';
import type { RequestHead, ServerStream } from '../../http/stream.ts';
import { ErrorCode } from '../../http2/frames.ts';
import { Http2ServerCodec } from '../../http2/server-codec.ts';
import type { Connection } from '../../net/network.ts';
import { staticCluster, TestBed } from './testing-upstream.ts';

interface Check {
	readonly head: RequestHead;
	readonly stream: ServerStream;
	body: Buffer;
	done: boolean;
}

type Answer = (check: Check) => void;

class Http2Host {
	readonly checks: Check[] = [];
	readonly connections: Connection[] = [];
	readonly codecs: Http2ServerCodec[] = [];

	constructor(
		bed: TestBed,
		public answer: Answer,
		port = 9000,
	) {
		const { network } = bed;
		network.listen({ address: { kind: 'ip', host: '127.0.0.1', port } }, (connection) => {
			this.connections.push(connection);
			const codec = new Http2ServerCodec(
				{
					write: (bytes) => connection.write(bytes),
					pauseReading: () => connection.pause(),
					resumeReading: () => connection.resume(),
					close: (how) => (how === 'flush' ? connection.end() : connection.reset()),
				},
				{ onStream: (stream) => this.listen(stream), onProtocolError() {}, onIdle() {} },
				{ clock: network.clock },
			);
			this.codecs.push(codec);
			connection.handler = {
				onConnect() {},
				onData: (_connection, bytes) => codec.receive(bytes),
				onDrain: () => codec.transportDrained(),
				onEnd: () => {
					codec.receiveEnd();
					connection.end();
				},
				onClose: (_connection, error) => codec.transportClosed(error),
			};
		});
	}

	private listen(stream: ServerStream) {
		let check: Check;
		const end = (): void => {
			check.done = true;
			this.answer(check);
		};
		return {
			onHead: (head: RequestHead, ended: boolean) => {
				check = { head, stream, body: Buffer.alloc(0), done: false };
				this.checks.push(check);
				if (ended) end();
			},
			onData: (bytes: Uint8Array, ended: boolean) => {
				check.body = Buffer.concat([check.body, bytes]);
				if (ended) end();
			},
			onTrailers() {},
			onReset() {},
			onDrain() {},
		};
	}
}

const HEAD = { status: 200, headers: ['content-type', 'application/grpc'] };

function says(status: number, grpcStatus = '0'): Answer {
	return ({ stream }) => {
		stream.writeHead(HEAD, false);
		stream.writeData(frameMessage(Uint8Array.from(status === 0 ? [] : [8, status])), false);
		stream.writeTrailers(['grpc-status', grpcStatus]);
	};
}

function cluster(check: JsonObject, more: JsonObject = {}, http2 = true) {
	return staticCluster([9000], {
		health_checks: [
			{
				timeout: '1s',
				interval: '5s',
				no_traffic_interval: '5s',
				unhealthy_threshold: 2,
				healthy_threshold: 1,
				...check,
			},
		],
		common_lb_config: { healthy_panic_threshold: { value: 0 } },
		...(http2
			? {
					typed_extension_protocol_options: {
						'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
							'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
							explicit_http_config: { http2_protocol_options: {} },
						},
					},
				}
			: {}),
		...more,
	});
}

async function start(answer: Answer, check: JsonObject = { grpc_health_check: {} }, http2 = true) {
	const bed = new TestBed();
	const host = new Http2Host(bed, answer);
	bed.manager.addStatic(cluster(check, {}, http2));
	bed.manager.start(null);
	await bed.settle(100);
	return { bed, host, healthy: () => bed.manager.get('c')?.pick(null) != null };
}

describe('health checks by gRPC', () => {
	test('a host that says it serves is healthy; the call is as configured', async () => {
		const { bed, host, healthy } = await start(says(1), {
			grpc_health_check: {
				service_name: 'shop.Cart',
				authority: 'cart',
				initial_metadata: [{ header: { key: 'X-From', value: 'mesh 100%%' } }],
			},
		});
		expect(healthy()).toBe(true);
		const [check] = host.checks;
		expect(check!.head).toMatchObject({ method: 'POST', path: '/grpc.health.v1.Health/Check', authority: 'cart' });
		const { headers } = check!.head;
		const fields = Object.fromEntries(headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1]]] : [])));
		expect(fields).toEqual({
			te: 'trailers',
			'grpc-timeout': '1000m',
			'content-type': 'application/grpc',
			'user-agent': 'weft/HC',
			'x-from': 'mesh 100%',
		});
		expect([...check!.body]).toEqual([0, 0, 0, 0, 11, 0x0a, 9, ...Buffer.from('shop.Cart')]);
		await bed.settle(10_000);
		expect([host.checks.length, host.connections.length]).toEqual([3, 1]);
	});

	const refusals: Readonly<Record<string, Answer>> = {
		'does not serve': says(2),
		'does not know': says(0),
		'does not know the service': says(3),
		'says it serves, and failed': says(1, '13'),
		'says nothing readable': ({ stream }) => {
			stream.writeHead(HEAD, false);
			stream.writeData(frameMessage(Uint8Array.from([8])), false);
			stream.writeTrailers(['grpc-status', '0']);
		},
		'says it twice': ({ stream }) => {
			stream.writeHead(HEAD, false);
			const message = frameMessage(Uint8Array.from([8, 1]));
			stream.writeData(Buffer.concat([message, message]), false);
		},
		'says too much': ({ stream }) => {
			stream.writeHead(HEAD, false);
			stream.writeData(Uint8Array.from([0, 0, 1, 0, 0]), false);
		},
		'has no health service': ({ stream }) =>
			stream.writeHead({ status: 200, headers: [...HEAD.headers, 'grpc-status', '12'] }, true),
		'speaks no gRPC': ({ stream }) => stream.writeHead({ status: 200, headers: ['content-type', 'text/plain'] }, false),
		'has an HTTP error': ({ stream }) => stream.writeHead({ status: 503, headers: [] }, true),
		'ends without trailers': ({ stream }) => {
			stream.writeHead(HEAD, false);
			stream.writeData(frameMessage(Uint8Array.from([8, 1])), true);
		},
		'ends without a status': ({ stream }) => {
			stream.writeHead(HEAD, false);
			stream.writeData(frameMessage(Uint8Array.from([8, 1])), false);
			stream.writeTrailers(['x-other', '0']);
		},
	};
	for (const [what, answer] of Object.entries(refusals)) {
		test(`a host that ${what} is unhealthy at once, and healthy when it serves again`, async () => {
			const { bed, host, healthy } = await start(says(1));
			expect(healthy()).toBe(true);
			host.answer = answer;
			await bed.settle(5000);
			expect(healthy()).toBe(false);
			expect(bed.metric('health_check_failure')).toBe(1);
			expect(bed.metric('health_check_network_failure')).toBe(0);
			host.answer = says(1);
			await bed.settle(5000);
			expect(healthy()).toBe(true);
		});
	}

	test('silence and resets are faults of the network: they count towards the threshold', async () => {
		for (const answer of [() => {}, ({ stream }: Check) => stream.reset('cancelled')]) {
			const { bed, host, healthy } = await start(says(1));
			host.answer = answer;
			await bed.settle(6500);
			expect([healthy(), bed.metric('health_check_network_failure')]).toEqual([true, 1]);
			await bed.settle(6500);
			expect([healthy(), bed.metric('health_check_network_failure')]).toEqual([false, 2]);
		}
	});

	test('a GOAWAY in order lets the check end, and the next one begins on another connection', async () => {
		const { bed, host, healthy } = await start(says(1));
		host.answer = (check) => {
			host.codecs[0]!.startDrain();
			says(1)(check);
		};
		await bed.settle(5500);
		expect([healthy(), bed.metric('health_check_failure'), host.connections.length]).toEqual([true, 0, 1]);
		host.answer = says(1);
		await bed.settle(5500);
		expect([healthy(), bed.metric('health_check_failure'), host.connections.length]).toEqual([true, 0, 2]);
	});

	test('a GOAWAY by a fault fails the check', async () => {
		const { bed, host } = await start(says(1));
		host.answer = () => {
			const goaway = Buffer.alloc(17);
			goaway.set([0, 0, 8, 7]);
			goaway.writeUInt32BE(0x7fffffff, 9);
			goaway.writeUInt32BE(ErrorCode.internalError, 13);
			host.connections[0]!.write(goaway);
		};
		await bed.settle(5100);
		expect(bed.metric('health_check_network_failure')).toBe(1);
	});

	test('without HTTP/2 in the cluster, with operators or a bad name in the metadata it is refused', () => {
		const error = (check: JsonObject, http2 = true): string => {
			const bed = new TestBed();
			try {
				bed.manager.addStatic(cluster({ grpc_health_check: check }, {}, http2));
			} catch (thrown) {
				return (thrown as Error).message;
			}
			return '';
		};
		expect(error({}, false)).toContain('health_checks[0].grpc_health_check');
		const metadata = (key: string, value: string) => ({ initial_metadata: [{ header: { key, value } }] });
		expect(error(metadata('a', '%PROTOCOL%'))).toContain('initial_metadata[0].header.value');
		expect(error(metadata('a b', 'x'))).toContain('initial_metadata[0].header.key');
		expect(error(metadata('a', 'x'))).toBe('');
	});
});

test('codec_client_type HTTP2: an HTTP check by HTTP/2, whatever the cluster speaks', async () => {
	const check = { http_health_check: { path: '/healthz', codec_client_type: 'HTTP2' } };
	for (const http2 of [true, false]) {
		const { host, healthy } = await start(
			({ stream }) => stream.writeHead({ status: 200, headers: [] }, true),
			check,
			http2,
		);
		expect(healthy()).toBe(true);
		expect(host.checks[0]!.head).toMatchObject({ method: 'GET', path: '/healthz', authority: 'c' });
	}
});
