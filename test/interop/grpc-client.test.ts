// The sidecar's gRPC client against other implementations: grpc-js, and Python's grpcio (gRPC's C core),
// in plain text and under mutual TLS.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { type CallListener, type CallOptions, type ClientMethod, GrpcCall } from '../../src/grpc/call.ts';
import type { CallStatus, GrpcError } from '../../src/grpc/call-status.ts';
import { GrpcChannel } from '../../src/grpc/channel.ts';
import { callUnary } from '../../src/grpc/client-methods.ts';
import { addBinaryMetadata, addMetadata, binaryMetadata } from '../../src/grpc/metadata.ts';
import { GrpcStatus } from '../../src/grpc/status.ts';
import { getHeader, type HeaderList } from '../../src/http/headers.ts';
import type { ClientTlsOptions } from '../../src/net/network.ts';
import { SystemNetwork } from '../../src/net/system-network.ts';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import { systemRandom } from '../../src/std/random.ts';
import { pythonWithGrpc } from '../support/grpc-languages.ts';

const network = new SystemNetwork();
const directory = mkdtempSync(join(tmpdir(), 'weft-grpc-client-'));
const python = pythonWithGrpc();
const text = (value: Uint8Array): string => new TextDecoder().decode(value);
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

function method(name: string, responseStream = false): ClientMethod<Uint8Array, Uint8Array> {
	return { path: `/test.Echo/${name}`, encode: (value) => value, decode: (value) => value, responseStream };
}

/** A call whose events are waited for. */
class Heard implements CallListener<Uint8Array> {
	readonly messages: string[] = [];
	head: HeaderList = [];
	readonly ended: Promise<CallStatus>;
	onEach: (count: number) => void = () => {};
	onDrain: () => void = () => {};
	readonly call: GrpcCall<Uint8Array, Uint8Array>;
	private resolve: (status: CallStatus) => void = () => {};

	constructor(channel: GrpcChannel, name: string, responseStream: boolean, options: CallOptions = {}) {
		this.ended = new Promise((resolve) => {
			this.resolve = resolve;
		});
		this.call = new GrpcCall(channel, method(name, responseStream), options, this);
	}

	onHead(head: HeaderList): void {
		this.head = head;
	}

	onMessage(message: Uint8Array): void {
		this.messages.push(text(message));
		this.onEach(this.messages.length);
	}

	onEnd(status: CallStatus): void {
		this.resolve(status);
	}
}

interface Server {
	readonly port: number;
	stop(): void;
}

interface Credentials {
	readonly certificatePem: string;
	readonly privateKeyPem: string;
	readonly rootsPem: string;
}

