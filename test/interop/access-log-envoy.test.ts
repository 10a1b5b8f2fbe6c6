// Access logs and local replies: weft and real Envoy write the same lines about the same requests,
// and turn their own answers into the same.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Proxies, routesOf, type Side, shownAnswer, startProxies } from '../support/differential.ts';
import { eventually } from '../support/mesh-control.ts';
import { describeWithPeers } from '../support/peers.ts';
import { exchange, okResponse, type RawUpstream, rawUpstream } from '../support/raw-http.ts';

const FILE_TYPE = 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog';

/** Operators whose values do not differ from run to run. */
const OPERATORS = `REQ(:METHOD) REQ(:PATH) REQ(X-NONE?X-ONE) REQ(X-ONE):3 RESP(:STATUS) RESP(X-UP)
RESP(CONTENT-TYPE) TRAILER(X-T) PROTOCOL RESPONSE_CODE RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_CODE_DETAILS
BYTES_RECEIVED BYTES_SENT ROUTE_NAME UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_REQUEST_ATTEMPT_COUNT
DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
UPSTREAM_TRANSPORT_FAILURE_REASON GRPC_STATUS GRPC_STATUS_NUMBER LOCAL_REPLY_BODY ACCESS_LOG_TYPE STREAM_ID
REQUESTED_SERVER_NAME DOWNSTREAM_TLS_VERSION DOWNSTREAM_PEER_SUBJECT HOSTNAME ENVIRONMENT(HOME)
QUERY_PARAM(a) QUERY_PARAM(none) PATH(NQ) PATH(WQ:ORIG) UPSTREAM_METADATA(com.test:key) UPSTREAM_METADATA(com.test)
CLUSTER_METADATA(com.test:nested:b) CLUSTER_METADATA(com.test:number) RESPONSE_TRAILERS_BYTES`.split(/\s+/);
const TEXT = `${OPERATORS.map((operator) => `%${operator}%`).join(' ; ')}\n`;

const JSON_FORMAT = {
	status: '%RESPONSE_CODE%',
	text: '%REQ(:METHOD)% %RESPONSE_CODE%',
	missing: '%REQ(X-NONE)%',
	partly: 'a %REQ(X-NONE)% b',
	nested: {
		z: '%PROTOCOL%',
		a: '%BYTES_SENT%',
		deep: { none: '%GRPC_STATUS%' },
		list: ['%REQ(X-ONE)%', '%REQ(X-NONE)%', 'x'],
	},
	fixed: 'text',
	number: 7,
	bool: true,
	quotes: '"%REQ(X-QUOTED)%"',
	metadata: '%CLUSTER_METADATA(com.test)%',
};

const FILTERS: Readonly<Record<string, object>> = {
	'status at least': {
		status_code_filter: { comparison: { op: 'GE', value: { default_value: 400, runtime_key: 'x' } } },
	},
	'status equal': { status_code_filter: { comparison: { op: 'EQ', value: { default_value: 404, runtime_key: 'x' } } } },
	'duration at most': {
		duration_filter: { comparison: { op: 'LE', value: { default_value: 60000, runtime_key: 'x' } } },
	},
	'not a health check': { not_health_check_filter: {} },
	traceable: { traceable_filter: {} },
	'half of the ids': { runtime_filter: { runtime_key: 'x', percent_sampled: { numerator: 50 } } },
	header: { header_filter: { header: { name: 'x-one', string_match: { exact: 'first' } } } },
	'any flag': { response_flag_filter: {} },
	'no route': { response_flag_filter: { flags: ['NR', 'UF'] } },
	'grpc status': { grpc_status_filter: { statuses: ['UNAVAILABLE', 'NOT_FOUND', 'UNIMPLEMENTED'] } },
	'no such grpc status': { grpc_status_filter: { statuses: ['OK'], exclude: true } },
	type: { log_type_filter: { types: ['DownstreamStart'] } },
	'no such type': { log_type_filter: { types: ['DownstreamEnd'], exclude: true } },
	and: {
		and_filter: {
			filters: [
				{ status_code_filter: { comparison: { op: 'GE', value: { default_value: 400, runtime_key: 'x' } } } },
				{ header_filter: { header: { name: ':path', string_match: { prefix: '/none' } } } },
			],
		},
	},
	or: {
		or_filter: {
			filters: [
				{ status_code_filter: { comparison: { op: 'LE', value: { default_value: 200, runtime_key: 'x' } } } },
				{ response_flag_filter: { flags: ['NC'] } },
			],
		},
	},
};

