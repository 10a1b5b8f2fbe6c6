// The client against servers on the simulated network: good ones, and some that break every rule.

import { describe, expect, test } from 'bun:test';
import { Flag, FrameType } from '../http2/frames.ts';
import { STREAM_QUEUE_HIGH_BYTES } from '../http2/limits.ts';
import { data, frame, headers, rawBlock, rstStream, uint32Bytes } from '../http2/testing.ts';
import { TestAuthority } from '../net/testing-certificates.ts';
import { SeededRandom } from '../std/random.ts';
import { callUnary } from './client-methods.ts';
import { frameMessage } from './message-reader.ts';
import { binaryMetadata } from './metadata.ts';
import { address, GRPC_HEAD, GrpcBed, GrpcTestServer, HeardCall, ScriptedServer, textMethod } from './testing.ts';

const PORT = 9000;

function bedWithServer(options: ConstructorParameters<typeof GrpcTestServer>[2] = {}) {
	const bed = new GrpcBed();
	return { bed, server: new GrpcTestServer(bed.network, PORT, options), channel: bed.channel(PORT) };
}

/** Everything that was opened is closed again. */
async function expectNothingLeft(bed: GrpcBed): Promise<void> {
	await bed.settle(60_000);
	expect(bed.network.openConnections).toBe(0);
	expect(bed.network.clock.nextDueMs()).toBeNull();
	expect(bed.network.caughtErrors).toBe(0);
}

describe('a call', () => {
	test('with one request and one response', async () => {
		const { bed, server, channel } = bedWithServer();
		const answer = callUnary(channel, textMethod(false), 'ping', { metadata: ['x-a', '1'], timeoutMs: 5000 });
		await bed.settle();
		const { head, messages, ended } = server.call;
		expect(head).toMatchObject({
			method: 'POST',
			scheme: 'http',
			authority: '127.0.0.1:9000',
			path: '/test.Service/Method',
		});
		expect(head.headers.slice(0, 4)).toEqual(['content-type', 'application/grpc', 'te', 'trailers']);
		expect(head.headers.slice(-2)).toEqual(['x-a', '1']);
		expect(head.headers[head.headers.indexOf('grpc-timeout') + 1]).toMatch(/^(5000|49\d\d)m$/);
		expect([messages, ended]).toEqual([['ping'], true]);
		server.call.begin();
		server.call.send('pong');
		server.call.finish();
		await bed.settle();
		expect(await answer).toBe('pong');
		channel.close();
		await expectNothingLeft(bed);
	});

	test('that fails says the status, its message and metadata', async () => {
		const { bed, server, channel } = bedWithServer();
		const answer = callUnary(channel, textMethod(false), 'ping').catch((error: unknown) => error);
		await bed.settle();
		server.call.stream.writeHead(
			{
				...GRPC_HEAD,
				headers: [...GRPC_HEAD.headers, 'grpc-status', '9', 'grpc-message', 'not%20now', 'why-bin', 'AQI'],
			},
			true,
		);
		await bed.settle();
		expect(await answer).toMatchObject({ code: 'grpc_failed', message: 'FAILED_PRECONDITION: not now' });
		const { status } = (await answer) as { status: { metadata: string[] } };
		expect([...binaryMetadata(status.metadata, 'why-bin')[0]!]).toEqual([1, 2]);
	});

	test('with streams both ways, each ends in its time', async () => {
		const { bed, server, channel } = bedWithServer();
		const one = new HeardCall(channel);
		one.call.send('a');
		await bed.settle();
		server.call.begin(['x-first', 'yes']);
		server.call.send('1');
		one.call.send('b');
		await bed.settle();
		expect(server.call.messages).toEqual(['a', 'b']);
		expect(one.messages).toEqual(['1']);
		expect(one.metadata).toEqual(['x-first', 'yes']);
		one.call.end();
		await bed.settle();
		expect(server.call.ended).toBe(true);
		server.call.send('2');
		server.call.finish(0, '', ['x-last', 'too']);
		await bed.settle();
		expect([one.messages, one.end, one.status!.metadata]).toEqual([['1', '2'], 'OK', ['x-last', 'too']]);
	});

	test('that the server ends first is over on both sides', async () => {
		const { bed, server, channel } = bedWithServer();
		const one = new HeardCall(channel);
		one.call.send('a');
		await bed.settle();
		server.call.begin();
		server.call.finish(8);
		await bed.settle();
		expect(one.end).toBe('RESOURCE_EXHAUSTED');
		expect(one.call.send('b')).toBe(true);
		one.call.end();
		await bed.settle();
		expect(server.codecs[0]!.activeStreams).toBe(0);
	});

	test('cancelled: the server is told, and nothing is heard', async () => {
		const { bed, server, channel } = bedWithServer();
		const one = new HeardCall(channel);
		one.call.send('a');
		await bed.settle();
		one.call.cancel();
		await bed.settle();
		expect([server.call.reset, one.end, one.call.isOver]).toEqual(['cancelled', null, true]);
		const before = new HeardCall(bed.channel(1));
		before.call.cancel();
		await bed.settle(5000);
		expect(before.end).toBeNull();
	});

	test('past its deadline: DEADLINE_EXCEEDED, also while it waits for a connection', async () => {
		const { bed, server, channel } = bedWithServer();
		const one = new HeardCall(channel, { timeoutMs: 300 });
		bed.network.silence(address(9001));
		const waiting = new HeardCall(bed.channel(9001), { timeoutMs: 300, waitForReady: true });
		await bed.settle(299);
		expect([one.end, waiting.end]).toEqual([null, null]);
		await bed.settle(10);
		expect([one.end, waiting.end]).toEqual([
			'DEADLINE_EXCEEDED: no answer within 300 ms',
			'DEADLINE_EXCEEDED: no answer within 300 ms',
		]);
		expect(server.call.reset).toBe('cancelled');
	});

	test('many at once share the connection, within what the server allows', async () => {
		const { bed, server, channel } = bedWithServer({ concurrentStreamsMax: 3 });
		const calls = Array.from({ length: 8 }, () => new HeardCall(channel));
		for (const one of calls) one.call.send('x', true);
		for (let answered = 0; answered < 8; answered++) {
			await bed.settle();
			expect(server.calls.length).toBe(Math.min(8, 3 + answered));
			server.calls[answered]!.begin();
			server.calls[answered]!.finish();
		}
		await bed.settle();
		expect(calls.every((one) => one.end === 'OK')).toBe(true);
		expect(server.connections.length).toBe(1);
	});
});

