// Protocol detection, filter-chain match and network RBAC beside real Envoy: the same listeners in both,
// each filter chain answers with its name, and each probe must meet the same chain, or the same silence.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { connect, createServer } from 'node:net';
import { testClientHello } from '../../src/net/testing-client-hello.ts';
import { renderPrometheusText } from '../../src/telemetry/prometheus-text.ts';
import { freePort } from '../support/free-ports.ts';
import { describeWithPeers } from '../support/peers.ts';
import { startRealEnvoy, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

const EXTENSIONS = 'type.googleapis.com/envoy.extensions.filters';
const WAIT_LIMIT_MS = 20_000;

function answers(text: string, ...before: readonly object[]): object[] {
	return [
		...before,
		{
			name: 'answer',
			typed_config: {
				'@type': `${EXTENSIONS}.network.direct_response.v3.Config`,
				response: { inline_string: text },
			},
		},
	];
}

function chain(name: string, match: object, ...before: readonly object[]): object {
	return { name, filter_chain_match: match, filters: answers(name, ...before) };
}

function listenerFilter(name: string, more: object = {}, outer: object = {}): object {
	const type = name
		.split('_')
		.map((part) => part[0]!.toUpperCase() + part.slice(1))
		.join('');
	return { name, typed_config: { '@type': `${EXTENSIONS}.listener.${name}.v3.${type}`, ...more }, ...outer };
}

function rbac(statPrefix: string, more: object): object {
	return {
		name: 'rbac',
		typed_config: { '@type': `${EXTENSIONS}.network.rbac.v3.RBAC`, stat_prefix: statPrefix, ...more },
	};
}

const ANY = [{ any: true }];
const cidr = (address: string, length: number) => ({ address_prefix: address, prefix_len: length });
const DETECT = [listenerFilter('tls_inspector'), listenerFilter('http_inspector')];

/** By name, without address. */
const LISTENERS: Readonly<Record<string, object>> = {
	test: {
		listener_filters: DETECT,
		listener_filters_timeout: '15s',
		filter_chains: [
			chain('exact', { server_names: ['a.example.com'] }),
			chain('exact-h2', { server_names: ['a.example.com'], application_protocols: ['h2'] }),
			chain('wildcard', { server_names: ['*.example.com'], transport_protocol: 'tls' }),
			chain('deep-wildcard', { server_names: ['*.b.example.com'] }),
			chain('com', { server_names: ['*.com'], application_protocols: ['only-this'] }),
			chain('tls', { transport_protocol: 'tls' }),
			chain('tls-istio', { transport_protocol: 'tls', application_protocols: ['istio', 'istio-peer-exchange'] }),
			chain('http/1.0', { application_protocols: ['http/1.0'] }),
			chain('http/1.1', { application_protocols: ['http/1.1'] }),
			chain('h2c', { application_protocols: ['h2c'] }),
			chain('raw', {}),
		],
	},
	silent: {
		listener_filters: DETECT,
		listener_filters_timeout: '0.3s',
		continue_on_listener_filters_timeout: true,
		filter_chains: [chain('http', { application_protocols: ['http/1.1'] })],
		default_filter_chain: { filters: answers('default') },
	},
	impatient: {
		listener_filters: DETECT,
		listener_filters_timeout: '0.3s',
		filter_chains: [chain('any', {})],
	},
	unmatched: {
		listener_filters: DETECT,
		filter_chains: [chain('h2c', { application_protocols: ['h2c'] })],
	},
	disabled: {
		listener_filters: [
			listenerFilter('tls_inspector', {}, { filter_disabled: { any_match: true } }),
			listenerFilter(
				'http_inspector',
				{},
				{ filter_disabled: { not_match: { destination_port_range: { start: 1, end: 65536 } } } },
			),
		],
		filter_chains: [
			chain('tls', { transport_protocol: 'tls' }),
			chain('http', { application_protocols: ['http/1.1'] }),
			chain('raw', { transport_protocol: 'raw_buffer' }),
		],
	},
	sources: {
		filter_chains: [
			chain('local', { source_type: 'SAME_IP_OR_LOOPBACK' }),
			chain('external', { source_type: 'EXTERNAL' }),
			chain('from-2', { source_prefix_ranges: [cidr('127.0.0.2', 32)], source_type: 'SAME_IP_OR_LOOPBACK' }),
			chain('from-3', { direct_source_prefix_ranges: [cidr('127.0.0.3', 32)] }),
		],
	},
	proxied: {
		listener_filters: [listenerFilter('proxy_protocol')],
		filter_chains: [
			chain('port-81', { destination_port: 81 }),
			chain('port-81-to-10', { destination_port: 81, prefix_ranges: [cidr('10.0.0.0', 8)] }),
			chain('to-10.1', { prefix_ranges: [cidr('10.1.0.0', 16)] }),
			chain('to-10.1.2.3', { prefix_ranges: [cidr('10.1.2.3', 32)] }),
			chain('to-v6', { prefix_ranges: [cidr('2001:db8::', 32)] }),
			chain('from-net', { source_prefix_ranges: [cidr('192.0.2.0', 24)] }),
			chain('from-net-port', { source_prefix_ranges: [cidr('192.0.2.0', 24)], source_ports: [4000, 4001] }),
			chain('external', { source_type: 'EXTERNAL' }),
			chain('local', { source_type: 'SAME_IP_OR_LOOPBACK' }),
		],
	},
	'proxied-or-not': {
		listener_filters: [
			listenerFilter('proxy_protocol', { allow_requests_without_proxy_protocol: true, stat_prefix: 'opt' }),
			...DETECT,
		],
		filter_chains: [
			chain('tls', { transport_protocol: 'tls' }),
			chain('http', { application_protocols: ['http/1.1'] }),
			chain('http-from-net', { application_protocols: ['http/1.1'], source_prefix_ranges: [cidr('192.0.2.0', 24)] }),
		],
		default_filter_chain: { filters: answers('default') },
	},
	'proxied-v1': {
		listener_filters: [listenerFilter('proxy_protocol', { disallowed_versions: ['V2'] })],
		filter_chains: [chain('any', {})],
	},
	gated: {
		listener_filters: [listenerFilter('proxy_protocol', { allow_requests_without_proxy_protocol: true }), ...DETECT],
		filter_chains: [
			{
				filters: [
					rbac('deny.', {
						rules: {
							action: 'DENY',
							policies: {
								bad: {
									permissions: ANY,
									principals: [{ remote_ip: cidr('192.0.2.66', 32) }, { source_ip: cidr('192.0.2.67', 32) }],
								},
								name: {
									permissions: [{ requested_server_name: { suffix: '.bad.example' } }],
									principals: [{ not_id: { authenticated: {} } }],
								},
							},
						},
						shadow_rules: {
							action: 'ALLOW',
							policies: { none: { permissions: ANY, principals: [{ not_id: { any: true } }] } },
						},
						shadow_rules_stat_prefix: 'trial.',
					}),
					rbac('allow.', {
						rules: {
							policies: {
								ports: {
									permissions: [
										{
											and_rules: {
												rules: [
													{ destination_ip: cidr('10.0.0.0', 8) },
													{
														or_rules: {
															rules: [{ destination_port: 80 }, { destination_port_range: { start: 90, end: 92 } }],
														},
													},
												],
											},
										},
									],
									principals: ANY,
								},
								direct: {
									permissions: [{ not_rule: { destination_ip: cidr('10.0.0.0', 8) } }],
									principals: [
										{
											and_ids: {
												ids: [{ direct_remote_ip: cidr('127.0.0.1', 32) }, { remote_ip: cidr('127.0.0.0', 8) }],
											},
										},
									],
								},
							},
						},
					}),
					{
						name: 'upstream',
						typed_config: {
							'@type': `${EXTENSIONS}.network.tcp_proxy.v3.TcpProxy`,
							stat_prefix: 'rbac',
							cluster: 'up',
						},
					},
				],
			},
		],
	},
};

function v1(line: string): string {
	return `PROXY ${line}\r\n`;
}

/** TCP over IPv4 unless `family` says otherwise; addresses and what follows them as bytes. */
function v2(body: readonly number[], { command = 0x21, family = 0x11, length = body.length } = {}): string {
	const header = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10, command, family, length >> 8, length & 255];
	return String.fromCharCode(...header, ...body);
}

