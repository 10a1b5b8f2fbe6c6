// gRPC through weft and through real Envoy with the same bootstrap: the same calls get the same
// answers, reach the upstream as the same calls, and are logged and counted as the same.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderPrometheusText } from '../../src/telemetry/prometheus-text.ts';
import { freePort } from '../support/free-ports.ts';
import { type CallAnswer, type GrpcUpstream, grpcFrame, grpcUpstream, http2Request } from '../support/grpc-peers.ts';
import { eventually } from '../support/mesh-control.ts';
import { describeWithPeers } from '../support/peers.ts';
import { okResponse, type RawUpstream, rawRequest, rawUpstream } from '../support/raw-http.ts';
import {
	httpListener,
	ROUTER_TYPE,
	startRealEnvoy,
	startTestProxy,
	staticCluster,
	type TestProxy,
} from '../support/test-proxy.ts';

const TYPES = 'type.googleapis.com/envoy.extensions';
const FAULT_TYPE = `${TYPES}.filters.http.fault.v3.HTTPFault`;
const WEB_TYPE = `${TYPES}.filters.http.grpc_web.v3.GrpcWeb`;
const BRIDGE_TYPE = `${TYPES}.filters.http.grpc_http1_bridge.v3.Config`;
const CORS_TYPE = `${TYPES}.filters.http.cors.v3`;
const STATS_TYPE = `${TYPES}.filters.http.grpc_stats.v3.FilterConfig`;
const FILE_LOG_TYPE = `${TYPES}.access_loggers.file.v3.FileAccessLog`;
const HTTP2_UPSTREAM = {
	typed_extension_protocol_options: {
		'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
			'@type': `${TYPES}.upstreams.http.v3.HttpProtocolOptions`,
			explicit_http_config: { http2_protocol_options: {} },
		},
	},
};

const LOG_FORMAT =
	'%REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% ' +
	'%GRPC_STATUS% %GRPC_STATUS(CAMEL_STRING)% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%\n';

/** Listeners: without filters for gRPC, with those that translate, one that takes protobuf for gRPC, and CORS. */
interface Ports {
	readonly test: number;
	readonly filters: number;
	readonly protobuf: number;
	readonly cors: number;
}

let directory = '';
let weft: TestProxy;
let envoy: { stop(): Promise<void> };
let envoyPorts: Ports;
let weftPorts: Ports;
let adminPort = 0;
let grpc: GrpcUpstream;
let plain: RawUpstream;
/** Checked, and never asked for anything else but by what the checks decide. */
let checked: GrpcUpstream;

/** What the gRPC upstream says, by the last part of the path. */
const ANSWERS: Readonly<Record<string, CallAnswer | 'silence' | 'reset'>> = {
	ok: { body: grpcFrame('answer'), trailers: { 'grpc-status': '0', 'grpc-message': '' } },
	late: { body: grpcFrame('part'), trailers: { 'grpc-status': '5', 'grpc-message': 'not%20there', 'x-more': 'y' } },
	only14: { headers: { 'grpc-status': '14', 'grpc-message': 'away' } },
	only1: { headers: { 'grpc-status': '1' } },
	only4: { headers: { 'grpc-status': '4' } },
	only8: { headers: { 'grpc-status': '8' } },
	only13: { headers: { 'grpc-status': '13' } },
	only3: { headers: { 'grpc-status': '3' } },
	only99: { headers: { 'grpc-status': '99' } },
	bad: { headers: { 'grpc-status': 'x1' } },
	http503: { status: 503, headers: { 'content-type': 'text/plain' }, body: Buffer.from('no') },
	http404: { status: 404, headers: { 'content-type': 'text/html' }, body: Buffer.from('<p>') },
	html200: { headers: { 'content-type': 'text/html' }, body: Buffer.from('<p>') },
	nothing: { body: grpcFrame('x'), trailers: { 'x-only': 'this' } },
	silence: 'silence',
	reset: 'reset',
};

