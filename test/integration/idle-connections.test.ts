// Thousands of connections that do nothing are held for little memory, and each still serves.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Socket } from 'bun';
import { descriptorLimit } from '../../src/net/descriptors.ts';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import { freePorts } from '../support/free-ports.ts';
import { eventually } from '../support/mesh-control.ts';
import { descriptorsOf, residentBytes } from '../support/process-memory.ts';
import { httpListener } from '../support/test-proxy.ts';
import { WeftProcess } from '../support/weft-process.ts';

/** As many as the machine lets the proxy have, which keeps a quarter of its descriptors for other things. */
const CONNECTIONS = Math.min(2000, Math.floor(descriptorLimit() / 2));
const TLS_CONNECTIONS = Math.min(500, CONNECTIONS);
const AT_ONCE = 50;
/** Measured: 4 KiB plain, 9 under TLS. The rest is what a small process takes for other reasons. */
const BYTES_EACH_MAX = 24 * 1024;
const BYTES_BESIDES = 24 * 1024 * 1024;
/** Generous: other work may have the machine. */
const LIMIT_MS = 120_000;
const GET = Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n');

const directory = mkdtempSync(join(tmpdir(), 'weft-idle-'));
let weft: WeftProcess;
let ports: number[] = [];

beforeAll(async () => {
	ports = freePorts(2);
	const { certificatePem, privateKeyPem } = await TestAuthority.create('own', undefined, { isCa: false });
	const routes = [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'fine' } } }];
	const manager = { route_config: { virtual_hosts: [{ name: 'v', domains: ['*'], routes }] } };
	const secure = httpListener(ports[1]!, manager, { name: 'secure' }) as { filter_chains: [Record<string, unknown>] };
	secure.filter_chains[0].transport_socket = {
		name: 'envoy.transport_sockets.tls',
		typed_config: {
			'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
			common_tls_context: {
				tls_certificates: [
					{ certificate_chain: { inline_string: certificatePem }, private_key: { inline_string: privateKeyPem } },
				],
			},
		},
	};
	const file = join(directory, 'bootstrap.json');
	writeFileSync(file, JSON.stringify({ static_resources: { listeners: [httpListener(ports[0]!, manager), secure] } }));
	weft = new WeftProcess(['proxy', '-c', file]);
	await weft.says(/main: ready/);
}, LIMIT_MS);

afterAll(async () => {
	await weft?.kill();
	rmSync(directory, { recursive: true, force: true });
});

class Idler {
	answers = 0;
	isClosed = false;
	private socket: Socket | null = null;

	static async connect(port: number, tls: boolean): Promise<Idler> {
		const idler = new Idler();
		await new Promise<void>((resolve, reject) => {
			const ready = (socket: Socket): void => {
				idler.socket = socket;
				resolve();
			};
			Bun.connect({
				hostname: '127.0.0.1',
				port,
				...(tls ? { tls: { rejectUnauthorized: false } } : {}),
				socket: {
					open: (socket) => (tls ? undefined : ready(socket)),
					handshake: (socket) => (tls ? ready(socket) : undefined),
					data(_socket, bytes) {
						if (bytes.toString('latin1').startsWith('HTTP/1.1 200 ')) idler.answers += 1;
					},
					close() {
						idler.isClosed = true;
						reject(new Error('closed'));
					},
					error() {},
				},
			}).catch(reject);
		});
		return idler;
	}

	ask(): void {
		this.socket?.write(GET);
	}

	end(): void {
		this.socket?.terminate();
	}
}

for (const [index, kind, count] of [
	[0, 'plain', CONNECTIONS],
	[1, 'TLS', TLS_CONNECTIONS],
] as const) {
	test(
		`${kind} connections that are idle are held, and each still serves`,
		async () => {
			const descriptors = descriptorsOf(weft.pid);
			const idlers: Idler[] = [];
			const open = async (upTo: number): Promise<void> => {
				while (idlers.length < upTo) {
					const more = Math.min(AT_ONCE, upTo - idlers.length);
					idlers.push(
						...(await Promise.all(Array.from({ length: more }, () => Idler.connect(ports[index]!, index === 1)))),
					);
				}
			};
			try {
				// Code is compiled once.
				await open(AT_ONCE);
				const before = residentBytes(weft.pid);
				await open(count);
				await eventually('all are accepted', () => descriptorsOf(weft.pid) >= descriptors + count, LIMIT_MS);
				expect(residentBytes(weft.pid) - before).toBeLessThan(count * BYTES_EACH_MAX + BYTES_BESIDES);
				for (const idler of idlers) idler.ask();
				await eventually(
					'all are answered',
					() => idlers.every(({ answers, isClosed }) => answers === 1 || isClosed),
					LIMIT_MS,
				);
				expect(idlers.filter(({ isClosed }) => isClosed)).toEqual([]);
			} finally {
				for (const idler of idlers) idler.end();
			}
			await eventually('all are gone', () => descriptorsOf(weft.pid) <= descriptors, LIMIT_MS);
		},
		2 * LIMIT_MS,
	);
}