const V4 = [192, 0, 2, 7, 10, 1, 2, 3, 0x0f, 0xa0, 0, 80];
const v6 = (...tail: readonly number[]) => [
	0x20,
	0x01,
	0x0d,
	0xb8,
	...new Array<number>(12 - tail.length).fill(0),
	...tail,
];
const hello = (serverName?: string, alpn?: readonly string[]): string =>
	Buffer.from(
		testClientHello({
			...(serverName === undefined ? {} : { serverName }),
			...(alpn === undefined ? {} : { alpn }),
			versions: [0x0304, 0x0303],
			groups: [29],
			signatureAlgorithms: [0x0403],
		}),
	).toString('latin1');
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

interface Probe {
	readonly to: string;
	readonly send: string;
	readonly from?: string;
	/** Sent a byte at a time. */
	readonly slowly?: boolean;
}

const PROBES: readonly Probe[] = [
	...[
		hello('a.example.com'),
		hello('A.Example.COM'),
		hello('a.example.com', ['h2']),
		hello('a.example.com', ['http/1.1', 'h2']),
		hello('b.example.com'),
		hello('x.b.example.com'),
		hello('y.x.b.example.com'),
		hello('example.com'),
		hello('other.com'),
		hello('other.com', ['only-this']),
		hello('other.org'),
		hello(undefined),
		hello(undefined, ['istio-peer-exchange', 'istio']),
		hello('other.org', ['h2', 'istio']),
		GET,
		'get / HTTP/1.1\r\n',
		'FOO / HTTP/1.1\n',
		'GET /\r\n',
		'GET / HTTP/1.0\r\n',
		'GET / HTTP/0.9\r\n',
		'GET / HTTP/2.0\r\n',
		'GET  /  HTTP/1.1  \r\n',
		'GET\t/\tHTTP/1.1\r\n',
		'\r\nGET / HTTP/1.1\r\n',
		'G@T / HTTP/1.1\r\n',
		'GET / x HTTP/1.1\r\n',
		'GET / http/1.1\r\n',
		'GET / HTTP/1.11\r\n',
		'GET http://a/b HTTP/1.1\r\n',
		'GET a HTTP/1.1\r\n',
		'OPTIONS * HTTP/1.1\r\n',
		'CONNECT a:80 HTTP/1.1\r\n',
		'CONNECT / HTTP/1.1\r\n',
		'GET /\x80 HTTP/1.1\r\n',
		'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
		'EHLO mail.example\r\n',
		'\x00\x01\x02\x03\x04\x05\x06\n',
		'\x16\x02\x01\x00\x05hello\n',
		'\x16\x03\x01\x00\x05\x02hello\n',
	].map((send) => ({ to: 'test', send })),
	{ to: 'test', send: hello('a.example.com', ['h2']), slowly: true },
	// No HTTP slowly: what Envoy takes it for depends on how many bytes come together (any split: test/fuzz).
	...['', 'GET /', GET, '\x16\x03\x01', 'PRI * HTTP/2.0\r\n'].map((send) => ({ to: 'silent', send })),
	...['', 'GET /', GET].map((send) => ({ to: 'impatient', send })),
	{ to: 'unmatched', send: GET },
	...[hello('a.example.com'), GET, 'x\n'].map((send) => ({ to: 'disabled', send })),
	...['127.0.0.1', '127.0.0.2', '127.0.0.3'].map((from) => ({ to: 'sources', send: '', from })),
	...[
		v1('TCP4 192.0.2.7 10.1.2.3 5000 80'),
		v1('TCP4 192.0.2.7 10.1.2.3 5000 81'),
		v1('TCP4 192.0.2.7 11.1.2.3 5000 81'),
		v1('TCP4 192.0.2.7 10.1.9.9 5000 80'),
		v1('TCP4 192.0.2.7 10.2.2.3 5000 80'),
		v1('TCP4 192.0.2.7 10.2.2.3 4001 80'),
		v1('TCP4 198.51.100.1 10.2.2.3 4001 80'),
		v1('TCP4 127.0.0.1 10.2.2.3 4001 80'),
		v1('TCP6 2001:db8::1 2001:db8::2 5000 80'),
		v1('TCP6 2001:db8::1 2001:db9::2 5000 80'),
		v1('UNKNOWN'),
		v1('UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535'),
		v1('TCP4 192.0.2.7 10.1.2.3 5000'),
		v1('TCP4 192.0.2.7 10.1.2.300 5000 80'),
		v1('TCP4 192.0.2.7 10.1.2.3 5000 65536'),
		v1('TCP4 224.0.0.1 10.1.2.3 5000 80'),
		v1('TCP6 192.0.2.7 10.1.2.3 5000 80'),
		v1('UDP4 192.0.2.7 10.1.2.3 5000 80'),
		GET,
		v2(V4),
		v2([...V4, 4, 0, 3, 1, 2, 3]),
		v2([...V4, 4, 0, 9, 1, 2, 3]),
		v2([...V4, 4]),
		v2([...v6(1), ...v6(2), 0x0f, 0xa0, 0, 80], { family: 0x21 }),
		v2([], { command: 0x20, family: 0 }),
		v2([1, 2, 3], { command: 0x20, family: 0 }),
		v2(V4, { command: 0x22 }),
		v2(V4, { command: 0x11 }),
		v2(V4.slice(0, 8)),
		v2(V4, { family: 0x31 }),
	].map((send) => ({ to: 'proxied', send })),
	{ to: 'proxied', send: v1('TCP4 192.0.2.7 10.1.2.3 5000 80'), slowly: true },
	{ to: 'proxied', send: v2([...V4, 4, 0, 3, 1, 2, 3]), slowly: true },
	...[
		GET,
		'hello there\n',
		hello('a'),
		v1('TCP4 192.0.2.7 10.1.2.3 5000 80') + GET,
		v1('TCP4 192.0.3.7 10.1.2.3 5000 80') + GET,
		v2(V4) + GET,
		v2(V4) + hello('a'),
		v1('UNKNOWN') + GET,
		v1('TCP4 x') + GET,
	].map((send) => ({ to: 'proxied-or-not', send })),
	{ to: 'proxied-or-not', send: v2(V4) + hello('a'), slowly: true },
	...[v1('UNKNOWN'), v2(V4)].map((send) => ({ to: 'proxied-v1', send })),
	...[
		GET,
		v1('TCP4 192.0.2.66 10.1.2.3 5000 80') + GET,
		v1('TCP4 192.0.2.67 10.1.2.3 5000 80') + GET,
		v1('TCP4 192.0.2.68 10.1.2.3 5000 80') + GET,
		v1('TCP4 192.0.2.68 10.1.2.3 5000 91') + GET,
		v1('TCP4 192.0.2.68 10.1.2.3 5000 92') + GET,
		v1('TCP4 192.0.2.68 11.1.2.3 5000 80') + GET,
		v1('TCP4 127.0.0.9 11.1.2.3 5000 80') + GET,
		hello('very.bad.example'),
		hello('very.good.example'),
	].map((send) => ({ to: 'gated', send })),
];