/** How a host answers a health check, by the authority of the check. */
const HEALTH: Readonly<Record<string, CallAnswer>> = {
	serving: { body: grpcFrame(Uint8Array.from([8, 1])), trailers: { 'grpc-status': '0' } },
	'not-serving': { body: grpcFrame(Uint8Array.from([8, 2])), trailers: { 'grpc-status': '0' } },
	unimplemented: { headers: { 'grpc-status': '12' } },
	failing: { body: grpcFrame(Uint8Array.from([8, 1])), trailers: { 'grpc-status': '13' } },
	html: { headers: { 'content-type': 'text/html' }, body: Buffer.from('<p>') },
	http: { status: 503, headers: { 'content-type': 'text/plain' }, body: Buffer.from('no') },
	endless: { body: grpcFrame(Uint8Array.from([8, 1])) },
};

function checkedCluster(name: string): object {
	return staticCluster(name, [checked.port], {
		...HTTP2_UPSTREAM,
		common_lb_config: { healthy_panic_threshold: { value: 0 } },
		health_checks: [
			{
				timeout: '5s',
				interval: '600s',
				no_traffic_interval: '600s',
				unhealthy_threshold: 1,
				healthy_threshold: 1,
				grpc_health_check: {
					service_name: 'shop.Cart',
					authority: name,
					initial_metadata: [{ header: { key: 'x-from', value: '100%%' } }],
				},
			},
		],
	});
}

function routes(): object {
	const to = (prefix: string, route: object, more: object = {}): object => ({
		match: { prefix },
		route: { cluster: 'grpc', ...route },
		...more,
	});
	const retry = (retryOn: string): object => ({ retry_policy: { retry_on: retryOn, num_retries: 2 } });
	return {
		validate_clusters: false,
		virtual_hosts: [
			{
				name: 'any',
				domains: ['*'],
				routes: [
					{ match: { prefix: '/only-grpc', grpc: {} }, route: { cluster: 'grpc' } },
					{ match: { prefix: '/only-grpc' }, direct_response: { status: 400, body: { inline_string: 'no gRPC' } } },
					to('/plain/', {}),
					to('/short/', { timeout: '0.2s' }),
					to('/duration/', { max_stream_duration: { max_stream_duration: '0.2s' } }),
					to('/said/', { max_stream_duration: { grpc_timeout_header_max: '0s' } }),
					to('/bounded/', { max_stream_duration: { grpc_timeout_header_max: '0.25s' } }),
					to('/bounded-duration/', {
						max_stream_duration: { max_stream_duration: '10s', grpc_timeout_header_max: '20s' },
					}),
					to('/offset/', {
						max_stream_duration: { grpc_timeout_header_max: '0s', grpc_timeout_header_offset: '0.1s' },
					}),
					to('/old/', { max_grpc_timeout: '0s' }),
					to('/old-bounded/', { max_grpc_timeout: '0.25s' }),
					to('/old-offset/', { max_grpc_timeout: '0s', grpc_timeout_offset: '0.1s' }),
					to('/old-try/', {
						max_grpc_timeout: '0s',
						retry_policy: { retry_on: '5xx', num_retries: 1, per_try_timeout: '0.15s' },
					}),
					to('/retry-grpc/', retry('cancelled,deadline-exceeded,internal,resource-exhausted,unavailable')),
					to('/retry-one/', retry('unavailable')),
					to('/retry-both/', retry('5xx,unavailable')),
					...Object.keys(HEALTH).map((name) => ({ match: { prefix: `/health/${name}/` }, route: { cluster: name } })),
					{ match: { prefix: '/http1/' }, route: { cluster: 'plain' } },
					{ match: { prefix: '/refused' }, route: { cluster: 'refused' } },
					{ match: { prefix: '/empty' }, route: { cluster: 'empty' } },
					{ match: { prefix: '/nowhere' }, route: { cluster: 'nowhere' } },
					{ match: { prefix: '/direct' }, direct_response: { status: 429, body: { inline_string: 'slow down: ü%' } } },
					{ match: { prefix: '/redirect' }, redirect: { path_redirect: '/x' } },
					...[400, 401, 403, 404, 408, 500, 501, 502, 503, 504, 200].map((status) => ({
						match: { prefix: `/status/${status}` },
						direct_response: { status },
					})),
					...[3, 14].map((status) =>
						to(
							`/abort-grpc/${status}`,
							{},
							{
								typed_per_filter_config: {
									fault: { '@type': FAULT_TYPE, abort: { grpc_status: status, percentage: { numerator: 100 } } },
								},
							},
						),
					),
					to(
						'/abort-http',
						{},
						{
							typed_per_filter_config: {
								fault: { '@type': FAULT_TYPE, abort: { http_status: 503, percentage: { numerator: 100 } } },
							},
						},
					),
				],
			},
		],
	};
}

