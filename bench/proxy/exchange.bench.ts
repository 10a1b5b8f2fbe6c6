// What one small GET costs in our own code: the whole proxy of bench/main.ts's plain shape between
// connections of memory, so that neither kernel nor Bun's sockets are in the figure.
//
//   scripts/bun bench/proxy/exchange.bench.ts [ROUNDS]

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startProxy } from '../../src/app/proxy.ts';
import type {
	Address,
	Connection,
	ConnectionHandler,
	ConnectOptions,
	Listener,
	Network,
} from '../../src/net/network.ts';
import { TimerWheel } from '../../src/net/timer-wheel.ts';
import { parseBootstrap } from '../../src/proxy/bootstrap.ts';
import { systemRandom } from '../../src/std/random.ts';
import { MetricRegistry } from '../../src/telemetry/registry.ts';
import { writeHop } from '../bootstraps.ts';

const CONNECTIONS = 32;
const REQUESTS_PER_ROUND = 200_000;
const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n');
const BODY = JSON.stringify({ status: 'ok', items: Array.from({ length: 8 }, (_, index) => `item ${index}`) });
const RESPONSE = Buffer.from(
	`HTTP/1.1 200 OK\r\nServer: upstream\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
);

const ADDRESS: Address = { kind: 'ip', host: '127.0.0.1', port: 8080 };
const NO_HANDLER: ConnectionHandler = { onConnect() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

/** Takes writes into a buffer that it uses again and again, as the real one does. */
class MemoryConnection implements Connection {
	readonly local = ADDRESS;
	readonly remote = ADDRESS;
	readonly directRemote = ADDRESS;
	readonly tls = null;
	readonly bufferedBytes = 0;
	highWatermarkBytes = 65_536;
	handler: ConnectionHandler = NO_HANDLER;
	writtenBytes = 0;
	private readonly slab = new Uint8Array(16 * 1024);

	constructor(readonly id: number) {}

	write(bytes: Uint8Array): boolean {
		this.slab.set(bytes, 0);
		this.writtenBytes += bytes.length;
		return true;
	}

	end(): void {}
	reset(): void {}
	pause(): void {}
	resume(): void {}
	startServerTls(): void {}
	speakFor(): void {}
	originalDestination(): null {
		return null;
	}
	peerCredentials(): null {
		return null;
	}
	setNoDelay(): void {}
}

class MemoryNetwork implements Network {
	readonly clock = new TimerWheel();
	readonly upstream: MemoryConnection[] = [];
	accept: (connection: Connection) => void = () => {};

	listen(_options: unknown, onConnection: (connection: Connection) => void): Listener {
		this.accept = onConnection;
		return { address: ADDRESS, pauseAccepting: () => true, resumeAccepting() {}, close() {} };
	}

	connect(_options: ConnectOptions, handler: ConnectionHandler): Connection {
		const connection = new MemoryConnection(1000 + this.upstream.length);
		connection.handler = handler;
		this.upstream.push(connection);
		queueMicrotask(() => handler.onConnect(connection));
		return connection;
	}

	resolve(): never {
		throw new Error('nothing is resolved here');
	}
}

/** As socket-handlers.ts does it. */
function receive(connection: MemoryConnection, bytes: Uint8Array): void {
	network.clock.hold();
	connection.handler.onData(connection, bytes);
	network.clock.letGo();
}

const directory = mkdtempSync(join(tmpdir(), 'weft-bench-'));
const text = readFileSync(writeHop(directory, 'plain', { listenPort: 8080, targetPort: 8081 }), 'utf8');
rmSync(directory, { recursive: true });
const network = new MemoryNetwork();
const registry = new MetricRegistry();
const proxy = startProxy({ bootstrap: parseBootstrap(text, 'bench'), network, random: systemRandom, registry });
await proxy.ready;

const clients = Array.from({ length: CONNECTIONS }, (_, id) => {
	const connection = new MemoryConnection(id);
	network.accept(connection);
	return connection;
});
for (const client of clients) client.handler.onData(client, new Uint8Array(REQUEST));
await Bun.sleep(1);
for (const host of network.upstream) host.handler.onData(host, new Uint8Array(RESPONSE));

const rounds = Number(process.argv[2] ?? 8);
const results: number[] = [];
for (let round = 0; round < rounds; round++) {
	const started = process.cpuUsage();
	const before = performance.now();
	for (let done = 0; done < REQUESTS_PER_ROUND; done += CONNECTIONS) {
		// A fresh array for each read, as from a socket.
		for (const client of clients) receive(client, new Uint8Array(REQUEST));
		for (const host of network.upstream) receive(host, new Uint8Array(RESPONSE));
	}
	const wall = ((performance.now() - before) * 1000) / REQUESTS_PER_ROUND;
	const used = process.cpuUsage(started);
	const cpu = (used.user + used.system) / REQUESTS_PER_ROUND;
	if (round > 0) results.push(cpu);
	console.log(`round ${round}: ${cpu.toFixed(2)} us of CPU, ${wall.toFixed(2)} us per request`);
	await Bun.sleep(0);
}
if (clients.some((client) => client.writtenBytes === 0)) throw new Error('a client was not answered');
results.sort((a, b) => a - b);
console.log(`median ${results[results.length >> 1]?.toFixed(2)} us, least ${results[0]?.toFixed(2)} us`);
process.exit(0);
