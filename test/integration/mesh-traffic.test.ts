// The shapes of traffic that proxies get wrong, through two real sidecars over mutual TLS: a client
// in explicit capture, whose sidecar this test speaks to, and a program behind its own.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../support/free-ports.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { childrenOf, WeftProcess } from '../support/weft-process.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-traffic-test-'));
const data = join(directory, 'data');
const program = join(import.meta.dir, '../fixtures/shapes-server.mjs');
const LARGE_BYTES = 100 * 1024 * 1024;
/** What a sidecar may grow by, whatever goes through it: 100 MB do not fit. */
const GROWTH_BYTES_MAX = 48 * 1024 * 1024;
/** What sockets, sidecars and their windows may hold between a program that writes and a reader that does not. */
const UNDER_WAY_BYTES_MAX = 64 * 1024 * 1024;

const started: WeftProcess[] = [];
const connections: RawConnection[] = [];
let http: { hostname: string; port: number };
let tcp: { hostname: string; port: number };
let sidecars: number[];

beforeAll(async () => {
	const any = '127.0.0.1:0';
	const up = new WeftProcess([
		'up',
		'--data',
		data,
		'--api-address',
		any,
		'--api-tls-address',
		any,
		'--xds-address',
		any,
	]);
	started.push(up);
	await up.says(/weft is up/);
	const [httpPort, tcpPort] = freePorts(2);
	const server = run(
		['--service', 'shapes', '--port', `${httpPort}`, '--tcp-port', `${tcpPort}`],
		['node', program, `${httpPort}`, `${tcpPort}`],
	);
	await server.says(/^up$/m);
	const client = run(
		['--service', 'client', '--capture', 'explicit'],
		['sh', '-c', 'env | grep ^WEFT_SHAPES; echo that is all; exec sleep 600'],
	);
	await client.says(/that is all/);
	http = endpointOf(client, httpPort!);
	tcp = endpointOf(client, tcpPort!);
	sidecars = [server, client].map(({ pid }) => childrenOf(pid, ' proxy ')[0]!);
	// The endpoint is there.
	for (;;) if ((await request('/hello')).startsWith('HTTP/1.1 200')) break;
}, 60_000);

afterAll(async () => {
	for (const connection of connections) connection.close();
	for (const one of started.reverse()) await one.kill();
	rmSync(directory, { recursive: true, force: true });
});

function run(options: readonly string[], command: readonly string[]): WeftProcess {
	const process = new WeftProcess(['run', '--data', data, ...options, '--', ...command]);
	started.push(process);
	return process;
}

/** Where the client's sidecar takes what is for a port of the service. */
function endpointOf(client: WeftProcess, port: number): { hostname: string; port: number } {
	const [, hostname, local] = new RegExp(`^WEFT_SHAPES_${port}=(.+):(\\d+)$`, 'm').exec(client.output)!;
	return { hostname: hostname!, port: Number(local) };
}

function open(to: { hostname: string; port: number } = http): RawConnection {
	const connection = new RawConnection(to.hostname, to.port);
	connections.push(connection);
	return connection;
}

/** A whole exchange on a connection of its own. */
async function request(path: string, method = 'GET', rest = ''): Promise<string> {
	const connection = open();
	connection.send(`${method} ${path} HTTP/1.1\r\nhost: shapes\r\nconnection: close\r\n${rest === '' ? '\r\n' : rest}`);
	return connection.rest();
}

async function seen(): Promise<{ connections: number; written: number; read: number; aborted: number }> {
	return JSON.parse((await request('/seen')).split('\r\n\r\n')[1]!);
}

/** When it stays as it is. */
async function settled(read: () => Promise<number>): Promise<number> {
	let last = -1;
	for (let same = 0; same < 5; ) {
		const now = await read();
		same = now === last ? same + 1 : 0;
		last = now;
		await Bun.sleep(40);
	}
	return last;
}

/** The most memory that each sidecar ever had. */
function peakBytes(): number[] {
	return sidecars.map((pid) => {
		const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
		return Number(kilobytes) * 1024;
	});
}

function expectGrowth(before: readonly number[]): void {
	for (const [index, after] of peakBytes().entries()) expect(after - before[index]!).toBeLessThan(GROWTH_BYTES_MAX);
}