async function startPython(tls: Credentials | null): Promise<Server> {
	const files: string[] = [];
	for (const [name, pem] of Object.entries(tls ?? {})) {
		files.push(join(directory, `${name}.pem`));
		writeFileSync(files.at(-1)!, pem);
	}
	const script = join(import.meta.dir, '../fixtures/grpc_echo.py');
	const child = Bun.spawn([python!, script, ...files], { stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' });
	const { value } = await child.stdout.getReader().read();
	const port = value === undefined ? 0 : Number.parseInt(text(value), 10);
	if (port > 0) return { port, stop: () => child.kill() };
	throw new Error('the Python server did not start');
}

type Unary = grpc.ServerUnaryCall<Buffer, Buffer>;
type Answer = grpc.sendUnaryData<Buffer>;

async function startGrpcJs(tls: Credentials | null): Promise<Server> {
	const server = new grpc.Server({ 'grpc.max_receive_message_length': 1 << 24 });
	const same = (value: Buffer): Buffer => value;
	const definition = (name: string, requestStream: boolean, responseStream: boolean) => ({
		path: `/test.Echo/${name}`,
		requestStream,
		responseStream,
		requestSerialize: same,
		requestDeserialize: same,
		responseSerialize: same,
		responseDeserialize: same,
	});
	server.addService(
		{
			unary: definition('Unary', false, false),
			fail: definition('Fail', false, false),
			hang: definition('Hang', false, false),
			size: definition('Size', false, false),
			large: definition('Large', false, false),
			collect: definition('Collect', true, false),
			expand: definition('Expand', false, true),
			chat: definition('Chat', true, true),
		},
		{
			unary: (call: Unary, answer: Answer) => {
				const head = new grpc.Metadata();
				head.set('x-first', 'one');
				head.set('first-bin', Buffer.from([0, 255]));
				call.sendMetadata(head);
				const last = new grpc.Metadata();
				last.set('x-last', 'two');
				last.set('last-bin', Buffer.from([1, 254]));
				const [echo] = call.metadata.get('echo-bin');
				answer(null, echo === undefined ? call.request : Buffer.from(echo), last);
			},
			fail: (call: Unary, answer: Answer) => {
				const details = `not \u00e4t \u2028 100%\n${call.request}`;
				answer({ code: grpc.status.FAILED_PRECONDITION, details });
			},
			hang: () => {},
			size: (call: Unary, answer: Answer) => answer(null, Buffer.from(String(call.request.length))),
			large: (call: Unary, answer: Answer) => answer(null, Buffer.alloc(Number(call.request), 'x')),
			collect: (call: grpc.ServerReadableStream<Buffer, Buffer>, answer: Answer) => {
				const all: Buffer[] = [];
				call.on('data', (part: Buffer) => all.push(part));
				call.on('end', () => answer(null, Buffer.from(all.join(','))));
			},
			expand: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
				for (let i = 0; i < Number(call.request); i++) call.write(Buffer.from(`${i} ${'x'.repeat(40_000)}`));
				call.end();
			},
			chat: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
				call.on('data', (part: Buffer) => call.write(Buffer.from(`<${part}>`)));
				call.on('end', () => call.end());
			},
		},
	);
	const credentials =
		tls === null
			? grpc.ServerCredentials.createInsecure()
			: grpc.ServerCredentials.createSsl(
					Buffer.from(tls.rootsPem),
					[{ cert_chain: Buffer.from(tls.certificatePem), private_key: Buffer.from(tls.privateKeyPem) }],
					true,
				);
	const port = await new Promise<number>((resolve, reject) => {
		server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error === null ? resolve(bound) : reject(error)));
	});
	return { port, stop: () => server.forceShutdown() };
}

afterAll(() => rmSync(directory, { recursive: true, force: true }));

