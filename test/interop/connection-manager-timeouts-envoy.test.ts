// The limits in time of a connection manager, and requests that cannot be read: what the client is
// told, whether its connection closes, and what the access log says. Weft and real Envoy alike.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Proxies, type Side, shownAnswer, startProxies } from '../support/differential.ts';
import { eventually } from '../support/mesh-control.ts';
import { describeWithPeers } from '../support/peers.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { okResponse, type RawUpstream, rawUpstream } from '../support/raw-http.ts';

const LOG =
	'%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:PATH)% %BYTES_SENT%\n';
const MANAGERS = {
	plain: { max_request_headers_kb: 1, common_http_protocol_options: { max_headers_count: 5 } },
	headers: { request_headers_timeout: '0.2s' },
	request: { request_timeout: '0.2s' },
	idle: { stream_idle_timeout: '0.2s' },
	duration: { common_http_protocol_options: { max_stream_duration: '0.2s' } },
	connection: { common_http_protocol_options: { max_connection_duration: '0.1s' }, drain_timeout: '0.2s' },
	'connection that is used': {
		common_http_protocol_options: { max_connection_duration: '0.1s' },
		drain_timeout: '60s',
	},
};

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: h\r\n\r\n`;
const POST = 'POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc';

/** All that ends with the connection closed by the proxy. */
const CLOSED: readonly (readonly [keyof typeof MANAGERS, string])[] = [
	['headers', 'GET'],
	['headers', `${get('/')}GET / HTTP/1.1\r\nho`],
	['request', 'GET'],
	['request', POST],
	['idle', 'GET'],
	['idle', POST],
	['idle', get('/part')],
	['duration', 'GET'],
	['duration', POST],
	['duration', get('/part')],
	['connection', get('/')],
	['plain', 'bad\r\n\r\n'],
	['plain', `GET / HTTP/1.1\r\nhost: h\r\nx: ${'a'.repeat(3000)}\r\n\r\n`],
	['plain', 'GET / HTTP/1.1\r\nhost: h\r\na:1\r\nb:1\r\nc:1\r\nd:1\r\ne:1\r\nf:1\r\n\r\n'],
	['plain', 'GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\n\r\n'],
	['plain', 'POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'],
];
/** What leaves the connection open. */
const OPEN: readonly (readonly [keyof typeof MANAGERS, string, RegExp])[] = [
	['idle', get('/silent'), /stream timeout/],
	['duration', get('/silent'), /duration timeout/],
	['headers', get('/'), /ok/],
];

describeWithPeers(['envoy'], 'limits in time, and requests that cannot be read', () => {
	const directory = mkdtempSync(join(tmpdir(), 'weft-timeouts-'));
	let upstream: RawUpstream;
	let proxies: Proxies;
	const logOf = (side: 'weft' | 'envoy', variant: string): string => join(directory, `${side}-${variant}.log`);

	beforeAll(async () => {
		upstream = await rawUpstream(({ path }) => {
			if (path === '/silent') return 'silence';
			return path === '/part' ? 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc' : okResponse('ok');
		});
		proxies = await startProxies({
			managers: (side) =>
				Object.fromEntries(
					Object.entries(MANAGERS).map(([variant, manager]) => [
						variant,
						{
							...manager,
							access_log: [
								{
									name: 'file',
									typed_config: {
										'@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
										path: logOf(side, variant),
										log_format: { text_format_source: { inline_string: LOG } },
									},
								},
							],
						},
					]),
				),
			clusters: { a: upstream.port },
		});
	}, 60_000);

	afterAll(async () => {
		await proxies?.stop();
		upstream?.stop();
		rmSync(directory, { recursive: true, force: true });
	});

	async function untilClosed(side: Side, variant: string, bytes: string): Promise<string> {
		const client = new RawConnection('127.0.0.1', side.port(variant));
		client.send(bytes);
		const answer = await client.rest();
		client.close();
		return shownAnswer(Buffer.from(answer, 'latin1'));
	}

	for (const [variant, bytes] of CLOSED) {
		test(`${variant}: ${JSON.stringify(bytes.slice(0, 80))}, then the end`, async () => {
			const theirs = await untilClosed(proxies.envoy, variant, bytes);
			expect(await untilClosed(proxies.weft, variant, bytes)).toBe(theirs);
		});
	}

	for (const [variant, bytes, end] of OPEN) {
		test(`${variant}: ${JSON.stringify(bytes)}, and the connection goes on`, async () => {
			const ask = async (side: Side): Promise<string> => {
				const client = new RawConnection('127.0.0.1', side.port(variant));
				client.send(bytes);
				const first = await client.head();
				await client.until(end);
				client.send(get('/again'));
				const second = await client.head();
				client.close();
				return [first, second].map((head) => shownAnswer(Buffer.from(head, 'latin1'))).join('');
			};
			expect(await ask(proxies.weft)).toBe(await ask(proxies.envoy));
		});
	}

	test('a connection over its longest duration says so in its next answer', async () => {
		const ask = async (side: Side): Promise<void> => {
			const client = new RawConnection('127.0.0.1', side.port('connection that is used'));
			for (;;) {
				client.send(get('/'));
				const head = await client.head();
				await client.until(/ok/);
				if (/\r\nconnection: close\r\n/.test(head)) break;
			}
			client.close();
		};
		await ask(proxies.weft);
		await ask(proxies.envoy);
	});

	test('the access log says the same', async () => {
		const lines = (side: 'weft' | 'envoy'): Promise<string> =>
			eventually('the log is written', () => {
				const text = Object.keys(MANAGERS)
					.filter((variant) => variant !== 'connection that is used')
					.map((variant) => readFileSync(logOf(side, variant), 'utf8'))
					.join('');
				return text.split('\n').length > CLOSED.length + OPEN.length * 2 ? text : null;
			});
		expect((await lines('weft')).split('\n').sort()).toEqual((await lines('envoy')).split('\n').sort());
	}, 60_000);
});
