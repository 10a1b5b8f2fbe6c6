// The whole proxy on the simulated network: what depends on time, by moving it.

import { afterEach, describe, expect, test } from 'bun:test';
import { create, fromJson, toBinary } from '@bufbuild/protobuf';
import { AddressSchema } from '../generated/envoy/config/core/v3/address_pb.ts';
import { type Listener, ListenerSchema } from '../generated/envoy/config/listener/v3/listener_pb.ts';
import { CLIENT_PREFACE, Flag, FrameType } from '../http2/frames.ts';
import {
	concat,
	data,
	endingsOf,
	frame,
	GET_FIELDS,
	headers,
	POST_FIELDS,
	parseFrames,
	rawBlock,
	settings,
} from '../http2/testing.ts';
import type { Connection, ConnectionHandler } from '../net/network.ts';
import { SimulatedNetwork } from '../net/simulated-network.ts';
import { TestAuthority } from '../net/testing-certificates.ts';
import { parseBootstrap } from '../proxy/bootstrap.ts';
import { FakeDiscovery } from '../proxy/cluster/testing-upstream.ts';
import type { Exchange } from '../proxy/http-filters/exchange.ts';
import type { HttpFilter, HttpFilterFactory } from '../proxy/http-filters/filter.ts';
import { typeRegistry } from '../proxy/type-registry.ts';
import { VirtualClock } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';
import { faultSink } from '../std/fault.ts';
import { logSink } from '../std/log.ts';
import { SeededRandom } from '../std/random.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import { LISTENER_TYPE } from '../xds/type-urls.ts';
import { type RunningProxy, startProxy } from './proxy.ts';

const TYPE = 'type.googleapis.com/envoy.extensions.filters';
const ROUTER = { name: 'router', typed_config: { '@type': `${TYPE}.http.router.v3.Router` } };
const DOWNSTREAM_TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
const PORT = 15080;
const UPSTREAM_PORT = 15081;

/** One end of a connection, with all it got. */
class Peer implements ConnectionHandler {
	text = '';
	ended = false;
	closed = false;
	constructor(private readonly onText: (peer: Peer, connection: Connection) => void = () => {}) {}
	onConnect(): void {}
	onData(connection: Connection, bytes: Uint8Array): void {
		this.text += Buffer.from(bytes).toString('latin1');
		this.onText(this, connection);
	}
	onDrain(): void {}
	onEnd(connection: Connection): void {
		this.ended = true;
		connection.end();
	}
	onClose(): void {
		this.closed = true;
	}
}

class World {
	readonly clock = new VirtualClock();
	readonly network = new SimulatedNetwork({ seed: 5, clock: this.clock });
	readonly registry = new MetricRegistry();
	readonly upstreamRequests: string[] = [];
	/** Since the last answer, of the last connection that said something. */
	upstreamText = '';
	proxy!: RunningProxy;

