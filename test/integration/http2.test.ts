// HTTP/2 through the real proxy on real sockets, with Node's own client and server as peers: the four
// pairs of protocols, what must be the same in each, and what is special to some.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import {
	createServer,
	request as http1Request,
	type IncomingMessage,
	type Server,
	type ServerResponse,
} from 'node:http';
import {
	type ClientHttp2Session,
	connect,
	createServer as createHttp2Server,
	type Http2Server,
	type IncomingHttpHeaders,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { Http2ServerCodec } from '../../src/http2/server-codec.ts';
import type { Listener } from '../../src/net/network.ts';
import { SystemNetwork } from '../../src/net/system-network.ts';
import { freePort } from '../support/free-ports.ts';
import { exchange } from '../support/raw-http.ts';
import { httpListener, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

const HTTP2_UPSTREAM = {
	typed_extension_protocol_options: {
		'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
			'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
			explicit_http_config: { http2_protocol_options: {} },
		},
	},
};

let proxy: TestProxy;
let http1: Server;
let http2: Http2Server;
let session: ClientHttp2Session;
let breaking: Listener;

interface Seen {
	method: string;
	path: string;
	headers: Record<string, string | string[] | undefined>;
}
let seen: Seen[] = [];

interface Answer {
	readonly status: number;
	readonly headers: Record<string, unknown>;
	readonly body: string;
	readonly trailers: Record<string, unknown>;
}

/** Both servers do the same, by the compatible API. */
function serve(request: IncomingMessage, response: ServerResponse): void {
	const url = request.url ?? '';
	seen.push({ method: request.method ?? '', path: url, headers: request.headers });
	const chunks: Buffer[] = [];
	request.on('data', (chunk: Buffer) => chunks.push(chunk));
	request.on('error', () => {});
	response.on('error', () => {});
	if (url.endsWith('/reset')) {
		response.writeHead(200, { 'content-type': 'text/plain' });
		response.write('begun');
		setImmediate(() => response.destroy());
		return;
	}
	request.on('end', () => {
		const body = Buffer.concat(chunks).toString();
		if (url.endsWith('/trailers')) {
			response.writeHead(200, { 'content-type': 'text/plain', trailer: 'x-sum' });
			response.write(body);
			response.addTrailers({ 'x-sum': String(body.length) });
			response.end();
		} else if (url.endsWith('/large')) {
			response.writeHead(200, { 'content-length': String(LARGE) });
			response.end(Buffer.alloc(LARGE, 'x'));
		} else if (url.endsWith('/none')) {
			response.writeHead(204);
			response.end();
		} else {
			response.writeHead(200, { 'content-type': 'text/plain', 'set-cookie': ['a=1', 'b=2'] });
			response.end(`echo:${body}`);
		}
	});
}

const LARGE = 3_000_000;

/** Begins each response and resets it (Bun's node:http2 ends a stream in order even when told to reset it). */
function startBreakingServer(): number {
	const network = new SystemNetwork();
	const ignore = { onHead() {}, onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };
	breaking = network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: 0 } }, (connection) => {
		const codec = new Http2ServerCodec(
			{
				write: (bytes) => connection.write(bytes),
				pauseReading() {},
				resumeReading() {},
				close: () => connection.end(),
			},
			{
				onStream(stream) {
					setImmediate(() => {
						stream.writeHead({ status: 200, headers: [] }, false);
						stream.writeData(new TextEncoder().encode('begun'), false);
						setImmediate(() => stream.reset('local'));
					});
					return ignore;
				},
				onProtocolError() {},
				onIdle() {},
			},
			{ clock: network.clock },
		);
		connection.handler = {
			onConnect() {},
			onData: (_connection, bytes) => codec.receive(bytes),
			onDrain: () => codec.transportDrained(),
			onEnd: () => codec.receiveEnd(),
			onClose: (_connection, error) => codec.transportClosed(error),
		};
	});
	return breaking.address.kind === 'ip' ? breaking.address.port : 0;
}