describe('responses', () => {
	test('several requests on one connection, also sent before the first is answered', async () => {
		const connection = open();
		for (let i = 0; i < 3; i++) {
			connection.send('GET /hello HTTP/1.1\r\nhost: shapes\r\n\r\n');
			expect(await connection.head()).toStartWith('HTTP/1.1 200');
			expect(await connection.take(5)).toBe('hello');
		}
		connection.send('GET /hello HTTP/1.1\r\nhost: shapes\r\n\r\nHEAD /head HTTP/1.1\r\nhost: shapes\r\n\r\n');
		connection.send('GET /chunked HTTP/1.1\r\nhost: shapes\r\nconnection: close\r\n\r\n');
		expect(await connection.head()).toContain('content-length: 5');
		expect(await connection.take(5)).toBe('hello');
		expect(await connection.head()).toContain('content-length: 12345');
		expect(await connection.head()).toContain('transfer-encoding: chunked');
		expect(await connection.rest()).toContain('two');
	});

	test('without a body: HEAD, 304 and 204', async () => {
		expect(await request('/head', 'HEAD')).toMatch(/^HTTP\/1.1 200 [\s\S]*etag: "1"[\s\S]*\r\n\r\n$/);
		const notModified = await request('/not-modified', 'GET', 'if-none-match: "1"\r\n\r\n');
		expect(notModified).toMatch(/^HTTP\/1.1 304 [\s\S]*etag: "1"[\s\S]*\r\n\r\n$/);
		const noContent = await request('/no-content');
		expect(noContent).toMatch(/^HTTP\/1.1 204 [\s\S]*\r\n\r\n$/);
		expect(noContent).not.toMatch(/content-length|transfer-encoding/);
	});

	test('chunked with trailers, and one that ends with its connection', async () => {
		expect(await request('/chunked')).toContain('two');
		const untilTheEnd = await request('/close-delimited');
		expect(untilTheEnd).toMatch(/^HTTP\/1.1 200 [\s\S]*transfer-encoding: chunked[\s\S]*\r\nuntil the end\r\n/);
		expect(untilTheEnd).toEndWith('0\r\n\r\n');
	});

	test('one that breaks off breaks off for the client too', async () => {
		const cut = await request('/cut-off');
		expect(cut).toContain('content-length: 1000');
		expect(cut).toEndWith('only this');
	});

	test('to a client of HTTP/1.0, without chunks', async () => {
		const connection = open();
		connection.send('GET /chunked HTTP/1.0\r\nhost: shapes\r\n\r\n');
		const answer = await connection.rest();
		expect(answer).not.toContain('transfer-encoding');
		expect(answer).toEndWith('\r\n\r\none,two');
	});

	test('a head of 48 KB passes', async () => {
		const answer = await request('/large-head?bytes=49152');
		expect(answer).toStartWith('HTTP/1.1 200');
		expect(answer).toContain(`x-large: ${'h'.repeat(49152)}\r\n`);
	});
});

describe('requests', () => {
	test('a chunked body comes back as it was, while it is still being sent', async () => {
		const connection = open();
		connection.send('POST /echo HTTP/1.1\r\nhost: shapes\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n');
		expect(await connection.head()).toStartWith('HTTP/1.1 200');
		await connection.until(/first/);
		connection.send('6\r\nsecond\r\n');
		await connection.until(/second/);
		connection.send('0\r\n\r\n');
		await connection.until(/\r\n0\r\n\r\n/);
	});

	test('Expect: 100-continue is answered, and the body then passes', async () => {
		const connection = open();
		connection.send('POST /echo HTTP/1.1\r\nhost: shapes\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n');
		expect(await connection.head()).toStartWith('HTTP/1.1 100 Continue');
		connection.send('body');
		expect(await connection.head()).toStartWith('HTTP/1.1 200');
		await connection.until(/body/);
	});

	test('an answer before the body has been read reaches the client', async () => {
		const connection = open();
		connection.send('POST /refuse HTTP/1.1\r\nhost: shapes\r\ncontent-length: 1000000\r\n\r\nonly a part');
		expect(await connection.head()).toStartWith('HTTP/1.1 413');
		await connection.until(/too large/);
	});

	test('a client that goes away in the middle is seen by the program', async () => {
		const before = await seen();
		const connection = open();
		connection.send('POST /sink HTTP/1.1\r\nhost: shapes\r\ncontent-length: 1000000\r\n\r\nonly a part');
		while ((await seen()).read === before.read) await Bun.sleep(10);
		connection.close();
		while ((await seen()).aborted === before.aborted) await Bun.sleep(10);
	});
});