const CLUSTERS = ['grpc', 'plain', 'empty', 'refused'];

function filterListener(name: string, port: number, filters: readonly object[]): object {
	const routes = CLUSTERS.map((cluster) => ({ match: { prefix: `/${cluster}/` }, route: { cluster } }));
	const direct = [429, 503].map((status) => ({
		match: { prefix: `/status-${status}` },
		direct_response: { status, body: { inline_string: 'our own: 100%' } },
	}));
	const manager = {
		route_config: { virtual_hosts: [{ name: 'any', domains: ['*'], routes: [...routes, ...direct] }] },
		server_name: 'mesh',
		delayed_close_timeout: '0.02s',
		stat_prefix: name,
		http_filters: [...filters, { name: 'router', typed_config: { '@type': ROUTER_TYPE } }],
	};
	return { ...httpListener(port, manager), name };
}

/** A policy on the route over one on the virtual host. */
function corsListener(port: number): object {
	const policy = (fields: object): object => ({
		typed_per_filter_config: { cors: { '@type': `${CORS_TYPE}.CorsPolicy`, ...fields } },
	});
	const fraction = (numerator: number): object => ({ default_value: { numerator, denominator: 'HUNDRED' } });
	const route = (prefix: string, fields: object | null): object => ({
		match: { prefix },
		route: { cluster: 'grpc' },
		...(fields === null ? {} : policy(fields)),
	});
	const manager = {
		route_config: {
			response_headers_to_add: [{ header: { key: 'x-level', value: 'config' } }],
			...policy({ expose_headers: 'grpc-status,grpc-message' }),
			virtual_hosts: [
				{
					name: 'any',
					domains: ['*'],
					...policy({
						allow_origin_string_match: [{ exact: 'https://a.example' }, { suffix: '.trusted.example' }],
						allow_methods: 'GET,POST',
						allow_headers: 'content-type,x-grpc-web',
						max_age: '600',
					}),
					routes: [
						route('/host', null),
						route('/all', {
							allow_origin_string_match: [{ prefix: '*' }],
							allow_methods: '*',
							allow_headers: '*',
							allow_credentials: true,
							allow_private_network_access: true,
						}),
						route('/strict', { forward_not_matching_preflights: false, max_age: '1' }),
						route('/off', { filter_enabled: fraction(0) }),
						route('/shadow', { filter_enabled: fraction(0), shadow_enabled: fraction(100) }),
						{ match: { prefix: '/direct' }, direct_response: { status: 200, body: { inline_string: 'x' } } },
					],
				},
			],
		},
		server_name: 'mesh',
		delayed_close_timeout: '0.02s',
		stat_prefix: 'cors',
		http_filters: [
			{ name: 'cors', typed_config: { '@type': `${CORS_TYPE}.Cors` } },
			{ name: 'web', typed_config: { '@type': WEB_TYPE } },
			{ name: 'router', typed_config: { '@type': ROUTER_TYPE } },
		],
	};
	return { ...httpListener(port, manager), name: 'cors' };
}