	/** `answer` null: silence. */
	async start(
		manager: object,
		answer: string | null,
		more: { filters?: HttpFilterFactory[]; listener?: object } = {},
	): Promise<void> {
		this.network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: UPSTREAM_PORT } }, (connection) => {
			connection.handler = new Peer((peer) => {
				this.upstreamText = peer.text;
				if (!peer.text.includes('\r\n\r\n')) return;
				this.upstreamRequests.push(peer.text);
				peer.text = '';
				if (answer !== null) connection.write(Buffer.from(answer));
			});
		});
		const config = {
			'@type': `${TYPE}.network.http_connection_manager.v3.HttpConnectionManager`,
			stat_prefix: 's',
			http_filters: [ROUTER],
			...manager,
		};
		const bootstrap = {
			static_resources: {
				listeners: [
					{
						name: 'l',
						address: { socket_address: { address: '127.0.0.1', port_value: PORT } },
						filter_chains: [{ filters: [{ name: 'http', typed_config: config }] }],
						...more.listener,
					},
				],
				clusters: [
					{
						name: 'up',
						connect_timeout: '1s',
						load_assignment: {
							cluster_name: 'up',
							endpoints: [
								{
									lb_endpoints: [
										{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: UPSTREAM_PORT } } } },
									],
								},
							],
						},
					},
				],
			},
		};
		this.proxy = startProxy({
			bootstrap: parseBootstrap(JSON.stringify(bootstrap), 'b'),
			network: this.network,
			random: new SeededRandom(1),
			registry: this.registry,
			httpFilters: more.filters ?? [],
		});
		await this.proxy.ready;
	}

	client(text: string): { peer: Peer; connection: Connection } {
		const peer = new Peer();
		const connection = this.network.connect({ address: { kind: 'ip', host: '127.0.0.1', port: PORT } }, peer);
		connection.write(Buffer.from(text));
		return { peer, connection };
	}

	/** In steps, so that what one step brings can be answered in the next. */
	advance(ms: number): void {
		const step = Math.max(1, ms / 200);
		for (let at = 0; at < ms; at += step) this.clock.advance(step);
	}

	metric(name: string): number {
		for (const family of this.registry.all()) {
			if (family.name !== name) continue;
			let sum = 0;
			for (const series of family.series()) if ('value' in series.instrument) sum += series.instrument.value;
			return sum;
		}
		return 0;
	}
}

function routes(route: object, more: object = {}): object {
	return {
		route_config: {
			name: 'r',
			virtual_hosts: [
				{
					name: 'v',
					domains: ['*'],
					routes: [{ match: { prefix: '/' }, route: { cluster: 'up', ...route }, ...more }],
				},
			],
		},
	};
}

const GET = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n';
/** What a client of HTTP/2 says first, and to our SETTINGS. */
const OPENING = concat(CLIENT_PREFACE, settings(), frame(FrameType.settings, Flag.ack, 0));
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

let world = new World();

afterEach(async () => {
	await world.proxy.stop();
	world = new World();
});

