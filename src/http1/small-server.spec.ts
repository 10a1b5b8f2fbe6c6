import { afterEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Address, Connection, ConnectionHandler, Listener, Network } from '../net/network.ts';
import { SystemNetwork } from '../net/system-network.ts';
import { VirtualClock } from '../std/clock.ts';
import { logSink } from '../std/log.ts';
import { type SmallHandler, type SmallServerOptions, startSmallServer } from './small-server.ts';
import { latin1, text } from './testing.ts';

const echo: SmallHandler = (request) => ({
	status: 200,
	contentType: 'application/json',
	body: JSON.stringify({
		method: request.method,
		path: request.path,
		query: request.query.getAll('q'),
		body: new TextDecoder().decode(request.body),
	}),
});

describe('over real sockets', () => {
	const listeners: Listener[] = [];
	afterEach(() => {
		for (const listener of listeners.splice(0)) listener.close();
	});

	function start(handler: SmallHandler, options?: SmallServerOptions): string {
		const listener = startSmallServer(
			new SystemNetwork(),
			{ kind: 'ip', host: '127.0.0.1', port: 0 },
			handler,
			options,
		);
		listeners.push(listener);
		const { address } = listener;
		return `http://127.0.0.1:${address.kind === 'ip' ? address.port : 0}`;
	}

	test('answers requests, with bodies both ways', async () => {
		const url = start(echo);
		const get = await fetch(`${url}/a%20b?q=1&q=2`);
		expect(get.headers.get('content-type')).toBe('application/json');
		expect(await get.json()).toEqual({ method: 'GET', path: '/a%20b', query: ['1', '2'], body: '' });
		const post = await fetch(url, { method: 'POST', body: 'x'.repeat(100_000) });
		expect(((await post.json()) as { body: string }).body).toHaveLength(100_000);
	});

	test('waits for a handler that takes its time', async () => {
		const url = start(async () => {
			await Promise.resolve();
			return { status: 404, body: 'no\n', headers: ['x-y', 'z'] };
		});
		const response = await fetch(url);
		expect([response.status, response.headers.get('x-y'), await response.text()]).toEqual([404, 'z', 'no\n']);
	});

	test('answers 500 for a handler that fails, and says why in the log only', async () => {
		const lines: string[] = [];
		const write = logSink.write;
		logSink.write = (line) => lines.push(line);
		try {
			for (const handler of [
				() => Promise.reject(new Error('secret')),
				() => {
					throw new Error('secret');
				},
			] as SmallHandler[]) {
				const response = await fetch(start(handler, { name: 'admin' }));
				expect([response.status, await response.text()]).toEqual([500, 'internal error\n']);
			}
		} finally {
			logSink.write = write;
		}
		expect(lines).toHaveLength(2);
		expect(lines.every((line) => line.includes('admin: handler failed') && line.includes('secret'))).toBe(true);
	});

	test('refuses bodies that are too large, declared or not', async () => {
		const url = start(echo, { bodyBytesMax: 10 });
		expect((await fetch(url, { method: 'POST', body: 'x'.repeat(11) })).status).toBe(413);
		const stream = new ReadableStream({
			start(controller) {
				controller.enqueue(latin1('x'.repeat(11)));
				controller.close();
			},
		});
		expect((await fetch(url, { method: 'POST', body: stream })).status).toBe(413);
		expect((await fetch(url, { method: 'POST', body: 'x'.repeat(10) })).status).toBe(200);
	});

	test('HEAD has no body and says its length', async () => {
		const response = await fetch(
			start(() => ({ status: 200, body: 'hello' })),
			{ method: 'HEAD' },
		);
		expect(response.headers.get('content-length')).toBe('5');
		expect(await response.text()).toBe('');
	});

	test('on a unix socket, which only its owner can open, knows who calls', async () => {
		const directory = mkdtempSync(join(tmpdir(), 'weft-small-'));
		try {
			const path = join(directory, 's.sock');
			const handler: SmallHandler = (request) => ({
				status: 200,
				body: String(request.connection.peerCredentials()?.pid),
			});
			listeners.push(startSmallServer(new SystemNetwork(), { kind: 'pipe', path }, handler));
			expect(statSync(path).mode & 0o777).toBe(0o600);
			const response = await fetch('http://localhost/', { unix: path });
			expect(await response.text()).toBe(String(process.pid));
		} finally {
			rmSync(directory, { recursive: true });
		}
	});
});

