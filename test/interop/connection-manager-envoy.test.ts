// Options of the HTTP connection manager that change requests and answers: weft and real Envoy,
// the same bootstrap, the same requests.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { networkInterfaces } from 'node:os';
import { freePort } from '../support/free-ports.ts';
import { describeWithPeers } from '../support/peers.ts';
import { okResponse, type RawRequest, type RawUpstream, rawRequest, rawUpstream } from '../support/raw-http.ts';
import { httpListener, startRealEnvoy, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

interface Variant {
	readonly name: string;
	readonly manager: object;
	readonly requests: readonly RawRequest[];
}

const FORWARDED: readonly RawRequest[] = [
	{ path: '/' },
	{ path: '/', headers: { 'x-forwarded-for': '10.1.1.1' } },
	{ path: '/', headers: { 'x-forwarded-for': '10.1.1.1, 8.8.8.8', 'x-forwarded-proto': 'https' } },
	{ path: '/', headers: { 'x-request-id': 'client', 'x-envoy-external-address': '1.2.3.4' } },
	{ path: '/', headers: { 'x-envoy-internal': 'true', 'x-envoy-max-retries': '2', 'x-envoy-original-path': '/x' } },
	{ path: '/', headers: { 'x-envoy-upstream-rq-timeout-ms': '5000' } },
];

const VARIANTS: readonly Variant[] = [
	{ name: 'use_remote_address', manager: { use_remote_address: true }, requests: FORWARDED },
	{
		name: 'use_remote_address with trusted hops',
		manager: { use_remote_address: true, xff_num_trusted_hops: 1 },
		requests: FORWARDED,
	},
	{ name: 'trusted hops alone', manager: { xff_num_trusted_hops: 1 }, requests: FORWARDED },
	{
		name: 'use_remote_address without appending',
		manager: { use_remote_address: true, skip_xff_append: true, preserve_external_request_id: true },
		requests: FORWARDED,
	},
	{
		name: 'internal addresses',
		manager: {
			use_remote_address: true,
			internal_address_config: { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] },
		},
		requests: FORWARDED,
	},
	{
		name: 'internal addresses by x-forwarded-for',
		manager: { internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] } },
		requests: FORWARDED,
	},
	{
		name: 'headers of the answer',
		manager: {
			server_header_transformation: 'APPEND_IF_ABSENT',
			always_set_request_id_in_response: true,
			via: 'mesh',
			generate_request_id: false,
		},
		requests: [{ path: '/' }, { path: '/', headers: { 'x-request-id': 'abc', via: '1.1 other' } }, { path: '/server' }],
	},
	{
		name: 'the server header passes',
		manager: { server_header_transformation: 'PASS_THROUGH' },
		requests: [{ path: '/' }, { path: '/server' }],
	},
	{
		name: 'strictness',
		manager: {
			path_with_escaped_slashes_action: 'REJECT_REQUEST',
			normalize_path: true,
			common_http_protocol_options: { headers_with_underscores_action: 'REJECT_REQUEST' },
		},
		requests: [
			{ path: '/a%2Fb' },
			{ path: '/a%5cb' },
			{ path: '/a%2eb' },
			{ path: '/', headers: { a_b: '1' } },
			{ path: '/../x' },
		],
	},
	{
		name: 'leniency',
		manager: {
			path_with_escaped_slashes_action: 'UNESCAPE_AND_FORWARD',
			merge_slashes: true,
			common_http_protocol_options: { headers_with_underscores_action: 'DROP_HEADER' },
			strip_any_host_port: true,
		},
		requests: [
			{ path: '/a%2Fb' },
			{ path: '/a%2F/b' },
			{ path: '/', headers: { a_b: '1', c: '2' } },
			{ path: '/', host: 'x.y:8080' },
		],
	},
	{
		name: 'no normal form',
		manager: { forward_client_cert_details: 'FORWARD_ONLY' },
		requests: [{ path: '/a/../b' }, { path: '//a' }, { path: '/', headers: { 'x-forwarded-client-cert': 'Hash=1' } }],
	},
	{
		name: 'a certificate header that is always forwarded',
		manager: { forward_client_cert_details: 'ALWAYS_FORWARD_ONLY' },
		requests: [{ path: '/', headers: { 'x-forwarded-client-cert': 'Hash=1' } }],
	},
];

/** Envoy puts the machine's own address into x-forwarded-for for a loopback peer; weft puts what it sees. */
const OWN_ADDRESSES = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((one) => one.address));

const VOLATILE = new Set(['date', 'x-request-id', 'x-envoy-upstream-service-time']);

function withoutOwnAddress(name: string, value: string): string {
	if (name !== 'x-forwarded-for') return value;
	const hops = value.split(',');
	if (OWN_ADDRESSES.includes(hops.at(-1) ?? '')) hops[hops.length - 1] = 'PEER';
	return hops.join(',');
}

async function observe(port: number, upstream: RawUpstream, request: RawRequest): Promise<unknown> {
	upstream.seen.length = 0;
	const response = await rawRequest(port, request);
	const mine = request.headers?.['x-request-id'];
	const shown = (list: readonly (readonly [string, string])[]): string[] =>
		list
			.map(([name, value]) => `${name}: ${VOLATILE.has(name) && value !== mine ? '*' : withoutOwnAddress(name, value)}`)
			// Each has its own name where none was configured.
			.filter((line) => line !== 'server: envoy' && line !== 'server: weft')
			.sort();
	return {
		status: response.status,
		body: response.body,
		headers: shown(response.headers),
		upstream: upstream.seen.map((one) => `${one.method} ${one.path} ${shown(one.headers).join(' | ')}`),
	};
}

for (const variant of VARIANTS) {
	describeWithPeers(['envoy'], variant.name, () => {
		let upstream: RawUpstream;
		let weft: TestProxy;
		let envoy: { stop(): Promise<void> };
		let envoyPort = 0;

		beforeAll(async () => {
			upstream = await rawUpstream((request) =>
				okResponse('fine', request.path === '/server' ? { server: 'theirs', 'x-request-id': 'upstream' } : {}),
			);
			envoyPort = freePort();
			const adminPort = freePort();
			const bootstrap = (port: number): object => ({
				node: { id: 'interop', cluster: 'interop' },
				admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
				static_resources: {
					listeners: [
						httpListener(port, {
							delayed_close_timeout: '0.02s',
							route_config: {
								name: 'r',
								virtual_hosts: [
									{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'a' } }] },
								],
							},
							...variant.manager,
						}),
					],
					clusters: [staticCluster('a', [upstream.port])],
				},
			});
			weft = await startTestProxy(bootstrap(0));
			envoy = await startRealEnvoy(bootstrap(envoyPort), adminPort);
		}, 30_000);

		afterAll(async () => {
			await weft?.stop();
			await envoy?.stop();
			upstream.stop();
		});

		for (const request of variant.requests) {
			test(`${request.path} ${JSON.stringify(request.headers ?? {})} ${request.host ?? ''}`, async () => {
				const theirs = await observe(envoyPort, upstream, request);
				expect(await observe(weft.port, upstream, request)).toEqual(theirs);
			});
		}
	});
}