beforeAll(async () => {
	http1 = createServer(serve);
	http1.on('upgrade', (request, socket, head) => {
		seen.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers });
		socket.write(
			'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n',
		);
		if (head.length > 0) socket.write(head);
		socket.on('data', (chunk) => socket.write(`tunnel:${chunk}`));
		socket.on('error', () => {});
	});
	http2 = createHttp2Server();
	http2.on('request', (request, response) => serve(request as never, response as never));
	for (const server of [http1, http2]) await new Promise<void>((done) => server.listen(0, '127.0.0.1', () => done()));
	const portOf = (server: { address(): unknown }) => (server.address() as AddressInfo).port;
	const refused = freePort();
	const route = (prefix: string, cluster: string) => ({ match: { prefix }, route: { cluster } });
	proxy = await startTestProxy({
		static_resources: {
			listeners: [
				httpListener(0, {
					http2_protocol_options: { allow_connect: true, max_concurrent_streams: 500 },
					upgrade_configs: [{ upgrade_type: 'websocket' }],
					route_config: {
						virtual_hosts: [
							{
								name: 'all',
								domains: ['*'],
								routes: [
									route('/h2/reset', 'breaks'),
									route('/h1', 'h1'),
									route('/h2', 'h2'),
									route('/refused', 'refused'),
								],
							},
						],
					},
				}),
			],
			clusters: [
				staticCluster('h1', [portOf(http1)]),
				staticCluster('h2', [portOf(http2)], HTTP2_UPSTREAM),
				staticCluster('refused', [refused], HTTP2_UPSTREAM),
				staticCluster('breaks', [startBreakingServer()], HTTP2_UPSTREAM),
			],
		},
	});
	session = connect(`http://127.0.0.1:${proxy.port}`);
	session.on('error', () => {});
});

afterAll(async () => {
	session?.destroy();
	await proxy?.stop();
	http1?.closeAllConnections();
	http1?.close();
	http2?.close();
	breaking?.close();
});

type Ask = (method: string, path: string, body?: string, headers?: Record<string, string>) => Promise<Answer>;

const overHttp2: Ask = (method, path, body = '', headers = {}) =>
	new Promise((resolve, reject) => {
		const stream = session.request({ ':method': method, ':path': path, ...headers }, { endStream: body === '' });
		let head: IncomingHttpHeaders = {};
		let trailers: IncomingHttpHeaders = {};
		const chunks: Buffer[] = [];
		stream.on('response', (response) => {
			head = response;
		});
		stream.on('trailers', (fields) => {
			trailers = fields;
		});
		stream.on('data', (chunk: Buffer) => chunks.push(chunk));
		stream.on('error', reject);
		stream.on('end', () => {
			const { ':status': status, ...rest } = head;
			resolve({ status: Number(status), headers: rest, body: Buffer.concat(chunks).toString(), trailers });
		});
		if (body !== '') stream.end(body);
	});

const overHttp1: Ask = (method, path, body = '', headers = {}) =>
	new Promise((resolve, reject) => {
		const request = http1Request(
			{ port: proxy.port, host: '127.0.0.1', method, path, headers, agent: false },
			(response) => {
				const chunks: Buffer[] = [];
				response.on('data', (chunk: Buffer) => chunks.push(chunk));
				response.on('aborted', () => reject(new Error('aborted')));
				response.on('error', reject);
				response.on('end', () =>
					resolve({
						status: response.statusCode ?? 0,
						headers: response.headers,
						body: Buffer.concat(chunks).toString(),
						trailers: response.trailers,
					}),
				);
			},
		);
		request.on('error', reject);
		request.end(body);
	});

