// A proxy in this process on real sockets: requests written byte by byte, upstreams that misbehave
// on purpose, updates and drain while traffic flows.

import { afterEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderPrometheusText } from '../../src/telemetry/prometheus-text.ts';
import {
	exchange,
	header,
	okResponse,
	parseResponse,
	type RawUpstream,
	rawRequest,
	rawUpstream,
} from '../support/raw-http.ts';
import {
	HCM_TYPE,
	httpListener,
	ROUTER_TYPE,
	startTestProxy,
	staticCluster,
	type TestProxy,
} from '../support/test-proxy.ts';

const closers: (() => void | Promise<void>)[] = [];

afterEach(async () => {
	for (const close of closers.splice(0).reverse()) await close();
});

async function proxyOf(listeners: object[], clusters: object[], more: object = {}): Promise<TestProxy> {
	const running = await startTestProxy({ static_resources: { listeners, clusters }, ...more });
	closers.push(() => running.stop());
	return running;
}

async function upstream(...args: Parameters<typeof rawUpstream>): Promise<RawUpstream> {
	const started = await rawUpstream(...args);
	closers.push(() => started.stop());
	return started;
}

function routesTo(cluster: string, action: object = {}): object {
	return {
		name: 'routes',
		virtual_hosts: [
			{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster, ...action } }] },
		],
	};
}

async function eventually(what: () => boolean): Promise<void> {
	for (let i = 0; i < 500; i++) {
		if (what()) return;
		await new Promise<void>((resolve) => setImmediate(() => setTimeout(resolve, 2)));
	}
	throw new Error('it did not happen');
}

function open(port: number): Promise<Socket> {
	return new Promise((resolve) => {
		const socket: Socket = connect(port, '127.0.0.1', () => resolve(socket));
		closers.push(() => {
			socket.destroy();
		});
	});
}