/** What the chain that took the probe says; empty when the connection ended without a word. */
function ask(port: number, { send, from, slowly }: Probe): Promise<string> {
	return new Promise((resolve, reject) => {
		const socket = connect({ host: '127.0.0.1', port, ...(from === undefined ? {} : { localAddress: from }) });
		let text = '';
		const timer = setTimeout(() => {
			socket.destroy();
			reject(new Error(`no answer to ${JSON.stringify(send.slice(0, 60))}; so far ${JSON.stringify(text)}`));
		}, WAIT_LIMIT_MS);
		const end = (): void => {
			clearTimeout(timer);
			socket.destroy();
			resolve(text);
		};
		socket.on('data', (bytes) => {
			text += bytes.toString('latin1');
		});
		socket.on('end', end);
		socket.on('close', end);
		// Its close follows; what came before it counts.
		socket.on('error', () => {});
		socket.setNoDelay(true);
		socket.on('connect', async () => {
			const bytes = Buffer.from(send, 'latin1');
			if (slowly !== true) {
				socket.write(bytes);
				return;
			}
			for (let i = 0; i < bytes.length && !socket.destroyed; i++) {
				socket.write(bytes.subarray(i, i + 1));
				if (i % 8 === 0) await new Promise((next) => setImmediate(next));
			}
		});
	});
}