describe('streams', () => {
	test('server-sent events come as they are sent', async () => {
		const connection = open();
		connection.send('GET /events HTTP/1.1\r\nhost: shapes\r\n\r\n');
		expect(await connection.head()).toContain('text/event-stream');
		await connection.until(/data: 0\n/);
		for (const word of ['one', 'two', 'three']) {
			expect(await request(`/emit?data=${word}`)).toEndWith('1');
			await connection.until(new RegExp(`data: ${word}\n`));
		}
		connection.close();
		// The program sees that nobody listens any more.
		while (!(await request('/emit?data=x')).endsWith('\r\n\r\n0')) await Bun.sleep(10);
	});

	test('a websocket carries bytes both ways, and what came with its head', async () => {
		const connection = open();
		const head =
			'GET /chat HTTP/1.1\r\nhost: shapes\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n';
		connection.send(`${head}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly`);
		const answer = await connection.head();
		expect(answer).toStartWith('HTTP/1.1 101');
		expect(answer).toContain('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
		expect(await connection.take(5)).toBe('early');
		const frame = '\x81\x85\x00\x00\x00\x00hello\xff\x00';
		connection.send(frame);
		expect(await connection.take(frame.length)).toBe(frame);
		connection.end();
		expect(await connection.rest()).toBe('');
	});

	test('an upgrade that the program refuses is an ordinary answer', async () => {
		const upgrade = 'connection: Upgrade\r\nupgrade: websocket\r\n\r\n';
		const connection = open();
		connection.send(`GET /refuse-upgrade HTTP/1.1\r\nhost: shapes\r\n${upgrade}`);
		expect(await connection.head()).toStartWith('HTTP/1.1 403');
		expect(await connection.take(2)).toBe('no');
	});

	test('TCP: the server speaks first, echoes, and answers after the client’s end', async () => {
		const connection = open(tcp);
		await connection.until(/^ready\n/);
		connection.send('PING\r\n');
		await connection.until(/^PING\r\n/);
		connection.send('last');
		connection.end();
		expect(await connection.rest()).toBe('lastbye\n');
	});
});

describe('100 MB', () => {
	test('up: waits for a program that does not read, then all of it arrives, and sidecars stay small', async () => {
		const before = peakBytes();
		const chunk = Buffer.alloc(256 * 1024, 'mesh');
		const hash = createHash('sha256');
		const connection = open();
		connection.send(`POST /sink?hold HTTP/1.1\r\nhost: shapes\r\ncontent-length: ${LARGE_BYTES}\r\n\r\n`);
		let sent = 0;
		const all = (async () => {
			for (; sent < LARGE_BYTES; sent += chunk.length) {
				hash.update(chunk);
				await connection.sent(chunk);
			}
		})();
		expect(await settled(async () => sent)).toBeLessThan(UNDER_WAY_BYTES_MAX);
		await request('/release');
		await all;
		expect(await connection.head()).toStartWith('HTTP/1.1 200');
		await connection.until(new RegExp(`{"bytes":${LARGE_BYTES},"sha256":"${hash.digest('hex')}"}`));
		expectGrowth(before);
	}, 60_000);

	test('down: waits for a client that does not read, then all of it arrives, and sidecars stay small', async () => {
		const before = peakBytes();
		const { written } = await seen();
		const connection = open();
		connection.send(`GET /blob?bytes=${LARGE_BYTES} HTTP/1.1\r\nhost: shapes\r\nconnection: close\r\n\r\n`);
		expect(await connection.head()).toContain(`content-length: ${LARGE_BYTES}`);
		connection.pause();
		expect(await settled(async () => (await seen()).written - written)).toBeLessThan(UNDER_WAY_BYTES_MAX);
		connection.resume();
		let bytes = 0;
		while (bytes < LARGE_BYTES) {
			const part = await connection.take(64 * 1024);
			if (!part.startsWith('weft') || !part.endsWith('weft')) throw new Error(`other bytes at ${bytes}`);
			bytes += part.length;
		}
		expect(await connection.rest()).toBe('');
		expectGrowth(before);
	}, 60_000);
});