function bootstrap(ports: Ports, adminPort: number, logPath: string): object {
	const allowed = { services: [{ name: 'grpc', method_names: ['ok', 'late', 'only14'] }] };
	const filters = [
		{ name: 'stats', typed_config: { '@type': STATS_TYPE, individual_method_stats_allowlist: allowed } },
		{ name: 'web', typed_config: { '@type': WEB_TYPE } },
		{ name: 'bridge', typed_config: { '@type': BRIDGE_TYPE } },
	];
	const bridge = { '@type': BRIDGE_TYPE, upgrade_protobuf_to_grpc: true, ignore_query_parameters: true };
	return {
		node: { id: 'interop', cluster: 'interop' },
		admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
		static_resources: {
			listeners: [
				httpListener(ports.test, {
					route_config: routes(),
					server_name: 'mesh',
					delayed_close_timeout: '0.02s',
					// Headers that ask the router for something are taken from the test.
					internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] },
					access_log: [
						{
							name: 'file',
							typed_config: {
								'@type': FILE_LOG_TYPE,
								path: logPath,
								log_format: { text_format_source: { inline_string: LOG_FORMAT } },
							},
						},
					],
					http_filters: [
						{ name: 'fault', typed_config: { '@type': FAULT_TYPE } },
						{ name: 'router', typed_config: { '@type': ROUTER_TYPE } },
					],
				}),
				filterListener('filters', ports.filters, filters),
				filterListener('protobuf', ports.protobuf, [{ name: 'bridge', typed_config: bridge }]),
				corsListener(ports.cors),
			],
			clusters: [
				staticCluster('grpc', [grpc.port], HTTP2_UPSTREAM),
				staticCluster('plain', [plain.port]),
				staticCluster('empty', [], HTTP2_UPSTREAM),
				staticCluster('refused', [1], HTTP2_UPSTREAM),
				...Object.keys(HEALTH).map(checkedCluster),
			],
		},
	};
}

beforeAll(async () => {
	directory = mkdtempSync(join(tmpdir(), 'weft-grpc-'));
	let turn = 0;
	grpc = await grpcUpstream((call) => {
		const kind = String(call.headers[':path']).split('/').at(-1)!.split('?')[0]!;
		if (kind !== 'flaky') return ANSWERS[kind] ?? ANSWERS.ok!;
		turn += 1;
		return turn % 3 === 0 ? ANSWERS.ok! : ANSWERS.only14!;
	});
	checked = await grpcUpstream((call) => HEALTH[String(call.headers[':authority'])] ?? ANSWERS.ok!);
	plain = await rawUpstream(() => okResponse('plain', { 'content-type': 'application/grpc' }));
	adminPort = freePort();
	weft = await startTestProxy(bootstrap({ test: 0, filters: 0, protobuf: 0, cors: 0 }, 0, join(directory, 'weft.log')));
	const portOf = (name: string): number => {
		const address = weft.proxy.listeners.addressOf(name);
		return address?.kind === 'ip' ? address.port : 0;
	};
	weftPorts = { test: weft.port, filters: portOf('filters'), protobuf: portOf('protobuf'), cors: portOf('cors') };
	envoyPorts = {
		test: freePort(),
		filters: freePort(),
		protobuf: freePort(),
		cors: freePort(),
	};
	envoy = await startRealEnvoy(bootstrap(envoyPorts, adminPort, join(directory, 'envoy.log')), adminPort);
}, 30_000);

afterAll(async () => {
	await weft?.stop();
	await envoy?.stop();
	grpc?.stop();
	plain?.stop();
	checked?.stop();
	if (directory !== '') rmSync(directory, { recursive: true, force: true });
});

interface Call {
	readonly path: string;
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: Uint8Array;
	readonly method?: string;
	/** Whether the upstream still sees it is a race. */
	readonly races?: boolean;
}

const GRPC = { 'content-type': 'application/grpc', te: 'trailers' };
const INTERNAL = { 'x-forwarded-for': '10.0.0.1' };

/** Values that differ from run to run. */
const VOLATILE = /^(date|x-request-id|x-envoy-upstream-service-time): .*$/;
/** What is left of the default timeout for a second try is not known to the millisecond. */
const ROUGH = /^(x-envoy-expected-rq-timeout-ms: )1[0-5]\d{3}$/;

function shown(lines: readonly string[]): string[] {
	return lines.map((line) => line.replace(VOLATILE, '$1: *').replace(ROUGH, '$1~15000')).sort();
}

async function observe(port: number, call: Call, protocol: 'http1' | 'http2'): Promise<object> {
	grpc.seen.length = 0;
	plain.seen.length = 0;
	const headers = { ...GRPC, ...call.headers };
	const body = Buffer.from(call.body ?? grpcFrame('question'));
	let answer: object;
	if (protocol === 'http2') {
		const reply = await http2Request(port, { path: call.path, method: call.method ?? 'POST', headers, body });
		// An empty answer needs no length in HTTP/2; saying it is the same.
		const lines = reply.headers.filter((line) => line !== 'content-length: 0');
		answer = { ...reply, headers: shown(lines), body: reply.body.toString('latin1') };
	} else {
		const reply = await rawRequest(port, {
			method: call.method ?? 'POST',
			path: call.path,
			headers,
			body: body.toString('latin1'),
		});
		const lines = reply.headers.map(([name, value]) => `${name}: ${value}`);
		answer = { status: reply.status, headers: shown(lines), body: reply.body };
	}
	if (call.races === true) return answer;
	const seen = grpc.seen.map((one) => ({
		headers: shown(Object.entries(one.headers).map(([name, value]) => `${name}: ${String(value)}`)),
		body: one.body.toString('latin1'),
	}));
	return { answer, seen, plain: plain.seen.length };
}