describe('flow control', () => {
	test('a sender is told to wait, and to go on', async () => {
		const { bed, server, channel } = bedWithServer({ streamWindowBytes: 70_000 });
		const one = new HeardCall(channel);
		expect(one.call.send('first')).toBe(false);
		await bed.settle();
		expect(one.drains).toBe(1);
		server.call.stream.pause();
		let sent = 0;
		while (one.call.send('x'.repeat(10_000))) sent++;
		// What the window takes, and what may wait for it.
		expect(sent).toBeLessThan((70_000 + STREAM_QUEUE_HIGH_BYTES) / 10_000);
		await bed.settle();
		expect(one.drains).toBe(1);
		server.call.stream.resume();
		await bed.settle();
		expect(one.drains).toBe(2);
		expect(server.call.messages.length).toBe(sent + 2);
	});

	test('one that does not heed it is ended before it fills the memory', async () => {
		const { bed, server, channel } = bedWithServer();
		const one = new HeardCall(channel);
		one.call.send('first');
		await bed.settle();
		server.call.stream.pause();
		const message = 'x'.repeat(1 << 20);
		for (let i = 0; i < 40 && one.end === null; i++) one.call.send(message);
		expect(one.end).toBe('RESOURCE_EXHAUSTED: too much waits to be sent to the server');
		const waiting = new HeardCall(bed.channel(9001), { waitForReady: true });
		for (let i = 0; i < 40 && waiting.end === null; i++) waiting.call.send(message);
		expect(waiting.end).toStartWith('RESOURCE_EXHAUSTED');
	});

	test('a receiver that pauses holds the server back, and misses nothing', async () => {
		const { bed, server, channel } = bedWithServer();
		const one = new HeardCall(channel);
		one.onEach = () => one.call.pause();
		one.call.send('go', true);
		await bed.settle();
		server.call.begin();
		let sent = 0;
		// A window of 512 KiB, and what the transport takes.
		while (server.call.send(`${sent} ${'x'.repeat(50_000)}`) && sent < 100) sent++;
		sent++;
		await bed.settle(200);
		expect(sent).toBeLessThan(20);
		expect(one.messages.length).toBe(1);
		server.call.finish(0, 'done');
		for (let i = 0; i < sent; i++) {
			await bed.settle();
			expect(one.end).toBeNull();
			one.call.resume();
		}
		await bed.settle();
		one.call.resume();
		expect(one.messages.map((message) => Number.parseInt(message, 10))).toEqual([...Array(sent).keys()]);
		expect(one.end).toBe('OK: done');
	});
});