describe('in virtual time', () => {
	class FakeConnection implements Connection {
		static count = 0;
		readonly id = ++FakeConnection.count;
		readonly local: Address = { kind: 'pipe', path: '/a' };
		readonly remote: Address = { kind: 'pipe', path: '' };
		readonly directRemote = this.remote;
		speakFor(): void {}
		readonly tls = null;
		bufferedBytes = 0;
		highWatermarkBytes = 65_536;
		handler!: ConnectionHandler;
		written = '';
		state: 'open' | 'ended' | 'reset' = 'open';
		write(bytes: Uint8Array): boolean {
			this.written += text(bytes);
			return true;
		}
		end(): void {
			this.state = 'ended';
		}
		reset(): void {
			if (this.state === 'reset') return;
			this.state = 'reset';
			this.handler.onClose(this, null);
		}
		pause(): void {}
		resume(): void {}
		startServerTls(): void {}
		originalDestination(): null {
			return null;
		}
		peerCredentials(): null {
			return null;
		}
		setNoDelay(): void {}
		receive(input: string): void {
			this.handler.onData(this, latin1(input));
		}
	}

	function start(handler: SmallHandler, options: SmallServerOptions = {}) {
		const clock = new VirtualClock();
		let accept: (connection: Connection) => void = () => {};
		const address: Address = { kind: 'pipe', path: '/a' };
		const network = {
			clock,
			listen: (_: unknown, onConnection: (connection: Connection) => void) => {
				accept = onConnection;
				return { address, close: () => {} };
			},
		} as unknown as Network;
		const listener = startSmallServer(network, address, handler, options);
		const connect = () => {
			const connection = new FakeConnection();
			accept(connection);
			return connection;
		};
		return { clock, connect, listener };
	}

	const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
	const ok: SmallHandler = () => ({ status: 200, body: 'ok' });

	test('a head must come in time, also after a response', () => {
		const { clock, connect } = start(ok);
		const slow = connect();
		const used = connect();
		clock.advance(9_000);
		slow.receive('GET / HT');
		used.receive(GET);
		clock.advance(1_000);
		expect([slow.state, used.state]).toEqual(['ended', 'open']);
		clock.advance(9_000);
		expect([slow.state, used.state]).toEqual(['reset', 'ended']);
	});

	test('a body must come in time: 408', () => {
		const { clock, connect } = start(ok);
		const slow = connect();
		slow.receive('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na');
		clock.advance(30_000);
		expect(slow.written).toStartWith('HTTP/1.1 408 ');
		expect(slow.state).toBe('ended');
		clock.advance(1_000);
		expect(slow.state).toBe('reset');
	});

	test('a response must be taken in time', () => {
		const { clock, connect } = start(ok);
		const slow = connect();
		slow.bufferedBytes = 1;
		slow.receive(GET);
		clock.advance(29_999);
		expect(slow.state).toBe('open');
		clock.advance(1);
		expect(slow.state).toBe('reset');
	});

	test('who takes a response slowly has all the time he needs', () => {
		const { clock, connect } = start(ok, { writeTimeoutMs: 1000 });
		for (const last of ['', 'Connection: close\r\n']) {
			const slow = connect();
			slow.bufferedBytes = 3;
			slow.receive(`GET / HTTP/1.1\r\nHost: a\r\n${last}\r\n`);
			for (const left of [2, 1]) {
				slow.bufferedBytes = left;
				clock.advance(1000);
				expect(slow.state).not.toBe('reset');
			}
			clock.advance(1000);
			expect(slow.state).toBe('reset');
		}
	});

	test('connections are bounded', () => {
		const { connect } = start(ok, { connectionsMax: 1 });
		const first = connect();
		expect(connect().state).toBe('reset');
		first.reset();
		expect(connect().state).toBe('open');
	});

	test('close ends idle connections at once, others after their response', async () => {
		let answer: () => void = () => {};
		const { connect, listener } = start(
			() =>
				new Promise((resolve) => {
					answer = () => resolve({ status: 200, body: 'late' });
				}),
		);
		const idle = connect();
		const busy = connect();
		busy.receive(GET);
		listener.close();
		expect([idle.state, busy.state]).toEqual(['ended', 'open']);
		answer();
		await Promise.resolve();
		await Promise.resolve();
		expect(busy.written).toContain('connection: close\r\n');
		expect(busy.written).toEndWith('late');
		expect(busy.state).toBe('ended');
	});

	test('a handler whose client left is not minded', async () => {
		const { connect } = start(async () => ({ status: 200, body: 'ok' }));
		const gone = connect();
		gone.receive(GET);
		gone.reset();
		await Promise.resolve();
		await Promise.resolve();
		expect(gone.written).toBe('');
	});

	test('continues a body that waits to be asked for', () => {
		const { connect } = start(echo);
		const connection = connect();
		connection.receive('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n');
		expect(connection.written).toBe('HTTP/1.1 100 Continue\r\n\r\n');
		connection.receive('hi');
		expect(connection.written).toContain('"body":"hi"');
	});

	test('offers no upgrade', () => {
		const { connect } = start(ok);
		const connection = connect();
		connection.receive('GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
		expect(connection.written).toStartWith('HTTP/1.1 501 ');
	});
});