const CASES: readonly (readonly [string, Call])[] = [
	['a call', { path: '/plain/ok' }],
	['a call of a subtype', { path: '/plain/ok', headers: { 'content-type': 'application/grpc+proto' } }],
	['a call that ends with an error', { path: '/plain/late' }],
	['an answer of trailers only', { path: '/plain/only14' }],
	['a status that is none', { path: '/plain/bad' }],
	['a status without a name', { path: '/plain/only99' }],
	['an HTTP error of the upstream', { path: '/plain/http503' }],
	['a page that is not there', { path: '/plain/http404' }],
	['an answer that is no gRPC', { path: '/plain/html200' }],
	['trailers without a status', { path: '/plain/nothing' }],
	['an upstream that gives up', { path: '/plain/reset' }],
	['a host that refuses', { path: '/refused' }],
	['no hosts', { path: '/empty' }],
	['no cluster', { path: '/nowhere' }],
	['no route', { path: '/other' }],
	['a direct response', { path: '/direct' }],
	['a redirect', { path: '/redirect' }],
	...[400, 401, 403, 404, 408, 500, 501, 502, 503, 504, 200].map((status): [string, Call] => [
		`a direct response ${status}`,
		{ path: `/status/${status}` },
	]),
	['a content type with parameters', { path: '/status/503', headers: { 'content-type': 'application/grpc; x=y' } }],
	[
		'a content type with parameters, at once',
		{ path: '/status/503', headers: { 'content-type': 'application/grpc;x' } },
	],
	['a content type in capitals', { path: '/status/503', headers: { 'content-type': 'application/GRPC' } }],
	['grpc-web without its filter', { path: '/status/503', headers: { 'content-type': 'application/grpc-web' } }],
	['a route for gRPC', { path: '/only-grpc/ok' }],
	['a route for gRPC, by another request', { path: '/only-grpc/ok', headers: { 'content-type': 'text/plain' } }],
	['an injected status', { path: '/abort-grpc/3' }],
	['another injected status', { path: '/abort-grpc/14' }],
	[
		'an injected status, for a request that is no gRPC',
		{ path: '/abort-grpc/3', headers: { 'content-type': 'text/x' } },
	],
	['an injected HTTP status', { path: '/abort-http' }],
	['the timeout of a route', { path: '/short/silence' }],
	['the timeout of a route forwards what the client said', { path: '/short/ok', headers: { 'grpc-timeout': '3S' } }],
	['the duration of a route', { path: '/duration/silence' }],
	['the duration of a route, told to the upstream', { path: '/duration/ok', headers: { 'grpc-timeout': '3S' } }],
	[
		'the duration of a route, no gRPC',
		{ path: '/duration/ok', headers: { 'content-type': 'text/x', 'grpc-timeout': '3S' } },
	],
	['what the client says', { path: '/said/silence', headers: { 'grpc-timeout': '200m' } }],
	['what the client says, forwarded', { path: '/said/ok', headers: { 'grpc-timeout': '20M' } }],
	['a client that says nothing', { path: '/said/ok' }],
	['a client that says nonsense', { path: '/said/ok', headers: { 'grpc-timeout': '1x' } }],
	['a client that says too many digits', { path: '/said/ok', headers: { 'grpc-timeout': '123456789m' } }],
	['a client in microseconds', { path: '/said/ok', headers: { 'grpc-timeout': '1234567u' } }],
	['what the client says, bounded', { path: '/bounded/silence', headers: { 'grpc-timeout': '20S' } }],
	['what the client says, within the bound', { path: '/bounded/ok', headers: { 'grpc-timeout': '120m' } }],
	['no bound without the header', { path: '/bounded-duration/ok' }],
	[
		'what the client says, in place of the duration',
		{ path: '/bounded-duration/ok', headers: { 'grpc-timeout': '15S' } },
	],
	['what the client says, less an offset', { path: '/offset/ok', headers: { 'grpc-timeout': '900m' } }],
	['an offset that leaves nothing', { path: '/offset/silence', headers: { 'grpc-timeout': '100m' }, races: true }],
	['the old bound', { path: '/old/silence', headers: { 'grpc-timeout': '200m' } }],
	['the old bound, forwarded', { path: '/old/ok', headers: { 'grpc-timeout': '900m' } }],
	['the old bound without the header', { path: '/old/ok' }],
	['the old bound, exceeded', { path: '/old-bounded/silence', headers: { 'grpc-timeout': '20S' } }],
	['the old bound, forwarded at its most', { path: '/old-bounded/ok', headers: { 'grpc-timeout': '20S' } }],
	['the old bound, no gRPC', { path: '/old-bounded/ok', headers: { 'grpc-timeout': '20S', 'content-type': 'text/x' } }],
	['the old offset', { path: '/old-offset/ok', headers: { 'grpc-timeout': '900m' } }],
	['the old offset, as long as the timeout', { path: '/old-offset/ok', headers: { 'grpc-timeout': '100m' } }],
	['a try of a call', { path: '/old-try/ok', headers: { 'grpc-timeout': '900m' } }],
	['tries of a call', { path: '/old-try/silence', headers: { 'grpc-timeout': '900m' } }],
	...['only1', 'only4', 'only8', 'only13', 'only14', 'only3', 'late', 'ok', 'http503'].map((kind): [string, Call] => [
		`retries of all kinds: ${kind}`,
		{ path: `/retry-grpc/${kind}` },
	]),
	['retries until it works', { path: '/retry-grpc/flaky' }],
	['retries of one kind', { path: '/retry-one/only14' }],
	['retries of another kind', { path: '/retry-one/only13' }],
	['retries by HTTP and gRPC: status', { path: '/retry-both/http503' }],
	['retries by HTTP and gRPC: gRPC', { path: '/retry-both/only14' }],
	['retries by HTTP and gRPC: reset', { path: '/retry-both/reset' }],
	['retries that a stranger asks for', { path: '/plain/only14', headers: { 'x-envoy-retry-grpc-on': 'unavailable' } }],
	[
		'retries that a friend asks for',
		{
			path: '/plain/only14',
			headers: { ...INTERNAL, 'x-envoy-retry-grpc-on': 'unavailable', 'x-envoy-max-retries': '2' },
		},
	],
	[
		'retries that a friend asks for, by the wrong header',
		{ path: '/plain/only14', headers: { ...INTERNAL, 'x-envoy-retry-on': 'unavailable' } },
	],
	['an upstream of HTTP/1.1', { path: '/http1/x' }],
];