const COMPARED =
	/^envoy_(tls_inspector|http_inspector|proxy_proto|rbac|listener_(no_filter_chain|downstream_pre_cx_timeout|downstream_cx_total))\w*(?<!bucket|sum|count)(\{[^}]*\})? /;

describeWithPeers(['envoy'], 'listeners of weft and of Envoy', () => {
	const ports: Record<string, { weft: number; envoy: number }> = {};
	let weft: TestProxy;
	let envoy: { stop(): Promise<void> };
	let adminPort = 0;
	const upstream = createServer((socket) => {
		socket.on('error', () => {});
		socket.once('data', () => socket.end('let in'));
	});

	beforeAll(async () => {
		adminPort = freePort();
		await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
		const address = upstream.address();
		const upstreamPort = typeof address === 'object' && address !== null ? address.port : 0;
		for (const name of Object.keys(LISTENERS)) ports[name] = { weft: 0, envoy: freePort() };
		const bootstrap = (portOf: (name: string) => number): object => ({
			admin: { address: { socket_address: { address: '127.0.0.1', port_value: portOf('admin') } } },
			static_resources: {
				clusters: [staticCluster('up', [upstreamPort])],
				listeners: Object.entries(LISTENERS).map(([name, more]) => ({
					name,
					stat_prefix: name,
					address: { socket_address: { address: '127.0.0.1', port_value: portOf(name) } },
					...more,
				})),
			},
		});
		weft = await startTestProxy(bootstrap(() => 0));
		for (const name of Object.keys(LISTENERS)) {
			const address = weft.proxy.listeners.addressOf(name);
			ports[name]!.weft = address?.kind === 'ip' ? address.port : 0;
		}
		envoy = await startRealEnvoy(
			bootstrap((name) => (name === 'admin' ? adminPort : ports[name]!.envoy)),
			adminPort,
		);
	}, 60_000);

	afterAll(async () => {
		await weft.stop();
		await envoy.stop();
		upstream.close();
	});

	for (const name of Object.keys(LISTENERS)) {
		test(`${name}: each probe meets the same filter chain`, async () => {
			const met = { weft: {} as Record<string, string>, envoy: {} as Record<string, string> };
			for (const probe of PROBES) {
				if (probe.to !== name) continue;
				const what = `${JSON.stringify(probe.send).slice(0, 120)} ${probe.from ?? ''} ${probe.slowly ? 'slowly' : ''}`;
				[met.weft[what], met.envoy[what]] = await Promise.all([
					ask(ports[name]!.weft, probe),
					ask(ports[name]!.envoy, probe),
				]);
			}
			expect(Object.keys(met.weft).length).toBeGreaterThan(0);
			expect(met.weft).toEqual(met.envoy);
		}, 60_000);
	}

	describe('afterwards', () => {
		test('both have counted the same', async () => {
			const of = async (text: string) =>
				text
					.split('\n')
					.filter((line) => COMPARED.test(line))
					.map((line) => line.replace('envoy_proxy_protocol_prefix=""', '').replace('{,', '{').replace('{}', ''))
					.sort();
			const theirs = await of(await (await fetch(`http://127.0.0.1:${adminPort}/stats/prometheus`)).text());
			const ours = await of(renderPrometheusText(weft.registry));
			expect(ours).toEqual(theirs);
		});
	});
});