for (const [name, start] of [
	['grpc-js', startGrpcJs],
	['grpcio', startPython],
] as const) {
	for (const secure of [false, true]) {
		const suite = name === 'grpcio' && python === null ? describe.skip : describe;
		suite(`with ${name}${secure ? ', mutual TLS' : ''}`, () => {
			let server: Server;
			let channel: GrpcChannel;

			beforeAll(async () => {
				let tls: ClientTlsOptions | null = null;
				let own: Credentials | null = null;
				if (secure) {
					const authority = await TestAuthority.create();
					const issued = await authority.issue({ dns: ['echo.test'] });
					const client = await authority.issue({ uris: ['spiffe://test/client'] });
					const rootsPem = authority.certificatePem;
					own = { certificatePem: issued.certificatePem, privateKeyPem: issued.privateKeyPem, rootsPem };
					tls = {
						serverName: 'echo.test',
						rootsPem,
						certificateChainPem: client.certificatePem,
						privateKeyPem: client.privateKeyPem,
						minVersion: 'TLSv1.3',
					};
				}
				server = await start(own);
				channel = new GrpcChannel({
					network,
					random: systemRandom,
					addresses: [{ kind: 'ip', host: '127.0.0.1', port: server.port }],
					tls: tls === null ? null : { current: () => tls },
				});
			}, 60_000);

			afterAll(() => {
				channel.close();
				server.stop();
			});

			test('one request, one response, empty and large', async () => {
				expect(text(await callUnary(channel, method('Unary'), bytes('hello')))).toBe('hello');
				expect((await callUnary(channel, method('Unary'), new Uint8Array(0))).length).toBe(0);
				const size = 10 * 1024 * 1024;
				expect(text(await callUnary(channel, method('Size'), new Uint8Array(size)))).toBe(String(size));
				const large = callUnary(channel, method('Large'), bytes('6000000'), { messageBytesMax: 6_000_000 });
				expect((await large).length).toBe(6_000_000);
			}, 60_000);

			test('a response beyond the limit', async () => {
				const large = callUnary(channel, method('Large'), bytes('5000000'));
				await expect(large).rejects.toThrow('RESOURCE_EXHAUSTED: a message of 5000000 bytes');
			}, 60_000);

			test('metadata both ways, bytes too', async () => {
				const metadata: HeaderList = [];
				addMetadata(metadata, 'x-own', 'a b');
				addBinaryMetadata(metadata, 'echo-bin', Uint8Array.of(9, 0, 200));
				const one = new Heard(channel, 'Unary', false, { metadata });
				let echoed: Uint8Array = new Uint8Array(0);
				one.onMessage = (message) => {
					echoed = message;
				};
				one.call.send(bytes('x'), true);
				const status = await one.ended;
				expect([status.code, ...echoed]).toEqual([GrpcStatus.ok, 9, 0, 200]);
				expect(getHeader(one.head, 'x-first')).toBe('one');
				expect([...binaryMetadata(one.head, 'first-bin')[0]!]).toEqual([0, 255]);
				expect(getHeader(status.metadata, 'x-last')).toBe('two');
				expect([...binaryMetadata(status.metadata, 'last-bin')[0]!]).toEqual([1, 254]);
			}, 60_000);

			test('status with a message of special characters, and methods that are not there', async () => {
				const failed = await callUnary(channel, method('Fail'), bytes('so')).catch((error: GrpcError) => error);
				const { status } = failed as GrpcError;
				expect([status.code, status.message]).toEqual([GrpcStatus.failedPrecondition, 'not ät \u2028 100%\nso']);
				await expect(callUnary(channel, method('Nothing'), bytes(''))).rejects.toThrow('UNIMPLEMENTED');
			}, 60_000);

			test('a deadline, and cancellation', async () => {
				const late = callUnary(channel, method('Hang'), bytes(''), { timeoutMs: 200 });
				await expect(late).rejects.toThrow('DEADLINE_EXCEEDED');
				const one = new Heard(channel, 'Hang', false);
				one.call.send(bytes(''), true);
				one.call.cancel();
				expect(text(await callUnary(channel, method('Unary'), bytes('after')))).toBe('after');
			}, 60_000);

			test('a stream of requests, with backpressure', async () => {
				const one = new Heard(channel, 'Collect', false, { messageBytesMax: 16 << 20 });
				let sent = 0;
				const more = (): void => {
					while (sent < 300) {
						if (!one.call.send(bytes(String(sent++).padEnd(20_000, '.')))) return;
					}
					one.call.end();
				};
				one.onDrain = more;
				more();
				expect((await one.ended).code).toBe(GrpcStatus.ok);
				const got = one.messages[0]!.split(',');
				expect(got.map((part) => Number.parseInt(part, 10))).toEqual([...Array(300).keys()]);
			}, 60_000);

			test('a stream of responses, taken slowly', async () => {
				const one = new Heard(channel, 'Expand', true);
				one.onEach = (count) => {
					if (count % 10 !== 0) return;
					one.call.pause();
					setImmediate(() => one.call.resume());
				};
				one.call.send(bytes('200'), true);
				expect((await one.ended).code).toBe(GrpcStatus.ok);
				expect(one.messages.map((message) => Number.parseInt(message, 10))).toEqual([...Array(200).keys()]);
			}, 60_000);

			test('ping and pong; and a stream without a message', async () => {
				const one = new Heard(channel, 'Chat', true);
				one.onEach = (count) => {
					if (count < 50) one.call.send(bytes(String(count)));
					else one.call.end();
				};
				one.call.send(bytes('0'));
				expect((await one.ended).code).toBe(GrpcStatus.ok);
				expect(one.messages).toEqual([...Array(50).keys()].map((i) => `<${i}>`));
				const empty = new Heard(channel, 'Chat', true);
				empty.call.end();
				expect([(await empty.ended).code, empty.messages]).toEqual([GrpcStatus.ok, []]);
			}, 60_000);

			test('many at once', async () => {
				const all = Array.from({ length: 200 }, (_, i) => callUnary(channel, method('Unary'), bytes(String(i))));
				expect((await Promise.all(all)).map(text)).toEqual([...Array(200).keys()].map(String));
				expect(channel.openConnections).toBe(1);
			}, 60_000);
		});
	}
}