describe('HTTP', () => {
	test('keeps connections alive and reuses upstream ones', async () => {
		const a = await upstream((request) => okResponse(`${request.path}`));
		const { port } = await proxyOf([httpListener(0, { route_config: routesTo('a') })], [staticCluster('a', [a.port])]);
		const text = await exchange(
			port,
			'GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\nGET /3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
		);
		const answers = text.toString().split('HTTP/1.1 200 OK').slice(1);
		expect(answers.map((answer) => answer.slice(answer.indexOf('\r\n\r\n') + 4))).toEqual(['/1', '/2', '/3']);
		expect(a.seen.map((request) => request.path)).toEqual(['/1', '/2', '/3']);
	});

	test('a connect failure is tried on another host, with the body', async () => {
		const good = await upstream((request) => okResponse(request.body));
		const retry_policy = {
			retry_on: 'connect-failure',
			num_retries: 3,
			retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }],
			host_selection_retry_max_attempts: 3,
		};
		const { port } = await proxyOf(
			[httpListener(0, { route_config: routesTo('pair', { retry_policy }) })],
			[staticCluster('pair', [1, good.port])],
		);
		for (let i = 0; i < 4; i++) {
			const response = await rawRequest(port, { method: 'POST', path: '/', body: 'keep me' });
			expect([response.status, response.body]).toEqual([200, 'keep me']);
		}
	});

	test('reset-idempotent retries GET and leaves POST', async () => {
		let count = 0;
		const a = await upstream(() => (++count % 2 === 1 ? 'close' : okResponse('second')));
		const { port } = await proxyOf(
			[
				httpListener(0, {
					route_config: routesTo('a', { retry_policy: { retry_on: 'reset-idempotent', num_retries: 1 } }),
				}),
			],
			[staticCluster('a', [a.port])],
		);
		expect((await rawRequest(port, { path: '/' })).status).toBe(200);
		expect((await rawRequest(port, { path: '/', method: 'POST', body: 'x' })).status).toBe(503);
		expect(a.seen.length).toBe(3);
	});

	test('a body over the buffer limit is not sent twice', async () => {
		const a = await upstream(() => okResponse('no', {}, '503 Service Unavailable'));
		const { port } = await proxyOf(
			[
				httpListener(
					0,
					{ route_config: routesTo('a', { retry_policy: { retry_on: '5xx', num_retries: 2 } }) },
					{ per_connection_buffer_limit_bytes: 1000 },
				),
			],
			[staticCluster('a', [a.port])],
		);
		expect((await rawRequest(port, { path: '/', method: 'POST', body: 'x'.repeat(50_000) })).status).toBe(503);
		expect(a.seen.length).toBe(1);
		expect((await rawRequest(port, { path: '/', method: 'POST', body: 'small' })).status).toBe(503);
		expect(a.seen.length).toBe(4);
	});

	test('holds a fast upstream back until a slow client reads', async () => {
		const total = 64 * 1024 * 1024;
		let sent = 0;
		const server = createServer((socket) => {
			socket.on('error', () => {});
			socket.once('data', () => {
				socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${total}\r\n\r\n`);
				const chunk = Buffer.alloc(256 * 1024, 0x61);
				const more = (): void => {
					while (sent < total) {
						sent += chunk.byteLength;
						if (!socket.write(chunk)) {
							socket.once('drain', more);
							return;
						}
					}
				};
				more();
			});
		});
		await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
		closers.push(() => {
			server.close();
		});
		const address = server.address();
		const upstreamPort = typeof address === 'object' && address !== null ? address.port : 0;
		const { port } = await proxyOf(
			[httpListener(0, { route_config: routesTo('a') })],
			[staticCluster('a', [upstreamPort])],
		);
		const client = await open(port);
		client.pause();
		client.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
		let last = -1;
		// It stands still when all buffers on the way are full.
		for (let still = 0; still < 25; ) {
			still = sent === last && sent > 0 ? still + 1 : 0;
			last = sent;
			await new Promise<void>((resolve) => setTimeout(resolve, 4));
		}
		expect(sent).toBeLessThan(total);
		let received = 0;
		await new Promise<void>((resolve) => {
			client.on('data', (chunk: Buffer) => {
				received += chunk.byteLength;
			});
			client.on('close', () => resolve());
			client.resume();
		});
		expect(received).toBeGreaterThan(total);
	});

	test('streams a request while its answer is already coming', async () => {
		const server = createServer((socket) => {
			socket.on('error', () => {});
			socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
			socket.on('data', (chunk: Buffer) => {
				if (chunk.toString().includes('last')) socket.write('4\r\ndone\r\n0\r\n\r\n');
				else socket.write('3\r\ngot\r\n');
			});
		});
		await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
		closers.push(() => {
			server.close();
		});
		const address = server.address();
		const upstreamPort = typeof address === 'object' && address !== null ? address.port : 0;
		const { port } = await proxyOf(
			[httpListener(0, { route_config: routesTo('a') })],
			[staticCluster('a', [upstreamPort])],
		);
		const client = await open(port);
		let text = '';
		client.on('data', (chunk: Buffer) => {
			text += chunk.toString();
		});
		client.write('POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n');
		await eventually(() => text.includes('got'));
		client.write('4\r\nlast\r\n0\r\n\r\n');
		await eventually(() => text.includes('done'));
	});

	test('a malformed request is answered 400 and only its connection closes', async () => {
		const a = await upstream(() => okResponse('fine'));
		const { port } = await proxyOf([httpListener(0, { route_config: routesTo('a') })], [staticCluster('a', [a.port])]);
		const good = await open(port);
		const bad = parseResponse(await exchange(port, 'GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n'));
		expect(bad.status).toBe(400);
		let text = '';
		good.on('data', (chunk: Buffer) => {
			text += chunk.toString();
		});
		good.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
		await eventually(() => text.includes('fine'));
	});

	test('a client that goes away takes its upstream request along', async () => {
		let closed = false;
		const server = createServer((socket) => {
			socket.on('error', () => {});
			socket.on('close', () => {
				closed = true;
			});
			socket.resume();
		});
		await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
		closers.push(() => {
			server.close();
		});
		const address = server.address();
		const upstreamPort = typeof address === 'object' && address !== null ? address.port : 0;
		const { port, proxy } = await proxyOf(
			[httpListener(0, { route_config: routesTo('a') })],
			[staticCluster('a', [upstreamPort])],
		);
		const client = await open(port);
		client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
		await eventually(() => [...proxy.clusters.all()][0]?.pick(null)?.activeRequests === 1);
		client.destroy();
		await eventually(() => closed);
		await eventually(() => proxy.listeners.connectionCount() === 0);
	});

	test('counts by Envoy names and writes the access log', async () => {
		const directory = mkdtempSync(join(tmpdir(), 'weft-log-'));
		closers.push(() => rmSync(directory, { recursive: true, force: true }));
		const file = join(directory, 'access.log');
		const access_log = [
			{
				name: 'file',
				typed_config: {
					'@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
					path: file,
					log_format: {
						json_format: {
							code: '%RESPONSE_CODE%',
							path: '%REQ(:PATH)%',
							flags: '%RESPONSE_FLAGS%',
							up: '%UPSTREAM_CLUSTER%',
						},
					},
				},
			},
		];
		const a = await upstream(() => okResponse('fine'));
		const running = await proxyOf(
			[httpListener(0, { route_config: routesTo('a'), access_log })],
			[staticCluster('a', [a.port])],
		);
		await rawRequest(running.port, { path: '/logged' });
		await running.proxy.stop();
		expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ code: 200, path: '/logged', flags: '-', up: 'a' });
		const text = renderPrometheusText(running.registry);
		expect(text).toContain('envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="test"} 1');
		expect(text).toContain(
			'envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="test"} 1',
		);
		expect(text).toContain('envoy_listener_downstream_cx_total{envoy_listener_address="127.0.0.1_0"} 1');
	});

	test('a websocket goes through when it is allowed, and is 403 when not', async () => {
		const server = createServer((socket) => {
			socket.on('error', () => {});
			socket.once('data', () => {
				socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n');
				socket.on('data', (chunk: Buffer) => socket.write(chunk.toString().toUpperCase()));
			});
		});
		await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
		closers.push(() => {
			server.close();
		});
		const address = server.address();
		const upstreamPort = typeof address === 'object' && address !== null ? address.port : 0;
		const clusters = [staticCluster('a', [upstreamPort])];
		const manager = { route_config: routesTo('a') };
		const allowed = await proxyOf(
			[httpListener(0, { ...manager, upgrade_configs: [{ upgrade_type: 'websocket' }] })],
			clusters,
		);
		const request = 'GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';
		const client = await open(allowed.port);
		let text = '';
		client.on('data', (chunk: Buffer) => {
			text += chunk.toString();
		});
		client.write(request);
		await eventually(() => text.includes('101'));
		client.write('hello');
		await eventually(() => text.includes('HELLO'));
		const refusing = await proxyOf([httpListener(0, manager)], clusters);
		const refused = await open(refusing.port);
		let answer = '';
		refused.on('data', (chunk: Buffer) => {
			answer += chunk.toString();
		});
		refused.write(request);
		await eventually(() => answer.startsWith('HTTP/1.1 403'));
	});
});

describe('TCP', () => {
	const tcpListener = (config: object): object => ({
		name: 'test',
		address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
		filter_chains: [
			{
				filters: [
					{
						name: 'tcp',
						typed_config: {
							'@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
							stat_prefix: 'tcp',
							...config,
						},
					},
				],
			},
		],
	});

	test('passes bytes and half-closes both ways', async () => {
		const server = createServer({ allowHalfOpen: true }, (socket) => {
			let text = '';
			socket.on('data', (chunk: Buffer) => {
				text += chunk.toString();
			});
			socket.on('end', () => socket.end(`you said ${text.length}`));
		});
		await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
		closers.push(() => {
			server.close();
		});
		const address = server.address();
		const upstreamPort = typeof address === 'object' && address !== null ? address.port : 0;
		const { port, proxy } = await proxyOf([tcpListener({ cluster: 'a' })], [staticCluster('a', [upstreamPort])]);
		const answer = await new Promise<string>((resolve) => {
			let text = '';
			const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => client.end('x'.repeat(300_000)));
			client.on('data', (chunk: Buffer) => {
				text += chunk.toString();
			});
			client.on('end', () => resolve(text));
		});
		expect(answer).toBe('you said 300000');
		await eventually(() => proxy.listeners.connectionCount() === 0);
	});

	test('tries another host when one refuses', async () => {
		const a = await upstream(() => okResponse('tcp'));
		const { port } = await proxyOf(
			[tcpListener({ cluster: 'a', max_connect_attempts: 4 })],
			[staticCluster('a', [1, a.port])],
		);
		for (let i = 0; i < 3; i++) {
			const client = await open(port);
			let text = '';
			client.on('data', (chunk: Buffer) => {
				text += chunk.toString();
			});
			client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
			await eventually(() => text.includes('tcp'));
		}
	});

	test('closes at once when there is nowhere to go', async () => {
		const { port } = await proxyOf([tcpListener({ cluster: 'absent' })], []);
		await expect(
			new Promise<string>((resolve) => {
				const client: Socket = connect(port, '127.0.0.1');
				client.on('error', () => resolve('closed'));
				client.on('close', () => resolve('closed'));
			}),
		).resolves.toBe('closed');
	});
});

describe('updates and drain', () => {
	/** A file of listeners that is moved into place, as a control plane would push them. */
	function listenerFile(): { path: string; write(listeners: object[]): void } {
		const directory = mkdtempSync(join(tmpdir(), 'weft-lds-'));
		closers.push(() => rmSync(directory, { recursive: true, force: true }));
		const path = join(directory, 'lds.json');
		let version = 0;
		return {
			path,
			write: (listeners) => {
				version += 1;
				const resources = listeners.map((listener) => ({
					'@type': 'type.googleapis.com/envoy.config.listener.v3.Listener',
					...listener,
				}));
				writeFileSync(`${path}.new`, JSON.stringify({ version_info: String(version), resources }));
				renameSync(`${path}.new`, path);
			},
		};
	}

	test('a new filter chain keeps the socket and the connections; the next request sees it', async () => {
		const a = await upstream(() => okResponse('a'));
		const b = await upstream(() => okResponse('b'));
		const file = listenerFile();
		file.write([httpListener(0, { route_config: routesTo('a') })]);
		const running = await startTestProxy({
			node: { id: 'n', cluster: 'c' },
			dynamic_resources: { lds_config: { path_config_source: { path: file.path } } },
			static_resources: { clusters: [staticCluster('a', [a.port]), staticCluster('b', [b.port])] },
		});
		closers.push(() => running.stop());
		const client = await open(running.port);
		let text = '';
		client.on('data', (chunk: Buffer) => {
			text += chunk.toString();
		});
		const ask = async (expected: string): Promise<void> => {
			text = '';
			client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
			await eventually(() => text.endsWith(`\r\n\r\n${expected}`));
		};
		await ask('a');
		const before = running.proxy.listeners.status()[0]?.version;
		file.write([httpListener(0, { route_config: routesTo('b') })]);
		await eventually(() => running.proxy.listeners.status()[0]?.version !== before);
		await ask('b');
		// A bad one changes nothing.
		file.write([httpListener(0, { route_config: routesTo('a'), codec_type: 'HTTP3' })]);
		await eventually(() => renderPrometheusText(running.registry).includes('lds_update_rejected 1'));
		await ask('b');
		// Removed: the connection is told to go.
		file.write([]);
		await eventually(() => running.proxy.listeners.status().length === 0);
		await eventually(() => client.readyState !== 'open');
	});

	test('an address that is taken refuses that listener only', async () => {
		const a = await upstream(() => okResponse('a'));
		const file = listenerFile();
		const taken = { ...httpListener(a.port, { route_config: routesTo('a') }), name: 'taken' };
		file.write([taken, httpListener(0, { route_config: routesTo('a') })]);
		const running = await startTestProxy({
			node: { id: 'n', cluster: 'c' },
			dynamic_resources: { lds_config: { path_config_source: { path: file.path } } },
			static_resources: { clusters: [staticCluster('a', [a.port])] },
		});
		closers.push(() => running.stop());
		expect((await rawRequest(running.port, { path: '/' })).body).toBe('a');
		expect(running.proxy.listeners.status().map((status) => status.name)).toEqual(['test']);
	});

	test('drain lets what is under way end, closes idle connections, then the port', async () => {
		let release: (() => void) | null = null;
		const server = createServer((socket) => {
			socket.on('error', () => {});
			socket.on('data', () => {
				release = () => socket.write(okResponse('late'));
			});
		});
		await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
		closers.push(() => {
			server.close();
		});
		const address = server.address();
		const upstreamPort = typeof address === 'object' && address !== null ? address.port : 0;
		const { port, proxy } = await proxyOf(
			[httpListener(0, { route_config: routesTo('a') })],
			[staticCluster('a', [upstreamPort])],
		);
		const idle = await open(port);
		const busy = await open(port);
		let text = '';
		busy.on('data', (chunk: Buffer) => {
			text += chunk.toString();
		});
		busy.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
		await eventually(() => release !== null);
		const drained = proxy.drain(10_000);
		await eventually(() => idle.readyState !== 'open');
		expect(text).toBe('');
		release!();
		await drained;
		await eventually(() => text.includes('late'));
		expect(text.toLowerCase()).toContain('connection: close');
		await expect(rawRequest(port, { path: '/' })).rejects.toThrow();
	});

	test('drain gives up at its deadline', async () => {
		const a = await upstream(() => 'silence');
		const { port, proxy } = await proxyOf(
			[httpListener(0, { route_config: routesTo('a') })],
			[staticCluster('a', [a.port])],
		);
		const busy = await open(port);
		busy.on('error', () => {});
		busy.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
		await eventually(() => a.seen.length === 1);
		await proxy.drain(30);
		await eventually(() => busy.readyState !== 'open');
	});
});

describe('virtual listeners', () => {
	test('a connection is handed to the listener of its original destination', async () => {
		const a = await upstream(() => okResponse('own'));
		const b = await upstream(() => okResponse('virtual'));
		const chain = (cluster: string): object => ({
			filters: [
				{
					name: 'http',
					typed_config: {
						'@type': HCM_TYPE,
						stat_prefix: cluster,
						route_config: routesTo(cluster),
						http_filters: [{ name: 'router', typed_config: { '@type': ROUTER_TYPE } }],
					},
				},
			],
		});
		const { port, proxy } = await proxyOf(
			[
				{
					name: 'test',
					address: { socket_address: { address: '127.0.0.1', port_value: 0 } },
					use_original_dst: true,
					filter_chains: [chain('a')],
				},
				{
					name: 'virtual',
					address: { socket_address: { address: '10.9.8.7', port_value: 80 } },
					bind_to_port: false,
					filter_chains: [chain('b')],
				},
			],
			[staticCluster('a', [a.port]), staticCluster('b', [b.port])],
		);
		// Not redirected: the original destination is the listener itself, which no virtual one has.
		expect((await rawRequest(port, { path: '/' })).body).toBe('own');
		expect(proxy.listeners.forDestination({ kind: 'ip', host: '10.9.8.7', port: 80 })?.name).toBe('virtual');
		expect(proxy.listeners.addressOf('virtual')).toBeNull();
	});
});

test('headers of the answer name this proxy', async () => {
	const a = await upstream(() => okResponse('a', { server: 'theirs' }));
	const { port } = await proxyOf([httpListener(0, { route_config: routesTo('a') })], [staticCluster('a', [a.port])]);
	const response = await rawRequest(port, { path: '/' });
	expect(header(response, 'server')).toBe('weft');
	expect(header(response, 'date')).toMatch(/GMT$/);
});