describe('connecting', () => {
	test('addresses are tried in order, names resolved', async () => {
		const bed = new GrpcBed();
		const server = new GrpcTestServer(bed.network, PORT);
		bed.network.setName('control', ['127.0.0.1']);
		const addresses = [
			address(1),
			{ kind: 'name' as const, name: 'nowhere', port: 2 },
			{ kind: 'name' as const, name: 'control', port: PORT },
		];
		const one = new HeardCall(bed.channel(0, { addresses }));
		one.call.send('x');
		await bed.settle();
		expect(server.calls.length).toBe(1);
	});

	test('fails the calls that do not wait, backs off with jitter, and tries again', async () => {
		const bed = new GrpcBed();
		const random = new SeededRandom(4);
		const channel = bed.channel(PORT, { random, backoff: { firstMs: 1000, maxMs: 3000 } });
		const pauses: number[] = [];
		for (let attempt = 0; attempt < 6; attempt++) {
			const one = new HeardCall(channel);
			await bed.settle(10);
			expect(one.end).toBe('UNAVAILABLE: 127.0.0.1:9000 refused the connection');
			expect(channel.stateName).toBe('backing_off');
			const failedAtMs = bed.network.clock.nowMs();
			while (channel.stateName === 'backing_off') await bed.settle(10);
			pauses.push(bed.network.clock.nowMs() - failedAtMs);
		}
		for (const [i, pause] of pauses.entries()) {
			const middle = Math.min(3000, 1000 * 1.6 ** i);
			expect(pause).toBeGreaterThan(middle * 0.8 - 30);
			expect(pause).toBeLessThan(middle * 1.2 + 30);
		}
		const patient = new HeardCall(channel, { waitForReady: true });
		patient.call.send('x');
		await bed.settle(5000);
		const server = new GrpcTestServer(bed.network, PORT);
		await bed.settle(5000);
		server.call.begin();
		server.call.finish();
		await bed.settle();
		expect(patient.end).toBe('OK');
	});

	test('a server that accepts and is silent has not answered', async () => {
		const bed = new GrpcBed();
		new ScriptedServer(bed.network, PORT, false);
		const one = new HeardCall(bed.channel(PORT, { connectTimeoutMs: 3000 }));
		await bed.settle(2990);
		expect(one.end).toBeNull();
		await bed.settle(20);
		expect(one.end).toBe('UNAVAILABLE: 127.0.0.1:9000 did not answer as HTTP/2 within 3000 ms');
	});

	test('one that speaks HTTP/1.1, and one that closes at once', async () => {
		const bed = new GrpcBed();
		const server = new ScriptedServer(bed.network, PORT, false);
		const one = new HeardCall(bed.channel(PORT));
		await bed.settle();
		server.say(new TextEncoder().encode('HTTP/1.1 400 Bad Request\r\n\r\n'));
		await bed.settle();
		expect(one.end).toStartWith('UNAVAILABLE: ');
		const two = new HeardCall(bed.channel(PORT));
		await bed.settle();
		server.connections[1]!.end();
		await bed.settle();
		expect(two.end).toBe('UNAVAILABLE: 127.0.0.1:9000 closed before it said anything');
	});

	test('with TLS: the certificate of the moment, the name that the server has, and a missing secret', async () => {
		const bed = new GrpcBed();
		const authority = await TestAuthority.create();
		const own = await authority.issue({ dns: ['control'] });
		const rootsPem = authority.certificatePem;
		const server = new GrpcTestServer(
			bed.network,
			PORT,
			{},
			{
				certificateChainPem: own.certificatePem,
				privateKeyPem: own.privateKeyPem,
				rootsPem,
				requireClientCertificate: true,
				alpn: ['h2'],
			},
		);
		let present: { certificatePem: string; privateKeyPem: string } | null = null;
		const tls = {
			current: () =>
				present === null
					? null
					: {
							serverName: 'control',
							rootsPem,
							certificateChainPem: present.certificatePem,
							privateKeyPem: present.privateKeyPem,
							verifyPeer: ({ dnsSans }: { dnsSans: readonly string[] }) =>
								dnsSans.includes('control') ? null : 'misnamed',
						},
		};
		const channel = bed.channel(PORT, { tls, backoff: { firstMs: 10 } });
		const early = new HeardCall(channel);
		await bed.settle(50);
		expect(early.end).toBe('UNAVAILABLE: a TLS secret is not there yet');
		const peers: string[] = [];
		for (const uri of ['spiffe://a/first', 'spiffe://a/second']) {
			present = await authority.issue({ uris: [uri] });
			const one = new HeardCall(channel);
			one.call.send('x');
			await bed.settle(50);
			peers.push(...server.connections.at(-1)!.tls!.peerCertificate!.uriSans);
			expect(server.call.head).toMatchObject({ scheme: 'https', authority: 'control' });
			one.call.cancel();
			server.codecs.at(-1)!.startDrain();
			await bed.settle(2000);
		}
		expect(peers).toEqual(['spiffe://a/first', 'spiffe://a/second']);
	});

	test('without calls the connection closes, and the next call makes another', async () => {
		const { bed, server, channel } = bedWithServer();
		for (let i = 1; i <= 2; i++) {
			const one = new HeardCall(channel);
			one.call.send('x', true);
			await bed.settle(60_000);
			expect(one.end).toBeNull();
			server.call.begin();
			server.call.finish();
			await bed.settle(25_000);
			expect([one.end, server.connections.length, channel.openConnections]).toEqual(['OK', i, 0]);
		}
	});

	test('a peer that no longer answers PINGs is given up', async () => {
		const bed = new GrpcBed();
		const server = new ScriptedServer(bed.network, PORT);
		const one = new HeardCall(bed.channel(PORT, { keepaliveMs: 1000, keepaliveTimeoutMs: 500, idleTimeoutMs: 1e9 }));
		one.call.send('x');
		await bed.settle(50);
		server.say(frame(FrameType.settings, Flag.ack, 0));
		await bed.settle(900);
		expect(one.end).toBeNull();
		await bed.settle(800);
		expect(server.frames().some(({ type }) => type === FrameType.ping)).toBe(true);
		expect(one.end).toBe('UNAVAILABLE: no answer to PING');
	});

	test('closed: what waits and what is under way ends, and nothing is left', async () => {
		const { bed, channel } = bedWithServer();
		const one = new HeardCall(channel);
		one.call.send('x');
		await bed.settle();
		channel.close();
		const late = new HeardCall(channel);
		await bed.settle();
		expect(one.end).toStartWith('UNAVAILABLE');
		expect(late.end).toBe('UNAVAILABLE: the channel is closed');
		await expectNothingLeft(bed);
	});
});

