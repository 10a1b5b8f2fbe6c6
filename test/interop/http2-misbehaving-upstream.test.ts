// Hosts that break HTTP/2, each in its own way: what the client is told, with which response flags, that the next
// request to the same host is served, that nothing of it remains, and that real Envoy tells the same.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ErrorCode, errorName, Flag, FrameType, Setting } from '../../src/http2/frames.ts';
import {
	concat,
	data,
	frame,
	headers,
	rawBlock,
	rstStream,
	settings,
	uint32Bytes,
	windowUpdate,
} from '../../src/http2/testing.ts';
import type { MetricRegistry } from '../../src/telemetry/registry.ts';
import { freePort } from '../support/free-ports.ts';
import { eventually } from '../support/mesh-control.ts';
import { describeWithPeers } from '../support/peers.ts';
import { OK, type Script, ScriptedHttp2Server } from '../support/scripted-http2-server.ts';
import { httpListener, startRealEnvoy, startTestProxy, staticCluster } from '../support/test-proxy.ts';

const ACK = frame(FrameType.settings, Flag.ack, 0);
const goaway = (last: number, code = 0) => frame(FrameType.goaway, 0, 0, uint32Bytes(last, code));
const repeat = (count: number, bytes: Uint8Array) => concat(...Array.from({ length: count }, () => bytes));
const withStatus = (...more: (readonly [string, string])[]) => [...OK, ...more];
const answering = (answer: Script['answer'], more: Partial<Script> = {}): Script => ({ answer, ...more });
const WHOLE = (id: number) => concat(headers(id, OK, false), data(id, 'hello', true));

/** The whole of a good answer with a trailer, in five frames. */
const FRAMES = (id: number) => [
	headers(id, [[':status', '103']], false),
	headers(id, withStatus(['x', 'y']), false),
	data(id, 'hel'),
	data(id, 'lo'),
	headers(id, [['x-sum', '5']], true),
];