function base64(...frames: readonly Uint8Array[]): Buffer {
	return Buffer.from(frames.map((frame) => Buffer.from(frame).toString('base64')).join(''));
}

const WEB = { 'content-type': 'application/grpc-web+proto' };
const WEB_TEXT = { 'content-type': 'application/grpc-web-text', accept: 'application/grpc-web-text' };
const TEXT_BODY = base64(grpcFrame('question'));

const FILTER_CASES: readonly (readonly [string, Call])[] = [
	...Object.keys(ANSWERS)
		.filter((kind) => kind !== 'silence' && kind !== 'reset')
		.flatMap((kind): [string, Call][] => [
			[`gRPC: ${kind}`, { path: `/grpc/${kind}` }],
			[`gRPC-Web: ${kind}`, { path: `/grpc/${kind}`, headers: WEB }],
			[`gRPC-Web as text: ${kind}`, { path: `/grpc/${kind}`, headers: WEB_TEXT, body: TEXT_BODY }],
		]),
	['gRPC-Web without a subtype', { path: '/grpc/late', headers: { 'content-type': 'application/grpc-web' } }],
	[
		'gRPC-Web that takes text and sends none',
		{ path: '/grpc/late', headers: { ...WEB, accept: 'application/grpc-web-text+proto' } },
	],
	[
		'gRPC-Web that sends text and takes none',
		{ path: '/grpc/late', headers: { 'content-type': 'application/grpc-web-text+proto' }, body: TEXT_BODY },
	],
	['gRPC-Web of another subtype', { path: '/grpc/ok', headers: { 'content-type': 'application/grpc-web+json' } }],
	['gRPC-Web with parameters', { path: '/grpc/ok', headers: { 'content-type': 'application/grpc-web; x=y' } }],
	['gRPC-Web that knows encodings', { path: '/grpc/ok', headers: { ...WEB, 'grpc-accept-encoding': 'gzip' } }],
	['text that is no base64', { path: '/grpc/ok', headers: WEB_TEXT, body: Buffer.from('AA*A'), races: true }],
	['text that is cut', { path: '/grpc/ok', headers: WEB_TEXT, body: TEXT_BODY.subarray(0, 10), races: true }],
	['gRPC-Web without hosts', { path: '/empty/x', headers: WEB }],
	['gRPC-Web as text, without hosts', { path: '/empty/x', headers: WEB_TEXT, body: TEXT_BODY }],
	['gRPC-Web without a route', { path: '/other', headers: WEB }],
	['gRPC-Web and a direct response', { path: '/status-503', headers: WEB }],
	['gRPC-Web and another direct response', { path: '/status-429', headers: WEB }],
	['gRPC-Web to HTTP/1.1', { path: '/plain/x', headers: WEB }],
	['gRPC without hosts, bridged', { path: '/empty/x' }],
	['gRPC to HTTP/1.1, bridged', { path: '/plain/x' }],
	['a path that is no method', { path: '/grpc/a/b' }],
	['a path with a query', { path: '/grpc/ok?x=y' }],
];