describe('a server that leaves', () => {
	test('GOAWAY: what it processes goes on, new calls have another connection', async () => {
		const { bed, server, channel } = bedWithServer();
		const old = new HeardCall(channel);
		old.call.send('old');
		await bed.settle();
		server.codecs[0]!.startDrain();
		await bed.settle();
		const next = new HeardCall(channel);
		next.call.send('next');
		await bed.settle();
		expect(server.connections.length).toBe(2);
		for (const call of server.calls) {
			call.begin();
			call.finish();
		}
		await bed.settle();
		expect([old.end, next.end]).toEqual(['OK', 'OK']);
		await bed.settle(2000);
		expect(channel.openConnections).toBe(1);
	});

	test('GOAWAY with a lower last stream: what it did not process is sent again, whole, elsewhere', async () => {
		const bed = new GrpcBed();
		const server = new ScriptedServer(bed.network, PORT);
		const channel = bed.channel(PORT);
		const [first, second] = [new HeardCall(channel), new HeardCall(channel)];
		first.call.send('1', true);
		second.call.send('2');
		second.call.send('3', true);
		await bed.settle();
		server.say(frame(FrameType.goaway, 0, 0, uint32Bytes(1, 0)));
		await bed.settle();
		expect(server.connections.length).toBe(2);
		const again = server.frames().slice(-5);
		const sent = Buffer.concat(again.filter(({ type }) => type === FrameType.data).map(({ payload }) => payload));
		expect(sent.toString('latin1')).toEndWith('\0\0\0\0\u00012\0\0\0\0\u00013');
		expect([first.end, second.end]).toEqual([null, null]);
	});

	test('a call that was answered is not sent again', async () => {
		const bed = new GrpcBed();
		const server = new ScriptedServer(bed.network, PORT);
		const one = new HeardCall(bed.channel(PORT));
		one.call.send('1');
		await bed.settle();
		server.say(
			headers(
				1,
				[
					[':status', '200'],
					['content-type', 'application/grpc'],
				],
				false,
			),
			rstStream(1, 7),
		);
		await bed.settle();
		expect(one.end).toBe('UNAVAILABLE: reset by the peer: REFUSED_STREAM');
		expect(server.connections.length).toBe(1);
	});

	test('one that refuses again and again is believed in the end', async () => {
		const bed = new GrpcBed();
		const server = new ScriptedServer(bed.network, PORT);
		const one = new HeardCall(bed.channel(PORT));
		one.call.send('1');
		await bed.settle();
		for (let stream = 1; stream <= 7; stream += 2) {
			expect(one.end).toBeNull();
			server.say(rstStream(stream, 7));
			await bed.settle();
		}
		expect(one.end).toBe('UNAVAILABLE: reset by the peer: REFUSED_STREAM');
	});

	test('too_many_pings: half as many on the next connection', async () => {
		const bed = new GrpcBed();
		const server = new ScriptedServer(bed.network, PORT);
		const channel = bed.channel(PORT, { keepaliveMs: 1000, keepaliveTimeoutMs: 10_000 });
		new HeardCall(channel, { waitForReady: true }).call.send('1');
		await bed.settle(50);
		const debug = new TextEncoder().encode('too_many_pings');
		server.say(frame(FrameType.goaway, 0, 0, new Uint8Array([...uint32Bytes(0, 11), ...debug])));
		await bed.settle(50);
		expect(server.connections.length).toBe(2);
		server.say(frame(FrameType.settings, Flag.ack, 0));
		const pings = () => server.frames().filter(({ type }) => type === FrameType.ping).length;
		const before = pings();
		await bed.settle(1800);
		expect(pings()).toBe(before);
		await bed.settle(600);
		expect(pings()).toBe(before + 1);
	});
});