const SCRIPTS: Readonly<Record<string, Script>> = {
	good: answering(WHOLE),
	// Connections
	'no HTTP/2 at all': answering(WHOLE, { greeting: new TextEncoder().encode('HTTP/1.1 400 Bad Request\r\n\r\n') }),
	'no SETTINGS first': answering(WHOLE, { greeting: windowUpdate(0, 10) }),
	'silent from the start': answering(() => new Uint8Array(0), { greeting: null }),
	'silent after SETTINGS': answering(() => new Uint8Array(0)),
	'SETTINGS not acknowledged': answering(WHOLE, { greeting: settings() }),
	'SETTINGS with an impossible window': answering(WHOLE, {
		greeting: concat(settings([Setting.initialWindowSize, 2 ** 31]), ACK),
	}),
	'SETTINGS of an odd length': answering(() => frame(FrameType.settings, 0, 0, new Uint8Array(5))),
	'a frame that is too large': answering((id) => frame(FrameType.data, 0, id, new Uint8Array(16_385))),
	'push promise': answering((id) =>
		frame(FrameType.pushPromise, Flag.endHeaders, id, concat(uint32Bytes(2), rawBlock(OK))),
	),
	'an unknown frame': answering((id) => concat(frame(0xee, 0, id, new Uint8Array(3)), WHOLE(id))),
	'window of the connection beyond its bound': answering(() => windowUpdate(0, 0x7fffffff)),
	'window of the connection by zero': answering(() => windowUpdate(0, 0)),
	'window of the stream beyond its bound': answering((id) => windowUpdate(id, 0x7fffffff)),
	'window of the stream by zero': answering((id) => windowUpdate(id, 0)),
	'DATA on stream 0': answering(() => data(0, 'x')),
	'a stream of its own': answering(() => headers(2, OK)),
	'HEADERS within a header block': answering((id) =>
		concat(frame(FrameType.headers, 0, id, rawBlock(OK)), data(id, 'x')),
	),
	'CONTINUATION without HEADERS': answering((id) => frame(FrameType.continuation, Flag.endHeaders, id, rawBlock(OK))),
	'CONTINUATION without end': answering((id) =>
		concat(frame(FrameType.headers, 0, id, rawBlock(OK)), repeat(2000, frame(FrameType.continuation, 0, id))),
	),
	'more padding than frame': answering((id) =>
		concat(headers(id, OK, false), frame(FrameType.data, Flag.padded, id, Uint8Array.from([9, 1]))),
	),
	'PING flood': answering(() => repeat(20_000, frame(FrameType.ping, 0, 0, new Uint8Array(8)))),
	'SETTINGS flood': answering(() => repeat(20_000, settings())),
	'no HPACK': answering((id) => frame(FrameType.headers, Flag.endHeaders, id, Uint8Array.from([0x80]))),
	// Messages
	'no status': answering((id) => headers(id, [['x', 'y']])),
	'two statuses': answering((id) => headers(id, withStatus([':status', '204']))),
	'a status that is no number': answering((id) => headers(id, [[':status', 'ok']])),
	'a pseudo-header of requests': answering((id) => headers(id, withStatus([':path', '/']))),
	'upper case': answering((id) => headers(id, withStatus(['X', 'y']))),
	'NUL in a name': answering((id) => headers(id, withStatus(['x\0', 'y']))),
	'CR LF in a value': answering((id) => headers(id, withStatus(['x', 'a\r\nb: c']))),
	'transfer-encoding': answering((id) => headers(id, withStatus(['transfer-encoding', 'chunked']))),
	'DATA before HEADERS': answering((id) => data(id, 'x')),
	'less than its length': answering((id) =>
		concat(headers(id, withStatus(['content-length', '9']), false), data(id, 'x', true)),
	),
	'more than its length': answering((id) =>
		concat(headers(id, withStatus(['content-length', '1']), false), data(id, 'hello', true)),
	),
	'a header bomb': answering((id) =>
		frame(
			FrameType.headers,
			Flag.endHeaders | Flag.endStream,
			id,
			concat(
				rawBlock(OK),
				// One entry of 4000 bytes in the table, and many references to it.
				Uint8Array.from([0x40, 1, 0x78, 0x7f, 0xa1, 0x1e]),
				new Uint8Array(4000).fill(0x61),
				new Uint8Array(8000).fill(0xbe),
			),
		),
	),
	'trailers with a pseudo-header': answering((id) =>
		concat(headers(id, OK, false), data(id, 'x'), headers(id, [[':status', '200']])),
	),
	'trailers that do not end': answering((id) =>
		concat(headers(id, OK, false), data(id, 'x'), headers(id, [['x', 'y']], false)),
	),
	'informational answers, and then the answer': answering((id) =>
		concat(repeat(20, headers(id, [[':status', '103']], false)), WHOLE(id)),
	),
	'DATA after the end': answering((id) => concat(WHOLE(id), data(id, 'x'))),
	// Leaving
	'GOAWAY above the stream, and the answer': answering((id) => concat(goaway(id), WHOLE(id))),
	'GOAWAY below the stream': answering(() => goaway(0)),
	'GOAWAY in the middle, and cut': answering((id) => concat(headers(id, OK, false), goaway(id)), { closes: true }),
	'whole, and the connection closed': answering(WHOLE, { closes: true }),
	...Object.fromEntries(
		Object.values(ErrorCode).map((code) => [`RST_STREAM ${errorName(code)}`, answering((id) => rstStream(id, code))]),
	),
	'RST_STREAM in the middle': answering((id) => concat(headers(id, OK, false), data(id, 'x'), rstStream(id, 2))),
	...Object.fromEntries(
		[0, 1, 2, 3, 4].map((count) => [
			`cut after ${count} frames`,
			answering((id) => concat(...FRAMES(id).slice(0, count)), { closes: true }),
		]),
	),
	// Settings that change
	'no streams allowed, and then one': answering(WHOLE, {
		greeting: concat(settings([Setting.maxConcurrentStreams, 0]), ACK, settings([Setting.maxConcurrentStreams, 1])),
	}),
	'windows that shrink': answering((id) => concat(settings([Setting.initialWindowSize, 0]), WHOLE(id)), {
		greeting: concat(settings([Setting.initialWindowSize, 1]), ACK),
	}),
	// Advice (RFC 9113 §6.5.2), which neither proxy heeds: a request that is too large is the host's to refuse.
	'a limit on header lists that no request keeps': answering(WHOLE, {
		greeting: concat(settings([Setting.maxHeaderListSize, 1]), ACK),
	}),
	'a table that shrinks': answering((id) => concat(settings([Setting.headerTableSize, 0]), WHOLE(id))),
};