const ROUTES = {
	route_config: {
		validate_clusters: false,
		...routesOf(
			{ name: 'ok', match: { prefix: '/ok' }, route: { cluster: 'a', prefix_rewrite: '/new' } },
			{ match: { prefix: '/gone' }, route: { cluster: 'absent' } },
			{ match: { prefix: '/refused' }, route: { cluster: 'refused' } },
			{
				name: 'direct',
				match: { prefix: '/direct' },
				direct_response: { status: 418, body: { inline_string: 'tea' } },
			},
			{ match: { prefix: '/moved' }, redirect: { path_redirect: '/new' } },
		),
	},
};

const LOCAL_REPLIES = {
	body_format: { json_format: { code: '%RESPONSE_CODE%', said: '%LOCAL_REPLY_BODY%', path: '%REQ(:path)%' } },
	mappers: [
		{
			filter: { header_filter: { header: { name: 'x-one', string_match: { exact: 'map' } } } },
			status_code: 599,
			body: { inline_string: 'mapped' },
			headers_to_add: [
				{ header: { key: 'x-mapped', value: '%RESPONSE_FLAGS%' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
			],
		},
		{
			filter: { response_flag_filter: { flags: ['NR'] } },
			body_format_override: {
				text_format_source: { inline_string: '<b>%LOCAL_REPLY_BODY% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%</b>\n' },
				content_type: 'text/html; charset=UTF-8',
			},
		},
		{
			filter: { status_code_filter: { comparison: { op: 'EQ', value: { default_value: 418, runtime_key: 'x' } } } },
			status_code: 200,
		},
		{
			filter: { response_flag_filter: { flags: ['DPE'] } },
			body_format_override: { text_format_source: { inline_string: '%RESPONSE_CODE% %LOCAL_REPLY_BODY%' } },
		},
	],
};

const request = (path: string, more = ''): string =>
	`GET ${path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-request-id: 00000000-0000-4000-8000-000000000000\r\n${more}\r\n`;
const GRPC = 'content-type: application/grpc\r\n';
const REQUESTS = [
	request('/ok?a=1&b=2', 'x-one: first\r\nx-quoted: say "hi" \\ there\r\n'),
	request('/ok/with?a', 'x-request-id: f0000000-0000-4000-8000-000000000000\r\n'.replace('x-request-id', 'x-other')),
	request('/gone', 'x-one: second\r\n'),
	request('/none', 'x-one: map\r\n'),
	request('/none'),
	request('/refused'),
	request('/direct'),
	request('/moved'),
	request('/none', GRPC),
	request('/gone', `${GRPC}x-one: map\r\n`),
	'bad\r\n\r\n',
	request('/ok').replace('GET', 'HEAD'),
	request('/direct').replace('GET', 'HEAD'),
];

describeWithPeers(['envoy'], 'access logs and local replies', () => {
	const directory = mkdtempSync(join(tmpdir(), 'weft-access-log-'));
	let upstream: RawUpstream;
	let proxies: Proxies;
	const path = (side: string, name: string): string => join(directory, `${side}-${name.replaceAll(' ', '-')}.log`);
	const log = (side: string, name: string, fields: object, filter: object | null = null): object => ({
		name: 'file',
		...(filter === null ? {} : { filter }),
		typed_config: { '@type': FILE_TYPE, path: path(side, name), ...fields },
	});
	const text = (format: string, more: object = {}): object => ({
		log_format: { text_format_source: { inline_string: format }, ...more },
	});
	const logs = (side: string): object[] => [
		log(side, 'text', text(TEXT)),
		log(side, 'text without empty', text(TEXT, { omit_empty_values: true })),
		log(side, 'json', { log_format: { json_format: JSON_FORMAT, json_format_options: { sort_properties: true } } }),
		log(side, 'json without empty', {
			log_format: { json_format: JSON_FORMAT, omit_empty_values: true, json_format_options: { sort_properties: true } },
		}),
		...Object.entries(FILTERS).map(([name, filter]) =>
			log(side, name, text('%REQ(:PATH)% %RESPONSE_CODE% %ACCESS_LOG_TYPE%\n'), filter),
		),
	];

	beforeAll(async () => {
		upstream = await rawUpstream(({ method }) =>
			method === 'HEAD' ? 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n' : okResponse('fine', { 'x-up': 'yes' }),
		);
		const metadata = { filter_metadata: { 'com.test': { key: 'value', number: 7, nested: { b: [1, 'x'] } } } };
		proxies = await startProxies({
			managers: (side) => ({
				plain: { ...ROUTES, access_log: logs(side) },
				early: {
					...ROUTES,
					access_log: [log(side, 'early', text('%REQ(:PATH)% %RESPONSE_CODE% %ACCESS_LOG_TYPE%\n'))],
					access_log_options: { flush_access_log_on_new_request: true },
				},
				mapped: {
					...ROUTES,
					local_reply_config: LOCAL_REPLIES,
					access_log: [log(side, 'mapped', text('%RESPONSE_CODE% %BYTES_SENT% %LOCAL_REPLY_BODY%\n'))],
				},
			}),
			clusters: { a: upstream.port, refused: 1 },
			clusterFields: {
				a: {
					metadata,
					load_assignment: {
						cluster_name: 'a',
						endpoints: [
							{
								lb_endpoints: [
									{
										endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: upstream.port } } },
										metadata: { filter_metadata: { 'com.test': { key: 'of the host', list: [1, 2] } } },
									},
								],
							},
						],
					},
				},
			},
		});
		for (const side of [proxies.envoy, proxies.weft]) {
			for (const bytes of REQUESTS) {
				await exchange(side.port('plain'), bytes);
				await exchange(side.port('early'), bytes);
			}
		}
	}, 60_000);

	afterAll(async () => {
		await proxies?.stop();
		upstream?.stop();
		rmSync(directory, { recursive: true, force: true });
	});

	const linesOf = (side: string, name: string, count: number): Promise<string[]> =>
		eventually(
			`the log ${name} of ${side}`,
			() => {
				const lines = readFileSync(path(side, name), 'utf8').split('\n').slice(0, -1);
				return lines.length >= count ? lines : null;
			},
			30_000,
		);

	for (const name of ['text', 'text without empty', 'json', 'json without empty']) {
		test(`the log ${name}`, async () => {
			const theirs = await linesOf('envoy', name, REQUESTS.length);
			const ours = await linesOf('weft', name, REQUESTS.length);
			expect(theirs).toHaveLength(REQUESTS.length);
			const shown = (lines: readonly string[]): unknown[] =>
				name.startsWith('text')
					? lines.map((line) => line.split(' ; ').map((value, index) => `${OPERATORS[index]} = ${value}`))
					: [...lines];
			expect(shown(ours)).toEqual(shown(theirs));
		}, 60_000);
	}

	for (const name of Object.keys(FILTERS)) {
		test(`the filter: ${name}`, async () => {
			// Chance decides about a request without an id.
			const shown = async (side: string): Promise<string[]> =>
				(await linesOf(side, name, 0)).filter((line) => name !== 'half of the ids' || !line.startsWith('-'));
			await linesOf('envoy', 'text', REQUESTS.length);
			await linesOf('weft', 'text', REQUESTS.length);
			// Logs are written one after the other.
			const same = async (): Promise<boolean> => Bun.deepEquals(await shown('weft'), await shown('envoy'));
			await eventually('both say the same', same, 15_000).catch(() => {});
			expect(await shown('weft')).toEqual(await shown('envoy'));
		}, 60_000);
	}

	test('a line when a request begins', async () => {
		const shown = async (side: string): Promise<string[]> =>
			(await linesOf(side, 'early', REQUESTS.length * 2 - 1)).map((line) =>
				line.replace(/ \S+ (?=DownstreamStart)/, ' * '),
			);
		expect(await shown('weft')).toEqual(await shown('envoy'));
	}, 60_000);

	for (const bytes of REQUESTS) {
		test(`the reply to ${JSON.stringify(bytes.replace(/x-request-id.*?\r\n/, ''))}`, async () => {
			const ask = async (side: Side): Promise<string> => shownAnswer(await exchange(side.port('mapped'), bytes));
			expect(await ask(proxies.weft)).toBe(await ask(proxies.envoy));
		});
	}

	test('what was replied is what the log says', async () => {
		expect(await linesOf('weft', 'mapped', REQUESTS.length)).toEqual(await linesOf('envoy', 'mapped', REQUESTS.length));
	}, 60_000);

	test('a log that was moved away is begun anew', async () => {
		const old = path('weft', 'text');
		renameSync(old, `${old}.1`);
		proxies.proxy.proxy.reopenLogs();
		await exchange(proxies.weft.port('plain'), request('/none'));
		expect(await linesOf('weft', 'text', 1)).toHaveLength(1);
		expect(readFileSync(`${old}.1`, 'utf8').split('\n').length - 1).toBe(REQUESTS.length);
	});
});