describe('a server that misbehaves', () => {
	const HEAD: readonly (readonly [string, string])[] = [
		[':status', '200'],
		['content-type', 'application/grpc'],
	];
	const message = (text: string) => Buffer.from(frameMessage(new TextEncoder().encode(text))).toString('latin1');
	const trailers = headers(1, [['grpc-status', '0']], true);

	const cases: readonly (readonly [string, string, boolean, ...Uint8Array[]])[] = [
		['no trailers', 'UNKNOWN: the response ended without a status', true, headers(1, HEAD, false), data(1, '', true)],
		['an empty response', 'UNKNOWN: the response ended without a status', true, headers(1, HEAD, true)],
		[
			'trailers without status',
			'UNKNOWN: the response ended without a status',
			true,
			headers(1, HEAD, false),
			headers(1, [['x', 'y']], true),
		],
		[
			'another content type',
			'UNKNOWN: the server\'s content type is "text/html", expected application/grpc',
			true,
			headers(
				1,
				[
					[':status', '200'],
					['content-type', 'text/html'],
				],
				false,
			),
		],
		[
			'an HTTP error',
			'UNAVAILABLE: the server answered with HTTP status 503',
			true,
			headers(1, [[':status', '503']], true),
		],
		[
			'an HTTP error with a page',
			'UNIMPLEMENTED: the server answered with HTTP status 404',
			true,
			headers(1, [[':status', '404']], false),
			data(1, 'gone', true),
		],
		[
			'an HTTP error that says its status',
			'ABORTED: so',
			true,
			headers(
				1,
				[
					[':status', '500'],
					['grpc-status', '10'],
					['grpc-message', 'so'],
				],
				true,
			),
		],
		[
			'a wrong prefix',
			'INTERNAL: a message begins with 71, not with 0 or 1',
			true,
			headers(1, HEAD, false),
			data(1, 'GET / HTTP/1.1\r\n'),
		],
		[
			'a compressed message',
			'INTERNAL: a message is compressed (grpc-encoding: gzip), which was not offered',
			true,
			headers(1, [...HEAD, ['grpc-encoding', 'gzip']], false),
			data(1, '\u0001\0\0\0\u0001x'),
		],
		[
			'a message too large',
			'RESOURCE_EXHAUSTED: a message of 16777216 bytes is larger than 4194304',
			true,
			headers(1, HEAD, false),
			data(1, '\0\u0001\0\0\0'),
		],
		[
			'OK within a message',
			'INTERNAL: the response ended within a message',
			true,
			headers(1, HEAD, false),
			data(1, message('abc').slice(0, 6)),
			trailers,
		],
		[
			'OK without the response',
			'INTERNAL: the server said OK and sent no response',
			false,
			headers(1, HEAD, false),
			trailers,
		],
		[
			'two responses to one request',
			'INTERNAL: the server sent more than one response',
			false,
			headers(1, HEAD, false),
			data(1, message('a') + message('b')),
			trailers,
		],
		[
			'RST_STREAM within a message',
			'CANCELLED: reset by the peer: CANCEL',
			true,
			headers(1, HEAD, false),
			data(1, message('abc').slice(0, 6)),
			rstStream(1, 8),
		],
		[
			'RST_STREAM in calm',
			'RESOURCE_EXHAUSTED: reset by the peer: ENHANCE_YOUR_CALM',
			true,
			headers(1, HEAD, false),
			rstStream(1, 11),
		],
		['RST_STREAM without an error', 'INTERNAL: reset by the peer: NO_ERROR', true, rstStream(1, 0)],
		['data before the head', 'INTERNAL: data before the head, or where none may be', true, data(1, 'x')],
		[
			'a head that cannot be decoded',
			'INTERNAL: a header block that cannot be decoded',
			true,
			frame(FrameType.headers, 4, 1, Uint8Array.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
		],
		[
			'a status among the first fields of a second head',
			'INTERNAL: a second head that does not end the stream',
			true,
			headers(1, HEAD, false),
			headers(1, [['grpc-status', '0']], false),
		],
		[
			'a frame of a stream that is not there',
			'INTERNAL: HEADERS on a stream that is idle',
			true,
			frame(FrameType.headers, 4, 9, rawBlock(HEAD)),
		],
	];
	for (const [name, expected, responseStream, ...frames] of cases) {
		test(name, async () => {
			const bed = new GrpcBed();
			const server = new ScriptedServer(bed.network, PORT);
			const channel = bed.channel(PORT);
			const one = new HeardCall(channel, {}, textMethod(responseStream));
			one.call.send('x');
			await bed.settle();
			server.say(...frames);
			await bed.settle();
			expect(one.end).toBe(expected);
			// It was not the end of the channel.
			const next = new HeardCall(channel);
			next.call.send('y');
			await bed.settle();
			const opened = server.frames().filter(({ type }) => type === FrameType.headers).length;
			expect([next.end, opened]).toEqual([null, 2]);
			channel.close();
			await expectNothingLeft(bed);
		});
	}

	test('a response that is not what the method says', async () => {
		const { bed, server, channel } = bedWithServer();
		const one = new HeardCall(channel);
		one.call.send('x');
		await bed.settle();
		server.call.begin();
		server.call.stream.writeData(frameMessage(Uint8Array.of(0xff)), false);
		await bed.settle();
		expect(one.end).toBe('INTERNAL: a response that cannot be decoded: not text');
		expect(server.call.reset).toBe('cancelled');
	});

	test('the connection is lost: every call hears it', async () => {
		const { bed, server, channel } = bedWithServer();
		const calls = [new HeardCall(channel), new HeardCall(channel)];
		for (const { call } of calls) call.send('x');
		await bed.settle();
		server.connections[0]!.reset();
		await bed.settle();
		for (const { end } of calls) expect(end).toStartWith('UNAVAILABLE');
		expect(channel.stateName).toBe('idle');
	});
});