const names = Object.keys(SCRIPTS);
const servers = new Map(names.map((name) => [name, new ScriptedHttp2Server(SCRIPTS[name]!)]));
const directory = mkdtempSync(join(tmpdir(), 'weft-misbehaving-'));
const clusterName = (name: string) => `c${names.indexOf(name)}`;

const SILENT = new Set(['silent from the start', 'silent after SETTINGS']);

/** What most of them come to: the connection or the stream is given up before a response began. */
const BAD_GATEWAY = '502 whole: UPE upstream_reset_before_response_started{protocol_error}';
const RESET = '503 whole: UR upstream_reset_before_response_started{remote_reset}';
const REFUSED = '503 whole: UR upstream_reset_before_response_started{remote_refused_stream_reset}';
const GOOD = '200 whole: - via_upstream';
const BROKEN = '200 broken: UPE upstream_reset_after_response_started{protocol_error}';
const LOST = '200 broken: UC upstream_reset_after_response_started{connection_termination}';
const NONE = '503 whole: UC upstream_reset_before_response_started{connection_termination}';

const EXPECTED: Readonly<Record<string, string>> = {
	good: GOOD,
	// The host that never spoke answers the second request without SETTINGS before it.
	'silent from the start': '504 whole: UT response_timeout, then 502 whole',
	'silent after SETTINGS': '504 whole: UT response_timeout',
	'SETTINGS not acknowledged': GOOD,
	'an unknown frame': GOOD,
	'more padding than frame': BROKEN,
	'less than its length': BROKEN,
	'more than its length': BROKEN,
	'trailers with a pseudo-header': BROKEN,
	'trailers that do not end': BROKEN,
	'informational answers, and then the answer': GOOD,
	'DATA after the end': GOOD,
	'GOAWAY above the stream, and the answer': GOOD,
	'GOAWAY below the stream': REFUSED,
	'GOAWAY in the middle, and cut': LOST,
	'whole, and the connection closed': GOOD,
	...Object.fromEntries(Object.values(ErrorCode).map((code) => [`RST_STREAM ${errorName(code)}`, RESET])),
	'RST_STREAM PROTOCOL_ERROR': BAD_GATEWAY,
	'RST_STREAM REFUSED_STREAM': REFUSED,
	'RST_STREAM in the middle': '200 broken: UR upstream_reset_after_response_started{remote_reset}',
	'cut after 0 frames': NONE,
	'cut after 1 frames': NONE,
	'cut after 2 frames': LOST,
	'cut after 3 frames': LOST,
	'cut after 4 frames': LOST,
	'no streams allowed, and then one': GOOD,
	'windows that shrink': GOOD,
	'a limit on header lists that no request keeps': GOOD,
	'a table that shrinks': GOOD,
};

/** What Envoy says in other words, or takes for another fault. */
const ENVOY: Readonly<Record<string, string>> = {
	'a header bomb': RESET,
	'RST_STREAM CONNECT_ERROR': RESET.replace('remote_reset', 'remote_error_with_CONNECT_request'),
	// An informational answer counts as a response there.
	'cut after 1 frames': NONE.replace('before', 'after'),
};

const expected = Object.fromEntries(names.map((name) => [name, EXPECTED[name] ?? BAD_GATEWAY]));

function route(name: string, path: string, timeout: string): object {
	return {
		match: { prefix: `/${clusterName(name)}/${path}` },
		route: { cluster: clusterName(name), timeout },
	};
}