describe('time', () => {
	test('a route timeout is 504, and the upstream is given up', async () => {
		await world.start(routes({ timeout: '3s' }), null);
		const { peer } = world.client(GET);
		world.advance(2900);
		expect(peer.text).toBe('');
		world.advance(200);
		expect(peer.text).toStartWith('HTTP/1.1 504');
		expect(peer.text).toEndWith('upstream request timeout');
		expect(world.metric('envoy_http_downstream_rq_active')).toBe(0);
	});

	test('a stream on which nothing moves is ended by the stream idle timeout', async () => {
		await world.start({ ...routes({ timeout: '0s' }), stream_idle_timeout: '5s' }, null);
		const { peer } = world.client(GET);
		world.advance(4900);
		expect(peer.text).toBe('');
		world.advance(300);
		expect(peer.text).toStartWith('HTTP/1.1 504');
		expect(world.metric('envoy_http_downstream_rq_idle_timeout')).toBe(1);
	});

	test("a route's own idle timeout replaces it", async () => {
		await world.start({ ...routes({ timeout: '0s', idle_timeout: '20s' }), stream_idle_timeout: '5s' }, null);
		const { peer } = world.client(GET);
		world.advance(19_000);
		expect(peer.text).toBe('');
		world.advance(2000);
		expect(peer.text).toStartWith('HTTP/1.1 504');
	});

	test('a stream has a longest duration, whatever moves on it', async () => {
		const options = { common_http_protocol_options: { max_stream_duration: '2s' } };
		await world.start(
			{ ...routes({ timeout: '0s' }), ...options },
			'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nsome',
		);
		const begun = world.client(GET);
		const unfinished = world.client('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n');
		world.advance(1900);
		expect(begun.peer.text).toEndWith('some');
		expect(begun.peer.closed).toBe(false);
		world.advance(200);
		expect(begun.peer.closed).toBe(true);
		expect(unfinished.peer.closed).toBe(true);
		expect(world.metric('envoy_http_downstream_rq_max_duration_reached')).toBe(2);
	});

	test("a route's own longest duration replaces it, and the route's timeout", async () => {
		const options = { common_http_protocol_options: { max_stream_duration: '2s' } };
		const route = { timeout: '1s', max_stream_duration: { max_stream_duration: '20s' } };
		await world.start({ ...routes(route), ...options }, null);
		const { peer } = world.client(GET);
		const unfinished = world.client('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n');
		world.advance(19_000);
		expect(peer.text).toBe('');
		world.advance(2000);
		expect(peer.text).toStartWith('HTTP/1.1 504');
		expect(peer.text).toEndWith('downstream duration timeout');
		expect(unfinished.peer.text).toStartWith('HTTP/1.1 408');
	});

	test("a route's longest duration of 0 lifts it", async () => {
		const options = { common_http_protocol_options: { max_stream_duration: '2s' } };
		const route = { timeout: '1s', max_stream_duration: { max_stream_duration: '0s' } };
		await world.start({ ...routes(route), ...options }, null);
		const { peer } = world.client(GET);
		world.advance(60_000);
		expect(peer.text).toBe('');
	});

	test('a request timeout that was kept does not ring again while the response is awaited', async () => {
		await world.start({ ...routes({ timeout: '0s' }), request_timeout: '2s' }, null);
		const { connection } = world.client('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nha');
		world.advance(100);
		connection.write(Buffer.from('lf'));
		world.advance(1000);
		let looks = 0;
		const { nowMs } = world.clock;
		world.clock.nowMs = () => {
			looks += 1;
			// Ends what would else ring for ever without time passing.
			if (looks > 100) throw new Error('the clock is looked at too often');
			return nowMs.call(world.clock);
		};
		world.clock.advance(60_000);
		expect(looks).toBeLessThan(100);
	});

	test('a request that does not come to its end is 408', async () => {
		await world.start({ ...routes({}), request_timeout: '2s' }, null);
		const { peer } = world.client('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf');
		world.advance(2500);
		expect(peer.text).toStartWith('HTTP/1.1 408');
	});

	test('HTTP/2: a block that came in parts and began no request is not a head that never ends', async () => {
		await world.start({ ...routes({}), request_headers_timeout: '2s', request_timeout: '5s' }, OK);
		const { peer, connection } = world.client('');
		const inParts = (streamId: number, flags: number, block: Uint8Array): void => {
			connection.write(frame(FrameType.headers, flags, streamId, block.subarray(0, 5)));
			world.advance(100);
			connection.write(frame(FrameType.continuation, Flag.endHeaders, streamId, block.subarray(5)));
			world.advance(100);
		};
		connection.write(concat(OPENING, headers(1, POST_FIELDS, false)));
		inParts(1, Flag.endStream, rawBlock([['x-checksum', '1']]));
		// Without a path it is refused.
		inParts(3, 0, rawBlock([[':method', 'GET']]));
		world.advance(20_000);
		connection.write(concat(headers(5, POST_FIELDS, false), data(5, 'some')));
		world.advance(1000);
		connection.write(data(5, 'more', true));
		world.advance(1000);
		expect(peer.closed).toBe(false);
		const frames = parseFrames(Buffer.from(peer.text, 'latin1'));
		// The upstream here answers without waiting for bodies, which resets what is left of them.
		expect(endingsOf(frames).filter((one) => !one.endsWith('NO_ERROR'))).toEqual(['RST_STREAM 3 PROTOCOL_ERROR']);
		expect(frames.filter((one) => one.type === FrameType.data).map((one) => one.streamId)).toEqual([1, 5]);
		expect(world.metric('envoy_http_downstream_rq_timeout')).toBe(0);
	});

	test('HTTP/2: a head that never ends closes the connection', async () => {
		await world.start({ ...routes({}), request_headers_timeout: '2s' }, OK);
		const { peer, connection } = world.client('');
		connection.write(concat(OPENING, frame(FrameType.headers, 0, 1, rawBlock(GET_FIELDS))));
		world.advance(1800);
		expect(endingsOf(parseFrames(Buffer.from(peer.text, 'latin1')))).toEqual([]);
		world.advance(400);
		expect(endingsOf(parseFrames(Buffer.from(peer.text, 'latin1')))).toEqual(['GOAWAY ENHANCE_YOUR_CALM']);
	});

	test('an idle connection is closed', async () => {
		await world.start({ ...routes({}), common_http_protocol_options: { idle_timeout: '30s' } }, OK);
		const { peer } = world.client(GET);
		world.advance(1000);
		expect(peer.text).toEndWith('ok');
		world.advance(28_000);
		expect(peer.ended).toBe(false);
		world.advance(3000);
		expect(peer.ended).toBe(true);
		expect(world.metric('envoy_listener_downstream_cx_active')).toBe(0);
	});

	test('a client that never ends its side is cut off some time after we ended ours', async () => {
		await world.start({ ...routes({}) }, OK);
		const { peer } = world.client('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
		peer.onEnd = () => {
			peer.ended = true;
		};
		world.advance(500);
		expect(peer).toMatchObject({ ended: true, closed: false });
		// 1 s, with all of the response in the kernel's hands.
		world.advance(1500);
		// Closes are told in a microtask.
		await Promise.resolve();
		expect(peer.closed).toBe(true);
		expect(world.metric('envoy_listener_downstream_cx_active')).toBe(0);
	});

	test('a connection has a longest life and a number of requests', async () => {
		await world.start({ ...routes({}), common_http_protocol_options: { max_connection_duration: '10s' } }, OK);
		const { peer, connection } = world.client(GET);
		world.advance(11_000);
		connection.write(Buffer.from(GET));
		world.advance(1000);
		expect(peer.ended).toBe(true);
	});

	test('a per-try timeout leads to another try within the timeout of all', async () => {
		await world.start(
			routes({ timeout: '10s', retry_policy: { retry_on: 'reset', num_retries: 2, per_try_timeout: '1s' } }),
			null,
		);
		const { peer } = world.client(GET);
		world.advance(6000);
		expect(world.upstreamRequests.length).toBe(3);
		expect(peer.text).toStartWith('HTTP/1.1 504');
	});

	test('an injected delay holds the request back, and its body too', async () => {
		const fault = {
			'@type': `${TYPE}.http.fault.v3.HTTPFault`,
			delay: { fixed_delay: '2s', percentage: { numerator: 100 } },
		};
		await world.start({ ...routes({}), http_filters: [{ name: 'fault', typed_config: fault }, ROUTER] }, null);
		world.client('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody');
		world.advance(1900);
		expect(world.upstreamRequests).toEqual([]);
		world.advance(300);
		expect(world.upstreamRequests.join('') + world.upstreamText).toContain('body');
		expect(world.metric('envoy_http_fault_active_faults')).toBe(0);
	});

	test('an abort with a gRPC status is that status to a gRPC client, and 200 to others', async () => {
		const fault = {
			'@type': `${TYPE}.http.fault.v3.HTTPFault`,
			abort: { grpc_status: 5, percentage: { numerator: 100 } },
		};
		await world.start({ ...routes({}), http_filters: [{ name: 'fault', typed_config: fault }, ROUTER] }, OK);
		const grpc = world.client(
			'POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n',
		);
		const plain = world.client(GET);
		world.advance(100);
		expect(grpc.peer.text).toStartWith('HTTP/1.1 200');
		expect(grpc.peer.text.match(/^(grpc|content-type).*$/gm)).toEqual([
			'content-type: application/grpc',
			'grpc-status: 5',
			'grpc-message: fault filter abort',
		]);
		expect(plain.peer.text).toStartWith('HTTP/1.1 200');
		expect(plain.peer.text).toContain('content-type: text/plain');
		expect(plain.peer.text).not.toContain('grpc');
		expect(plain.peer.text).toEndWith('fault filter abort');
	});

	test('a client that leaves during a delay gives its place back', async () => {
		const fault = {
			'@type': `${TYPE}.http.fault.v3.HTTPFault`,
			delay: { fixed_delay: '60s', percentage: { numerator: 100 } },
			max_active_faults: 1,
		};
		await world.start({ ...routes({}), http_filters: [{ name: 'fault', typed_config: fault }, ROUTER] }, OK);
		const first = world.client(GET);
		world.advance(100);
		const second = world.client(GET);
		world.advance(100);
		expect(second.peer.text).toEndWith('ok');
		first.connection.reset();
		world.advance(100);
		expect(world.metric('envoy_http_fault_active_faults')).toBe(0);
		expect(world.upstreamRequests.length).toBe(1);
	});
});

describe('the hint that a request may be sent again', () => {
	const hint = (direction: string): object => ({
		name: 'hint',
		typed_config: {
			'@type': 'type.googleapis.com/xds.type.v3.TypedStruct',
			type_url: 'type.googleapis.com/weft.retry.v1.RetryHint',
			value: { direction },
		},
	});

	test('is set inbound when the program cannot have seen the request', async () => {
		await world.start({ ...routes({ cluster: 'absent' }), http_filters: [hint('inbound'), ROUTER] }, OK);
		const { peer } = world.client('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n');
		world.advance(100);
		expect(peer.text).toContain('x-weft-retry: safe');
	});

	test('is not set for what the program answered or may have done', async () => {
		await world.start({ ...routes({ timeout: '1s' }), http_filters: [hint('inbound'), ROUTER] }, null);
		const { peer } = world.client(GET);
		world.advance(1500);
		expect(peer.text).toStartWith('HTTP/1.1 504');
		expect(peer.text).not.toContain('x-weft-retry');
	});

	test('is taken from the program, and from what the caller sees', async () => {
		const forged = 'HTTP/1.1 503 No\r\nx-weft-retry: safe\r\ncontent-length: 0\r\n\r\n';
		await world.start({ ...routes({}), http_filters: [hint('outbound'), ROUTER] }, forged);
		const { peer } = world.client(GET);
		world.advance(100);
		expect(peer.text).toStartWith('HTTP/1.1 503');
		expect(peer.text).not.toContain('x-weft-retry');
	});
});

test('a fault of ours closes one connection and no other', async () => {
	const broken: HttpFilterFactory = {
		typeUrl: 'type.googleapis.com/test.Broken',
		compile: (_config, context) => ({
			name: context.name,
			onRequestHead: (exchange) => {
				if (exchange.requestHead.path === '/broken') throw new Error('a bug');
				return 'continue';
			},
			onResponseHead: (exchange) => {
				if (exchange.requestHead.path === '/late') throw new Error('a late bug');
			},
		}),
	};
	const filter = {
		name: 'broken',
		typed_config: { '@type': 'type.googleapis.com/xds.type.v3.TypedStruct', type_url: broken.typeUrl },
	};
	await world.start({ ...routes({}), http_filters: [filter, ROUTER] }, OK, { filters: [broken] });
	const level = logSink.level;
	logSink.level = 'off';
	const good = world.client(GET);
	const bad = world.client('GET /broken HTTP/1.1\r\nhost: x\r\n\r\n');
	const late = world.client('GET /late HTTP/1.1\r\nhost: x\r\n\r\n');
	world.advance(500);
	logSink.level = level;
	expect(bad.peer.closed).toBe(true);
	expect(late.peer.closed || late.peer.ended).toBe(true);
	expect(good.peer.text).toEndWith('ok');
	good.connection.write(Buffer.from(GET));
	world.advance(500);
	expect(good.peer.text.split('200 OK').length).toBe(3);
	expect(world.metric('weft_http_connection_faults_total')).toBe(1);
	expect(world.metric('envoy_http_downstream_rq_active')).toBe(0);
});

/** Filters that throw in one hook, for the path `/bad`; `pause` makes another timer-driven. */
describe('a fault of ours, wherever it is thrown, ends what it was thrown in', () => {
	const typeUrl = 'type.googleapis.com/test.Broken';
	const isBad = (exchange: Exchange): boolean => exchange.requestHead.path === '/bad';
	const bug = (exchange: Exchange): void => {
		if (isBad(exchange)) throw new Error('a bug');
	};
	const hooks: Readonly<Record<string, Partial<HttpFilter>>> = {
		'request data': {
			onRequestData: (exchange, bytes) => {
				bug(exchange);
				return bytes;
			},
		},
		'response head': { onResponseHead: bug },
		'response data': {
			onResponseData: (exchange, bytes) => {
				bug(exchange);
				return bytes;
			},
		},
		completion: { onComplete: bug },
		'a timer': {
			onRequestHead: (exchange) => {
				if (!isBad(exchange)) return 'continue';
				exchange.after(50, () => bug(exchange));
				return 'pause';
			},
		},
	};
	for (const [place, hook] of Object.entries(hooks)) {
		test(place, async () => {
			const broken: HttpFilterFactory = { typeUrl, compile: (_config, { name }) => ({ name, ...hook }) };
			const typed_config = { '@type': 'type.googleapis.com/xds.type.v3.TypedStruct', type_url: typeUrl };
			const places: string[] = [];
			const { level } = logSink;
			const { count } = faultSink;
			logSink.level = 'off';
			faultSink.count = (one) => void places.push(one);
			await world.start({ ...routes({}), http_filters: [{ name: 'broken', typed_config }, ROUTER] }, OK, {
				filters: [broken],
			});
			const post = (path: string) => `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi`;
			const good = world.client(post('/good'));
			const bad = world.client(post('/bad'));
			world.advance(500);
			expect(good.peer.text).toEndWith('ok');
			good.connection.write(Buffer.from(post('/good')));
			world.advance(500);
			await Promise.resolve();
			logSink.level = level;
			faultSink.count = count;
			expect(good.peer.text.split('200 OK').length).toBe(3);
			// At completion the response was sent already, and the connection is none the worse.
			const isEnded = place !== 'completion';
			expect(bad.peer.closed || bad.peer.ended).toBe(isEnded);
			expect(places).toHaveLength(1);
			expect(world.metric('envoy_http_downstream_rq_active')).toBe(0);
			expect(world.metric('envoy_http_downstream_cx_active')).toBe(isEnded ? 1 : 2);
			expect(world.proxy.listeners.connectionCount()).toBe(isEnded ? 1 : 2);
		});
	}
});

test('a listener that was removed leaves no timer behind once its connections have ended', async () => {
	await world.start(routes({}), OK);
	const discovery = new FakeDiscovery();
	const followed = world.proxy.listeners.follow(discovery, 0);
	const { message } = world.proxy.listeners.status()[0]!;
	const address: Listener['address'] = create(AddressSchema, {
		address: {
			case: 'socketAddress',
			value: { address: '127.0.0.1', portSpecifier: { case: 'portValue', value: PORT + 100 } },
		},
	});
	const removable = { ...message, name: 'removable', address };
	discovery.give(LISTENER_TYPE, { removable: toBinary(ListenerSchema, removable) });
	await followed;
	const peer = new Peer();
	world.network.connect({ address: { kind: 'ip', host: '127.0.0.1', port: PORT + 100 } }, peer);
	world.advance(100);
	expect(world.proxy.listeners.connectionCount()).toBe(1);
	discovery.give(LISTENER_TYPE, {}, ['removable']);
	world.advance(100);
	expect(peer.closed).toBe(true);
	expect(world.clock.nextDueMs()).toBe(null);
});

test('the certificates of a listener that was replaced, or removed, are not watched any more', async () => {
	const authority = await TestAuthority.create('a');
	const ends: string[] = [];
	const chains = async (notAfterMs: number) => {
		const { certificatePem, privateKeyPem } = await authority.issue({ notAfterMs });
		const pair = {
			certificate_chain: { inline_string: certificatePem },
			private_key: { inline_string: privateKeyPem },
		};
		const context = { '@type': DOWNSTREAM_TLS, common_tls_context: { tls_certificates: [pair] } };
		const tcp = { '@type': `${TYPE}.network.tcp_proxy.v3.TcpProxy`, stat_prefix: 't', cluster: 'up' };
		const json = [
			{ filters: [{ name: 'tcp', typed_config: tcp }], transport_socket: { name: 'tls', typed_config: context } },
		];
		return fromJson(ListenerSchema, { filter_chains: json }, { registry: typeRegistry }).filterChains;
	};
	const look = () => {
		for (const family of world.registry.all()) {
			if (family.name !== 'envoy_listener_ssl_certificate_expiration_unix_time_seconds') continue;
			const values = [...family.series()].map(({ instrument }) => ('value' in instrument ? instrument.value : null));
			ends.push(values.join());
		}
	};
	await world.start(routes({}), OK);
	const discovery = new FakeDiscovery();
	const followed = world.proxy.listeners.follow(discovery, 0);
	const { message } = world.proxy.listeners.status()[0]!;
	const value = { address: '127.0.0.1', portSpecifier: { case: 'portValue' as const, value: PORT + 100 } };
	const address = create(AddressSchema, { address: { case: 'socketAddress', value } });
	const first = { ...message, name: 'secure', address, filterChains: await chains(2_000_000_000_000) };
	discovery.give(LISTENER_TYPE, { secure: toBinary(ListenerSchema, first) });
	await followed;
	look();
	const second = { ...first, tcpBacklogSize: 7, filterChains: await chains(2_100_000_000_000) };
	discovery.give(LISTENER_TYPE, { secure: toBinary(ListenerSchema, second) });
	look();
	discovery.give(LISTENER_TYPE, {}, ['secure']);
	look();
	expect(ends).toEqual(['2000000000', '2100000000', '']);
	expect(world.metric('envoy_server_days_until_first_cert_expiring')).toBe(2 ** 32 - 1);
});

test('a listener whose new socket cannot be had listens as before', async () => {
	await world.start(routes({}), OK);
	const discovery = new FakeDiscovery();
	const followed = world.proxy.listeners.follow(discovery, 0);
	const port = PORT + 100;
	const value = { address: '127.0.0.1', portSpecifier: { case: 'portValue' as const, value: port } };
	const address = create(AddressSchema, { address: { case: 'socketAddress', value } });
	const good = { ...world.proxy.listeners.status()[0]!.message, name: 'changing', address };
	discovery.give(LISTENER_TYPE, { changing: toBinary(ListenerSchema, good) });
	await followed;
	const { network } = world;
	network.listen = (...args) => {
		network.listen = SimulatedNetwork.prototype.listen;
		throw new WeftError('permission_denied', `not at ${JSON.stringify(args[0].address)}`);
	};
	const bad = { ...good, tcpBacklogSize: 7 };
	const refusals = discovery.give(LISTENER_TYPE, { changing: toBinary(ListenerSchema, bad) });
	expect(String(refusals)).toContain('not at');
	const peer = new Peer();
	network.connect({ address: { kind: 'ip', host: '127.0.0.1', port } }, peer).write(Buffer.from(GET));
	world.advance(100);
	expect(peer.text).toEndWith('ok');
});

test('a drain that begins while another is under way ends with it', async () => {
	await world.start(routes({ timeout: '0s' }), null);
	const { connection } = world.client(GET);
	world.advance(100);
	const { listeners } = world.proxy;
	const over: string[] = [];
	const drains = [
		listeners.drainInbound(60_000).then(() => over.push('inbound')),
		listeners.drain(60_000).then(() => over.push('all')),
	];
	world.advance(100);
	expect(over).toEqual([]);
	connection.reset();
	world.advance(100);
	await Promise.all(drains);
	expect(over.sort()).toEqual(['all', 'inbound']);
	expect(world.clock.nowMs()).toBeLessThan(1000);
});
