// Translation between HTTP/1.1 and HTTP/2, on weft and on real Envoy with one bootstrap: what the
// client is answered, and what the upstream is asked, in all four pairs.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { type ClientHttp2Session, connect } from 'node:http2';
import type { RequestHead, ResponseHead, ServerStream } from '../../src/http/stream.ts';
import { Http1ServerCodec } from '../../src/http1/server-codec.ts';
import { Http2ServerCodec } from '../../src/http2/server-codec.ts';
import type { Listener } from '../../src/net/network.ts';
import { SystemNetwork } from '../../src/net/system-network.ts';
import { freePort } from '../support/free-ports.ts';
import { describeWithPeers } from '../support/peers.ts';
import { exchange } from '../support/raw-http.ts';
import { httpListener, startRealEnvoy, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

interface Ask {
	readonly name: string;
	readonly method: string;
	readonly path: string;
	readonly headers: readonly (readonly [string, string])[];
	/** Null: the head ends the request. */
	readonly body: string | null;
}

/** What an upstream does with a request, by the end of its path. */
const ANSWERS: Readonly<Record<string, (stream: ServerStream) => void>> = {
	ok: (stream) =>
		respond(stream, { status: 200, headers: ['content-type', 'text/plain', 'content-length', '2'] }, 'ok'),
	empty: (stream) => respond(stream, { status: 200, headers: ['x-empty', ''] }, ''),
	none: (stream) => stream.writeHead({ status: 204, headers: ['x-a', 'b'] }, true),
	unchanged: (stream) => stream.writeHead({ status: 304, headers: ['etag', '"x"'] }, true),
	cookies: (stream) => respond(stream, { status: 200, headers: ['set-cookie', 'a=1', 'set-cookie', 'b=2'] }, 'x'),
	error: (stream) => respond(stream, { status: 500, headers: [] }, 'broken'),
	reset: (stream) => stream.reset('local'),
};

function respond(stream: ServerStream, head: ResponseHead, body: string): void {
	stream.writeHead(head, false);
	stream.writeData(new TextEncoder().encode(body), true);
}

const ASKS: readonly Ask[] = [
	{ name: 'GET', method: 'GET', path: '/ok', headers: [['accept', '*/*']], body: null },
	{ name: 'HEAD', method: 'HEAD', path: '/ok', headers: [], body: null },
	{ name: 'POST with a length', method: 'POST', path: '/ok', headers: [['content-length', '5']], body: 'hello' },
	{ name: 'POST with an empty body', method: 'POST', path: '/ok', headers: [['content-length', '0']], body: null },
	{ name: 'PUT', method: 'PUT', path: '/empty', headers: [['content-length', '3']], body: 'abc' },
	{ name: 'DELETE', method: 'DELETE', path: '/none', headers: [], body: null },
	{ name: 'OPTIONS', method: 'OPTIONS', path: '/ok', headers: [], body: null },
	{ name: 'PATCH and a query', method: 'PATCH', path: '/a?b=c&d/ok', headers: [['content-length', '1']], body: 'x' },
	{ name: 'a method of its own', method: 'PURGE', path: '/ok', headers: [], body: null },
	{ name: '304', method: 'GET', path: '/unchanged', headers: [['if-none-match', '"x"']], body: null },
	{ name: 'cookies', method: 'GET', path: '/cookies', headers: [['cookie', 'a=1; b=2']], body: null },
	{ name: 'te: trailers', method: 'GET', path: '/ok', headers: [['te', 'trailers']], body: null },
	{
		name: 'fields twice',
		method: 'GET',
		path: '/ok',
		headers: [
			['x-a', '1'],
			['x-a', '2'],
		],
		body: null,
	},
	{ name: 'an empty field', method: 'GET', path: '/ok', headers: [['x-a', '']], body: null },
	{ name: '500', method: 'GET', path: '/error', headers: [], body: null },
	{
		// Not one that may be repeated: on a connection used before, weft says then that it was refused, for a retry.
		name: 'a reset before the response',
		method: 'POST',
		path: '/reset',
		headers: [['content-length', '0']],
		body: null,
	},
];

/** Values that differ by their nature. */
const VOLATILE = new Set([
	'date',
	'server',
	'x-request-id',
	'x-envoy-upstream-service-time',
	'x-envoy-expected-rq-timeout-ms',
]);

let asked: string[] = [];

function upstream(network: SystemNetwork, protocol: 1 | 2): Listener {
	return network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: 0 } }, (connection) => {
		const transport = {
			write: (bytes: Uint8Array) => connection.write(bytes),
			pauseReading: () => connection.pause(),
			resumeReading: () => connection.resume(),
			close: (how: 'flush' | 'reset') => (how === 'flush' ? connection.end() : connection.reset()),
		};
		const events = {
			onStream(stream: ServerStream) {
				let head: RequestHead;
				let body = '';
				const done = (): void => {
					asked.push(describeRequest(head, body));
					ANSWERS[head.path.slice(head.path.lastIndexOf('/') + 1)]!(stream);
				};
				return {
					onHead(got: RequestHead, end: boolean) {
						head = got;
						if (end) done();
					},
					onData(bytes: Uint8Array, end: boolean) {
						body += Buffer.from(bytes).toString();
						if (end) done();
					},
					onTrailers: () => done(),
					onReset() {},
					onDrain() {},
				};
			},
			onProtocolError() {},
			onIdle() {},
		};
		const codec =
			protocol === 1
				? new Http1ServerCodec(transport, events)
				: new Http2ServerCodec(transport, events, { clock: network.clock });
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

function describeRequest(head: RequestHead, body: string): string {
	const fields: string[] = [];
	for (let i = 0; i < head.headers.length; i += 2) {
		const field = `${head.headers[i]}: ${head.headers[i + 1]}`;
		// Envoy says so of every method without content, save a few (RFC 9110 §8.6 asks for it of POST and its like).
		if (!VOLATILE.has(head.headers[i]!) && field !== 'content-length: 0') fields.push(field);
	}
	return JSON.stringify([head.method, head.path, fields.sort(), body]);
}

interface Proxy {
	readonly port: number;
	session: ClientHttp2Session | null;
}

function overHttp2(proxy: Proxy, ask: Ask): Promise<string> {
	proxy.session ??= connect(`http://127.0.0.1:${proxy.port}`);
	const headers: Record<string, string | string[]> = {
		':method': ask.method,
		':path': ask.path,
		':authority': 'test.example',
	};
	for (const [name, value] of ask.headers) {
		const before = headers[name];
		headers[name] = before === undefined ? value : [before as string, value];
	}
	const stream = proxy.session.request(headers, { endStream: ask.body === null });
	return new Promise((resolve) => {
		let status = 0;
		let fields: string[] = [];
		let body = '';
		stream.on('response', (head) => {
			status = Number(head[':status']);
			fields = Object.entries(head)
				.filter(([name]) => !name.startsWith(':') && !VOLATILE.has(name))
				.map(([name, value]) => `${name}: ${value}`);
		});
		stream.on('data', (chunk: Buffer) => {
			body += chunk.toString();
		});
		stream.on('error', () => resolve('reset'));
		stream.on('end', () => resolve(JSON.stringify([status, fields.sort(), body])));
		if (ask.body !== null) stream.end(ask.body);
	});
}

async function overHttp1(proxy: Proxy, ask: Ask): Promise<string> {
	let text = `${ask.method} ${ask.path} HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n`;
	for (const [name, value] of ask.headers) {
		// Between neighbours it must be named in Connection too.
		text += name === 'te' ? `te: ${value}\r\nconnection: te\r\n` : `${name}: ${value}\r\n`;
	}
	const answer = (await exchange(proxy.port, `${text}\r\n${ask.body ?? ''}`)).toString('latin1');
	const end = answer.indexOf('\r\n\r\n');
	const [line = '', ...lines] = answer.slice(0, end).split('\r\n');
	const fields = lines
		.map((field) => field.replace(/^[^:]+/, (name) => name.toLowerCase()))
		.filter((field) => !VOLATILE.has(field.slice(0, field.indexOf(':'))));
	return JSON.stringify([line.split(' ')[1], fields.sort(), answer.slice(end + 4)]);
}

describeWithPeers(['envoy'], 'translation, beside Envoy', () => {
	const network = new SystemNetwork();
	const upstreams: Listener[] = [];
	let weft: TestProxy;
	let envoy: { stop(): Promise<void> };
	let proxies: { weft: Proxy; envoy: Proxy };

	beforeAll(async () => {
		const portOf = (listener: Listener) => (listener.address.kind === 'ip' ? listener.address.port : 0);
		upstreams.push(upstream(network, 1), upstream(network, 2));
		const [first, second] = upstreams.map(portOf);
		const bootstrap = (port: number, adminPort: number) => ({
			admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
			static_resources: {
				listeners: [
					httpListener(port, {
						route_config: {
							virtual_hosts: [
								{
									name: 'all',
									domains: ['*'],
									routes: [
										{ match: { prefix: '/h2/' }, route: { cluster: 'h2' } },
										{ match: { prefix: '/' }, route: { cluster: 'h1' } },
									],
								},
							],
						},
					}),
				],
				clusters: [
					staticCluster('h1', [first!]),
					staticCluster('h2', [second!], {
						typed_extension_protocol_options: {
							'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
								'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
								explicit_http_config: { http2_protocol_options: {} },
							},
						},
					}),
				],
			},
		});
		const { admin: _, ...ours } = bootstrap(0, 0);
		weft = await startTestProxy(ours);
		const [port, adminPort] = [freePort(), freePort()];
		envoy = await startRealEnvoy(bootstrap(port, adminPort), adminPort);
		proxies = { weft: { port: weft.port, session: null }, envoy: { port, session: null } };
	}, 60_000);

	afterAll(async () => {
		proxies?.weft.session?.destroy();
		proxies?.envoy.session?.destroy();
		for (const listener of upstreams) listener.close();
		await weft?.stop();
		await envoy?.stop();
	});

	describe.each([
		['HTTP/1.1', 'HTTP/1.1', overHttp1, '/h1'],
		['HTTP/1.1', 'HTTP/2', overHttp1, '/h2'],
		['HTTP/2', 'HTTP/1.1', overHttp2, '/h1'],
		['HTTP/2', 'HTTP/2', overHttp2, '/h2'],
	] as const)('%s to %s', (_down, _up, send, prefix) => {
		test.each(ASKS.map((ask) => [ask.name, ask] as const))('%s', async (_, ask) => {
			const sent = { ...ask, path: `${prefix}${ask.path}` };
			asked = [];
			const ours = { answer: await send(proxies.weft, sent), asked };
			asked = [];
			const theirs = { answer: await send(proxies.envoy, sent), asked };
			expect(ours).toEqual(theirs);
		});
	});
});