function bootstrap(port: number, adminPort: number, log: string): object {
	return {
		admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
		static_resources: {
			listeners: [
				httpListener(port, {
					route_config: {
						virtual_hosts: [
							{
								name: 'all',
								domains: ['*'],
								routes: names.flatMap((name) => [
									...(SILENT.has(name) ? [route(name, 'first', '0.5s')] : []),
									route(name, '', '60s'),
								]),
							},
						],
					},
					access_log: [
						{
							name: 'file',
							typed_config: {
								'@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
								path: log,
								log_format: {
									text_format_source: {
										inline_string: '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n',
									},
								},
							},
						},
					],
				}),
			],
			clusters: names.map((name) =>
				staticCluster(clusterName(name), [servers.get(name)!.port], {
					typed_extension_protocol_options: {
						'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
							'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
							explicit_http_config: { http2_protocol_options: {} },
						},
					},
				}),
			),
		},
	};
}

/** `200 whole`, `200 broken`, `none`. */
function ask(port: number, path: string): Promise<string> {
	return new Promise((resolve) => {
		const request = httpRequest({ host: '127.0.0.1', port, path, agent: false }, (response) => {
			response.on('data', () => {});
			response.on('error', () => {});
			response.on('close', () => resolve(`${response.statusCode} ${response.complete ? 'whole' : 'broken'}`));
		});
		request.on('error', () => resolve('none'));
		request.end();
	});
}

/** What the client got, what the log says, and what became of the next request to the host. */
async function outcomeOf(name: string, port: number, log: string): Promise<string> {
	const server = servers.get(name)!;
	server.reset();
	const path = `/${clusterName(name)}/first`;
	const answer = await ask(port, path);
	const said = await eventually(
		'it is logged',
		() => {
			const lines = readFileSync(log, 'utf8').split('\n');
			return lines.find((line) => line.startsWith(`${path} `))?.replace(/^\S+ \S+ /, '');
		},
		30_000,
	);
	const next = (): Promise<string> => ask(port, `/${clusterName(name)}/second`);
	let after = await next();
	// That a connection was closed may be known only after the next request is under way on it.
	for (let i = 0; i < 20 && after.startsWith('503') && SCRIPTS[name]!.closes === true; i++) after = await next();
	return `${answer}: ${said}${after === '200 whole' ? '' : `, then ${after}`}`;
}

async function outcomes(port: number, log: string): Promise<Record<string, string>> {
	const found = await Promise.all(names.map((name) => outcomeOf(name, port, log)));
	return Object.fromEntries(names.map((name, i) => [name, found[i]!]));
}

/** Of all series of the metric. */
function sum(registry: MetricRegistry, name: string): number {
	let total = 0;
	for (const family of registry.all()) {
		if (family.name !== name) continue;
		for (const { instrument } of family.series()) if ('value' in instrument) total += instrument.value;
	}
	return total;
}

beforeAll(async () => {
	await Promise.all([...servers.values()].map((server) => server.start()));
});

afterAll(() => {
	for (const server of servers.values()) server.stop();
	rmSync(directory, { recursive: true, force: true });
});

test('each is told as what it is, the next request is served, and nothing remains', async () => {
	const log = join(directory, 'weft.log');
	const weft = await startTestProxy(bootstrap(0, freePort(), log));
	try {
		expect(await outcomes(weft.port, log)).toEqual(expected);
		for (const server of servers.values()) server.reset();
		for (const name of ['upstream_rq_active', 'upstream_rq_pending_active', 'upstream_cx_active']) {
			const gauge = `envoy_cluster_${name}`;
			await eventually(`${gauge} is 0`, () => sum(weft.registry, gauge) === 0, 30_000);
		}
		expect(sum(weft.registry, 'envoy_cluster_upstream_cx_total')).toBeGreaterThanOrEqual(names.length);
	} finally {
		await weft.stop();
	}
}, 120_000);

describeWithPeers(['envoy'], 'Envoy', () => {
	test('tells the same', async () => {
		const log = join(directory, 'envoy.log');
		const port = freePort();
		const adminPort = freePort();
		const envoy = await startRealEnvoy(bootstrap(port, adminPort, log), adminPort);
		try {
			expect(await outcomes(port, log)).toEqual({ ...expected, ...ENVOY });
		} finally {
			await envoy.stop();
		}
	}, 120_000);
});