const PREFLIGHT = {
	'access-control-request-method': 'POST',
	'access-control-request-headers': 'x-grpc-web,x-user-agent',
	'access-control-request-private-network': 'true',
};
const CORS_CASES: readonly (readonly [string, Call])[] = [
	'/host',
	'/all',
	'/strict',
	'/off',
	'/shadow',
	'/direct',
].flatMap((path) =>
	['https://a.example', 'https://x.trusted.example', 'https://b.example', ''].flatMap((origin): [string, Call][] => {
		const from: Readonly<Record<string, string>> = origin === '' ? {} : { origin };
		return [
			[`a call to ${path} from ${origin}`, { path: `${path}/late`, headers: { ...WEB, ...from } }],
			[
				`a preflight to ${path} from ${origin}`,
				{ path: `${path}/ok`, method: 'OPTIONS', headers: { ...PREFLIGHT, ...from }, body: Buffer.alloc(0) },
			],
			[
				`OPTIONS to ${path} from ${origin}`,
				{ path: `${path}/ok`, method: 'OPTIONS', headers: from, body: Buffer.alloc(0) },
			],
		];
	}),
);

const PROTOBUF = { 'content-type': 'application/x-protobuf' };
const PROTOBUF_CASES: readonly (readonly [string, Call])[] = [
	...Object.keys(ANSWERS)
		.filter((kind) => kind !== 'silence' && kind !== 'reset')
		.map((kind): [string, Call] => [kind, { path: `/grpc/${kind}`, headers: PROTOBUF, body: Buffer.from('question') }]),
	['a query', { path: '/grpc/ok?x=y', headers: PROTOBUF, body: Buffer.from('question') }],
	['no hosts', { path: '/empty/ok', headers: PROTOBUF, body: Buffer.from('question') }],
	['gRPC', { path: '/grpc/late' }],
	['gRPC with a query', { path: '/grpc/late?x=y' }],
	['another type', { path: '/grpc/ok', headers: { 'content-type': 'application/protobuf' } }],
];

