// The same bootstrap on weft and on real Envoy: the same requests get the same answers, reach the
// same upstream, and arrive there as the same requests.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { freePort } from '../support/free-ports.ts';
import { describeWithPeers } from '../support/peers.ts';
import { okResponse, type RawRequest, type RawUpstream, rawRequest, rawUpstream } from '../support/raw-http.ts';
import { httpListener, startRealEnvoy, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

const FAULT_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault';
const ROUTER_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router';

let weft: TestProxy;
let envoy: { stop(): Promise<void> };
let envoyPort = 0;
const upstreams = new Map<string, RawUpstream>();

/** Values that differ from run to run. */
const VOLATILE = new Set(['date', 'x-request-id', 'x-envoy-upstream-service-time']);

function routes(): object {
	const to = (cluster: string, more: object = {}): object => ({ route: { cluster, ...more } });
	return {
		name: 'routes',
		validate_clusters: false,
		response_headers_to_add: [{ header: { key: 'x-level', value: 'config' } }],
		request_headers_to_add: [{ header: { key: 'x-order', value: 'config' } }],
		request_headers_to_remove: ['x-drop'],
		virtual_hosts: [
			{
				name: 'exact',
				domains: ['exact.example', 'exact.example:8080'],
				routes: [{ match: { prefix: '/' }, ...to('a') }],
			},
			{ name: 'suffix', domains: ['*.example.org'], routes: [{ match: { prefix: '/' }, ...to('b') }] },
			{ name: 'longer', domains: ['*.deep.example.org'], routes: [{ match: { prefix: '/' }, ...to('c') }] },
			{ name: 'prefix', domains: ['www.*'], routes: [{ match: { prefix: '/' }, ...to('c') }] },
			{
				name: 'tls',
				domains: ['secure.example'],
				require_tls: 'ALL',
				routes: [{ match: { prefix: '/' }, ...to('a') }],
			},
			{
				name: 'any',
				domains: ['*'],
				include_request_attempt_count: true,
				include_attempt_count_in_response: true,
				request_headers_to_add: [
					{ header: { key: 'x-order', value: 'host' } },
					{ header: { key: 'x-from', value: '%REQ(x-client?user-agent)%' } },
					{ header: { key: 'x-empty', value: '%REQ(x-absent)%' } },
				],
				response_headers_to_add: [
					{ header: { key: 'x-level', value: 'host' } },
					{ header: { key: 'x-route', value: '%RESPONSE_CODE%' } },
					{ header: { key: 'server-kind', value: 'ours' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
					{ header: { key: 'x-only-if', value: 'set' }, append_action: 'OVERWRITE_IF_EXISTS' },
					{ header: { key: 'x-absent', value: 'set' }, append_action: 'ADD_IF_ABSENT' },
				],
				response_headers_to_remove: ['x-secret'],
				routes: [
					{ match: { path: '/exact' }, ...to('a') },
					{ match: { path: '/folded', case_sensitive: false }, ...to('a') },
					{ match: { prefix: '/prefix/' }, ...to('b', { prefix_rewrite: '/p/' }) },
					{ match: { path_separated_prefix: '/sep' }, ...to('c', { prefix_rewrite: '/s' }) },
					{
						match: { safe_regex: { regex: '/item/[0-9]+' } },
						...to('a', { regex_rewrite: { pattern: { regex: '/item/([0-9]+)' }, substitution: '/thing/\\1/x' } }),
					},
					{ match: { prefix: '/header', headers: [{ name: 'x-kind', string_match: { exact: 'b' } }] }, ...to('b') },
					{
						match: { prefix: '/header', headers: [{ name: 'x-kind', string_match: { safe_regex: { regex: 'c+' } } }] },
						...to('c'),
					},
					{
						match: { prefix: '/header', headers: [{ name: 'x-number', range_match: { start: 5, end: 10 } }] },
						...to('b'),
					},
					{ match: { prefix: '/header', headers: [{ name: 'x-there', present_match: true }] }, ...to('c') },
					{ match: { prefix: '/header', headers: [{ name: ':method', string_match: { exact: 'PUT' } }] }, ...to('b') },
					{
						match: {
							prefix: '/header',
							headers: [{ name: 'x-no', string_match: { exact: 'no' }, invert_match: true }],
						},
						...to('a'),
					},
					{ match: { prefix: '/header' }, direct_response: { status: 418, body: { inline_string: 'none' } } },
					{ match: { prefix: '/query', query_parameters: [{ name: 'v', string_match: { prefix: 'b' } }] }, ...to('b') },
					{ match: { prefix: '/query', query_parameters: [{ name: 'flag', present_match: true }] }, ...to('c') },
					{ match: { prefix: '/query' }, ...to('a') },
					{
						match: { prefix: '/weighted' },
						route: {
							weighted_clusters: {
								clusters: [
									{ name: 'a', weight: 0 },
									{
										name: 'b',
										weight: 100,
										request_headers_to_add: [{ header: { key: 'x-order', value: 'cluster' } }],
										response_headers_to_add: [{ header: { key: 'x-level', value: 'cluster' } }],
									},
								],
							},
						},
						request_headers_to_add: [{ header: { key: 'x-order', value: 'route' } }],
					},
					{ match: { prefix: '/by-header' }, route: { cluster_header: 'x-cluster' } },
					{
						match: { prefix: '/host' },
						...to('a', { host_rewrite_literal: 'other.example', append_x_forwarded_host: true }),
					},
					{ match: { prefix: '/nowhere' }, ...to('absent') },
					{ match: { prefix: '/nowhere404' }, ...to('absent') },
					{ match: { prefix: '/gone' }, ...to('absent', { cluster_not_found_response_code: 'NOT_FOUND' }) },
					{ match: { prefix: '/empty' }, ...to('empty') },
					{ match: { prefix: '/refused' }, ...to('refused') },
					{ match: { prefix: '/slow' }, ...to('silent', { timeout: '0.2s' }) },
					{
						match: { prefix: '/per-try' },
						...to('silent', { timeout: '2s', retry_policy: { retry_on: '5xx', per_try_timeout: '0.1s' } }),
					},
					{ match: { prefix: '/close' }, ...to('closing') },
					{
						match: { prefix: '/retried-close' },
						...to('closing', { retry_policy: { retry_on: 'reset', num_retries: 2 } }),
					},
					{ match: { prefix: '/flaky' }, ...to('flaky', { retry_policy: { retry_on: '5xx', num_retries: 3 } }) },
					{ match: { prefix: '/exhausted' }, ...to('failing', { retry_policy: { retry_on: '5xx', num_retries: 1 } }) },
					{
						match: { prefix: '/codes' },
						...to('failing', { retry_policy: { retry_on: 'retriable-status-codes', retriable_status_codes: [503] } }),
					},
					{
						match: { prefix: '/retry-header' },
						...to('flaky', {
							retry_policy: {
								retry_on: 'retriable-headers',
								num_retries: 3,
								retriable_headers: [{ name: 'x-again', present_match: true }],
							},
						}),
					},
					{ match: { prefix: '/redirect/path' }, redirect: { path_redirect: '/new?x=1' } },
					{ match: { prefix: '/redirect/prefix' }, redirect: { prefix_rewrite: '/other', response_code: 'FOUND' } },
					{ match: { prefix: '/redirect/https' }, redirect: { https_redirect: true, port_redirect: 8443 } },
					{
						match: { prefix: '/redirect/host' },
						redirect: { host_redirect: 'new.example', strip_query: true, response_code: 'PERMANENT_REDIRECT' },
					},
					{
						match: { prefix: '/redirect/regex' },
						redirect: { regex_rewrite: { pattern: { regex: '/redirect/(regex)' }, substitution: '/\\1/done' } },
					},
					{ match: { prefix: '/direct' }, direct_response: { status: 200, body: { inline_string: 'direct' } } },
					{
						match: { prefix: '/aborted' },
						...to('a'),
						typed_per_filter_config: {
							fault: { '@type': FAULT_TYPE, abort: { http_status: 555, percentage: { numerator: 100 } } },
						},
					},
					{
						match: { prefix: '/delayed' },
						...to('a'),
						typed_per_filter_config: {
							fault: {
								'@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig',
								config: {
									'@type': FAULT_TYPE,
									abort: { http_status: 556, percentage: { numerator: 100 } },
									delay: { fixed_delay: '0.05s', percentage: { numerator: 100 } },
								},
							},
						},
					},
					{ match: { prefix: '/ok' }, ...to('a') },
				],
			},
		],
	};
}

function bootstrap(port: number, adminPort: number): object {
	const clusters = [...upstreams].map(([name, upstream]) => staticCluster(name, [upstream.port]));
	return {
		node: { id: 'interop', cluster: 'interop' },
		admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
		static_resources: {
			listeners: [
				httpListener(port, {
					route_config: routes(),
					server_name: 'mesh',
					delayed_close_timeout: '0.02s',
					normalize_path: true,
					merge_slashes: true,
					http_filters: [
						{ name: 'fault', typed_config: { '@type': FAULT_TYPE } },
						{ name: 'router', typed_config: { '@type': ROUTER_TYPE } },
					],
				}),
			],
			clusters: [...clusters, staticCluster('empty', []), staticCluster('refused', [1])],
		},
	};
}

beforeAll(async () => {
	const extra = { 'x-secret': 'hidden', 'x-only-if': 'upstream', 'x-absent': 'upstream', 'server-kind': 'theirs' };
	for (const name of ['a', 'b', 'c']) {
		upstreams.set(
			name,
			await rawUpstream((request) => okResponse(`${name} ${request.method} ${request.path} ${request.body}`, extra)),
		);
	}
	upstreams.set('silent', await rawUpstream(() => 'silence'));
	upstreams.set('closing', await rawUpstream(() => 'close'));
	upstreams.set('failing', await rawUpstream(() => okResponse('failed', {}, '503 Service Unavailable')));
	let flaky = 0;
	upstreams.set(
		'flaky',
		await rawUpstream(() => {
			flaky += 1;
			return flaky % 3 === 0
				? okResponse('at last')
				: okResponse('not yet', { 'x-again': '1' }, '500 Internal Server Error');
		}),
	);
	envoyPort = freePort();
	const adminPort = freePort();
	weft = await startTestProxy(bootstrap(0, 0));
	envoy = await startRealEnvoy(bootstrap(envoyPort, adminPort), adminPort);
}, 30_000);

afterAll(async () => {
	await weft?.stop();
	await envoy?.stop();
	for (const upstream of upstreams.values()) upstream.stop();
});

interface Observed {
	readonly status: number;
	readonly body: string;
	readonly headers: readonly string[];
	/** What reached upstreams: cluster, request line, headers, body. */
	readonly upstream: readonly string[];
}

async function observe(port: number, request: RawRequest): Promise<Observed> {
	for (const upstream of upstreams.values()) upstream.seen.length = 0;
	const response = await rawRequest(port, request);
	const shown = (list: readonly (readonly [string, string])[]): string[] =>
		list
			.map(([name, value]) => `${name}: ${VOLATILE.has(name) ? '*' : value.replace(/^1(?:4\d{3}|5000)$/, 'REMAINING')}`)
			.sort();
	const upstream: string[] = [];
	for (const [name, { seen }] of upstreams) {
		for (const one of seen)
			upstream.push(`${name} ${one.method} ${one.path} ${shown(one.headers).join(' | ')} ${one.body}`);
	}
	return { status: response.status, body: response.body, headers: shown(response.headers), upstream };
}

const CASES: readonly (readonly [string, RawRequest])[] = [
	['an exact domain', { path: '/x', host: 'exact.example' }],
	['an exact domain in capitals', { path: '/x', host: 'EXACT.example' }],
	['an exact domain with its port', { path: '/x', host: 'exact.example:8080' }],
	['a domain with a port of its own falls to *', { path: '/ok', host: 'exact.example:9999' }],
	['a suffix domain', { path: '/x', host: 'api.example.org' }],
	['the longer suffix wins', { path: '/x', host: 'api.deep.example.org' }],
	['the bare domain is no suffix match', { path: '/ok', host: '.example.org' }],
	['a prefix domain', { path: '/x', host: 'www.anything' }],
	['a host that wants TLS', { path: '/x?y=1', host: 'secure.example' }],
	['an exact path', { path: '/exact' }],
	['an exact path with a query', { path: '/exact?x=1' }],
	['an exact path is no prefix', { path: '/exact/more' }],
	['a path with folded case', { path: '/FOLDED' }],
	['a prefix that is rewritten', { path: '/prefix/a/b?c=d' }],
	['a separated prefix', { path: '/sep' }],
	['a separated prefix with more', { path: '/sep/more?x' }],
	['a separated prefix needs its separator', { path: '/separate' }],
	['a pattern that is rewritten', { path: '/item/42?x=1' }],
	['a pattern must match all', { path: '/item/42/more' }],
	['a header', { path: '/header', headers: { 'x-kind': 'b' } }],
	['a header by pattern', { path: '/header', headers: { 'x-kind': 'ccc' } }],
	['a header by range', { path: '/header', headers: { 'x-number': '7' } }],
	['a header at the open end of its range', { path: '/header', headers: { 'x-number': '10', 'x-no': 'no' } }],
	['a header that is present', { path: '/header', headers: { 'x-there': '' } }],
	['a method', { path: '/header', method: 'PUT', body: 'x' }],
	['an inverted header that is absent', { path: '/header' }],
	['an inverted header that matches', { path: '/header', headers: { 'x-no': 'no' } }],
	['a query parameter', { path: '/query?v=bcd' }],
	['a query parameter by presence', { path: '/query?a=1&flag' }],
	['a query parameter that is not there', { path: '/query?other=b' }],
	['weights and headers of all levels', { path: '/weighted', headers: { 'x-order': 'client' } }],
	['a cluster by header', { path: '/by-header', headers: { 'x-cluster': 'c' } }],
	['a cluster by a header that is absent', { path: '/by-header' }],
	['a cluster by a header that names none', { path: '/by-header', headers: { 'x-cluster': 'zz' } }],
	['a host that is rewritten', { path: '/host' }],
	['a cluster that does not exist', { path: '/nowhere' }],
	['a cluster that does not exist, as 404', { path: '/gone' }],
	['a cluster without hosts', { path: '/empty' }],
	['a host that refuses', { path: '/refused' }],
	['a host that does not answer', { path: '/slow' }],
	['a per-try timeout', { path: '/per-try' }],
	['a host that closes', { path: '/close' }],
	['a host that closes each time', { path: '/retried-close' }],
	['retries until it works', { path: '/flaky' }],
	['retries of a request with a body', { path: '/flaky', method: 'POST', body: 'some body' }],
	['retries by response header', { path: '/retry-header' }],
	['retries that are used up', { path: '/exhausted' }],
	['retries by status', { path: '/codes' }],
	['a redirect by path', { path: '/redirect/path?y=2' }],
	['a redirect by prefix', { path: '/redirect/prefix/more?y=2' }],
	['a redirect to https', { path: '/redirect/https?y', host: 'r.example:80' }],
	['a redirect to a host', { path: '/redirect/host?y', host: 'r.example:8080' }],
	['a redirect by pattern', { path: '/redirect/regex/x?y' }],
	['a direct response', { path: '/direct' }],
	['HEAD of a direct response', { path: '/direct', method: 'HEAD' }],
	['an abort', { path: '/aborted' }],
	['a delay', { path: '/delayed' }],
	['nothing that matches', { path: '/other' }],
	[
		'headers that are taken away and made',
		{ path: '/ok', headers: { 'x-drop': '1', 'user-agent': 'tester', 'x-client': 'me' } },
	],
	[
		'what a stranger may not ask for',
		{ path: '/flaky/a', headers: { 'x-envoy-max-retries': '0', 'x-envoy-internal': 'true' } },
	],
	[
		'a stranger asking for a timeout',
		{ path: '/ok', headers: { 'x-envoy-upstream-rq-timeout-ms': '1', 'x-envoy-retry-on': '5xx' } },
	],
	['forwarded headers', { path: '/ok', headers: { 'x-forwarded-for': '10.1.2.3', 'x-forwarded-proto': 'https' } }],
	['a request id of the client', { path: '/ok', headers: { 'x-request-id': 'mine' } }],
	['a certificate header of the client', { path: '/ok', headers: { 'x-forwarded-client-cert': 'By=me' } }],
	['dots in a path', { path: '/x/../ok/./y' }],
	['doubled slashes', { path: '//ok//y?z=//' }],
	['encoded letters', { path: '/%6fk/%2fy' }],
	['a backslash', { path: '/ok\\y' }],
	['a body', { path: '/ok', method: 'POST', body: 'hello' }],
	['gRPC without a route', { path: '/other', method: 'POST', headers: { 'content-type': 'application/grpc' } }],
	['gRPC without hosts', { path: '/empty', method: 'POST', headers: { 'content-type': 'application/grpc+proto' } }],
	['OPTIONS *', { path: '*', method: 'OPTIONS' }],
];

describeWithPeers(['envoy'], 'weft answers as Envoy does', () => {
	for (const [name, request] of CASES) {
		test(name, async () => {
			const theirs = await observe(envoyPort, request);
			const ours = await observe(weft.port, request);
			expect(ours).toEqual(theirs);
		});
	}
});