describe.each([
	['HTTP/1.1', 'HTTP/1.1', overHttp1, '/h1'],
	['HTTP/1.1', 'HTTP/2', overHttp1, '/h2'],
	['HTTP/2', 'HTTP/1.1', overHttp2, '/h1'],
	['HTTP/2', 'HTTP/2', overHttp2, '/h2'],
] as const)('%s to %s', (_down, up, ask, prefix) => {
	test('a request with content, and its response', async () => {
		seen = [];
		const answer = await ask('POST', `${prefix}/a?b=c`, 'hello', { 'x-test': 'yes', cookie: 'k=v', te: 'trailers' });
		expect([answer.status, answer.body]).toEqual([200, 'echo:hello']);
		expect(answer.headers['set-cookie']).toEqual(['a=1', 'b=2']);
		const [request] = seen;
		expect([request!.method, request!.path]).toEqual(['POST', `${prefix}/a?b=c`]);
		const fields = request!.headers;
		expect([fields['x-test'], fields.cookie, fields['x-forwarded-proto']]).toEqual(['yes', 'k=v', 'http']);
		const authority = up === 'HTTP/2' ? fields[':authority'] : fields.host;
		expect(authority).toBe(`127.0.0.1:${proxy.port}`);
	});

	test.each(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PUT'])('%s without content', async (method) => {
		const answer = await ask(method, `${prefix}/none`);
		expect([answer.status, answer.body]).toEqual([204, '']);
	});

	test('trailers', async () => {
		const answer = await ask('POST', `${prefix}/trailers`, 'four');
		expect([answer.body, answer.trailers['x-sum']]).toEqual(['four', '4']);
	});

	test('a large response, and a large request', async () => {
		expect((await ask('GET', `${prefix}/large`)).body.length).toBe(LARGE);
		const body = 'y'.repeat(LARGE);
		expect((await ask('POST', `${prefix}/`, body)).body.length).toBe(LARGE + 5);
	});

	test('a response that breaks off is not taken for whole', async () => {
		await expect(ask('GET', `${prefix}/reset`)).rejects.toThrow();
		expect((await ask('GET', `${prefix}/after`)).status).toBe(200);
	});

	test('fifty at once', async () => {
		const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => ask('POST', `${prefix}/${i}`, `n${i}`)));
		expect(answers.map(({ body }) => body)).toEqual(answers.map((_, i) => `echo:n${i}`));
	});
});

test('a host that is not there: 503, over HTTP/2 too', async () => {
	expect((await overHttp2('GET', '/refused')).status).toBe(503);
	expect((await overHttp1('GET', '/refused')).status).toBe(503);
});

test('a WebSocket over HTTP/2 goes on as an upgrade of HTTP/1.1', async () => {
	seen = [];
	const stream = session.request(
		{ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/h1/ws', 'sec-websocket-version': '13' },
		{ endStream: false },
	);
	const status = await new Promise((resolve, reject) => {
		stream.on('response', (headers) => resolve(headers[':status']));
		stream.on('error', reject);
	});
	expect(status).toBe(200);
	const echo = new Promise<string>((resolve) => stream.once('data', (chunk: Buffer) => resolve(chunk.toString())));
	stream.write('hello');
	expect(await echo).toBe('tunnel:hello');
	expect([seen[0]!.method, seen[0]!.headers.upgrade]).toEqual(['GET', 'websocket']);
	expect(String(seen[0]!.headers['sec-websocket-key'])).toHaveLength(24);
	stream.close();
});

test('a preface that came cut is recognised', async () => {
	const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
	const answer = await exchange(proxy.port, 'PRI / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n');
	expect(answer.toString('latin1').slice(0, 12)).toBe('HTTP/1.1 404');
	const received = await new Promise<Buffer>((resolve, reject) => {
		const socket = Bun.connect({
			hostname: '127.0.0.1',
			port: proxy.port,
			socket: {
				data(_socket, data) {
					resolve(Buffer.from(data));
				},
				open(opened) {
					opened.setNoDelay(true);
					opened.write(preface.subarray(0, 5));
					setImmediate(() => opened.write(preface.subarray(5)));
				},
				error(_socket, error) {
					reject(error);
				},
			},
		});
		socket.catch(reject);
	});
	expect(received[3]).toBe(4);
});