describeWithPeers(['envoy'], 'gRPC through weft is as through Envoy', () => {
	for (const [name, call] of CASES) {
		for (const protocol of ['http2', 'http1'] as const) {
			test(`${name}, ${protocol}`, async () => {
				const theirs = await observe(envoyPorts.test, call, protocol);
				const ours = await observe(weftPorts.test, call, protocol);
				expect(ours).toEqual(theirs);
			});
		}
	}

	test('health checks by gRPC', async () => {
		const outcomes = async (port: number): Promise<object> => {
			const found: Record<string, object> = {};
			for (const name of Object.keys(HEALTH)) {
				const { headers, body } = await http2Request(port, { path: `/health/${name}/ok`, headers: GRPC });
				found[name] = { headers: shown(headers), body: body.toString('latin1') };
			}
			return found;
		};
		const theirs = await outcomes(envoyPorts.test);
		expect(await outcomes(weftPorts.test)).toEqual(theirs);
		const checks = checked.seen
			.filter((call) => call.headers[':path'] === '/grpc.health.v1.Health/Check')
			.map((call) => {
				const lines = Object.entries(call.headers).map(([name, value]) => `${name}: ${String(value)}`);
				return `${shown(lines)
					.join(' | ')
					.replace(/(Envoy|weft)\/HC/, 'HC')} ${call.body.toString('latin1')}`;
			});
		// Once each by weft and by Envoy.
		expect(checks.length).toBe(Object.keys(HEALTH).length * 2);
		expect(new Set(checks).size).toBe(Object.keys(HEALTH).length);
	});

	test('the access log', async () => {
		const lines = (name: string): string[] => {
			const text = readFileSync(join(directory, `${name}.log`), 'utf8');
			// Envoy says how it noticed that nobody listens.
			const same = text.replaceAll('|delayed_connect_error:_Connection_refused', '');
			return same.split('\n').filter((line) => line !== '');
		};
		const count = CASES.length * 2 + Object.keys(HEALTH).length;
		await eventually('all calls are logged', () => lines('envoy').length >= count && lines('weft').length >= count);
		expect(lines('weft')).toEqual(lines('envoy'));
	});

	for (const protocol of ['http2', 'http1'] as const) {
		for (const [name, call] of FILTER_CASES) {
			test(`filters: ${name}, ${protocol}`, async () => {
				const theirs = await observe(envoyPorts.filters, call, protocol);
				expect(await observe(weftPorts.filters, call, protocol)).toEqual(theirs);
			});
		}
		for (const [name, call] of PROTOBUF_CASES) {
			// By HTTP/2 Envoy names such a request gRPC and does not make it so; weft leaves it as it is.
			if (protocol === 'http2' && call.headers === PROTOBUF) continue;
			test(`protobuf: ${name}, ${protocol}`, async () => {
				const theirs = await observe(envoyPorts.protobuf, call, protocol);
				expect(await observe(weftPorts.protobuf, call, protocol)).toEqual(theirs);
			});
		}
	}

	for (const protocol of ['http2', 'http1'] as const) {
		for (const [name, call] of CORS_CASES) {
			test(`CORS: ${name}, ${protocol}`, async () => {
				const theirs = await observe(envoyPorts.cors, call, protocol);
				expect(await observe(weftPorts.cors, call, protocol)).toEqual(theirs);
			});
		}
	}

	test('the statistics', async () => {
		/** `NAME LABELS VALUE`, labels without empty ones, in order. A status that is none is a series to Envoy alone. */
		const series = (text: string): string[] =>
			text
				.split('\n')
				.filter((line) => /^envoy_(cluster_grpc|http_cors)/.test(line) && !/_(x1|99)\{/.test(line))
				.map((line) => {
					const [, name = '', labels = '', value = ''] = /^(\w+)\{(.*)\} (\d+)$/.exec(line) ?? [];
					const known = new Map(labels.split(',').map((label) => label.split('=') as [string, string]));
					const service = JSON.parse(known.get('envoy_grpc_bridge_service') ?? '""');
					const method = JSON.parse(known.get('envoy_grpc_bridge_method') ?? '""');
					const cluster = known.get('envoy_cluster_name') ?? known.get('envoy_http_conn_manager_prefix');
					// Envoy knows no labels in the names of gRPC-Web.
					if (service === '' || !name.includes('_grpc_web_')) return `${name} ${cluster} ${service} ${method} ${value}`;
					return `${name.replace('_web_', `_web_${service}_${method}_`)} ${cluster}   ${value}`;
				})
				.sort();
		const theirs = await (await fetch(`http://127.0.0.1:${adminPort}/stats/prometheus?usedonly`)).text();
		expect(series(renderPrometheusText(weft.registry))).toEqual(series(theirs));
	});
});
