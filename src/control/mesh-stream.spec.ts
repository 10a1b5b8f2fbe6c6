import { afterEach, describe, expect, test } from 'bun:test';
import { ShopMesh } from '../../test/fixtures/shop-snapshot.ts';
import { VirtualClock } from '../std/clock.ts';
import { logSink } from '../std/log.ts';
import type { MeshSnapshot } from './mesh-snapshot.ts';
import { INTERVAL_MS, MeshStream, SLOW_CLIENT_MS, UNREAD_MAX } from './mesh-stream.ts';

const opened: MeshStream[] = [];

function setUp(clientsMax?: number) {
	const clock = new VirtualClock();
	const shop = new ShopMesh();
	let built = 0;
	let failing = false;
	const stream = new MeshStream({
		clock,
		clientsMax,
		snapshot: () => {
			if (failing) throw new Error('no');
			built++;
			return shop.step();
		},
	});
	opened.push(stream);
	const abort = new AbortController();
	const request = () => new Request('http://127.0.0.1/weft/v1/mesh/stream', { signal: abort.signal });
	return { clock, stream, request, abort, built: () => built, fail: (yes: boolean) => (failing = yes) };
}

async function nextEvent(reader: Pick<ReadableStreamDefaultReader<Uint8Array>, 'read'>): Promise<MeshSnapshot> {
	const { value, done } = await reader.read();
	expect(done).toBe(false);
	const match = /event: mesh\ndata: (.*)\n\n$/.exec(new TextDecoder().decode(value));
	return JSON.parse(match![1]!) as MeshSnapshot;
}

afterEach(() => {
	for (const stream of opened.splice(0)) stream.close();
});

describe('mesh stream', () => {
	test('answers one snapshot as JSON', async () => {
		const { stream } = setUp();
		const response = stream.handleMesh(new Request('http://127.0.0.1/weft/v1/mesh'));
		expect(response.headers.get('cache-control')).toBe('no-store');
		expect(((await response.json()) as MeshSnapshot).services.length).toBeGreaterThan(3);
		expect(stream.handleMesh(new Request('http://127.0.0.1/weft/v1/mesh', { method: 'POST' })).status).toBe(405);
	});

	test('sends one event at once and one each second', async () => {
		const { stream, clock, request } = setUp();
		const response = stream.handleStream(request());
		expect(response.headers.get('content-type')).toStartWith('text/event-stream');
		const reader = response.body!.getReader();
		const first = await nextEvent(reader);
		clock.advance(INTERVAL_MS);
		const second = await nextEvent(reader);
		expect(Date.parse(second.time) - Date.parse(first.time)).toBe(1000);
	});

	test('builds once for all listeners, and nothing when nobody listens', async () => {
		const { stream, clock, request, built } = setUp();
		clock.advance(10 * INTERVAL_MS);
		expect(built()).toBe(0);
		const readers = [1, 2, 3].map(() => stream.handleStream(request()).body!.getReader());
		const before = built();
		for (const reader of readers) await nextEvent(reader);
		clock.advance(INTERVAL_MS);
		expect(built() - before).toBe(1);
		for (const reader of readers) await reader.cancel();
		expect(stream.clientCount).toBe(0);
		clock.advance(10 * INTERVAL_MS);
		expect(built() - before).toBe(1);
		expect(clock.nextDueMs()).toBeNull();
	});

	test('a listener that aborts its request is gone', () => {
		const { stream, request, abort } = setUp();
		stream.handleStream(request());
		expect(stream.clientCount).toBe(1);
		abort.abort();
		expect(stream.clientCount).toBe(0);
	});

	test('one that reads late misses snapshots; one that never reads is dropped', async () => {
		const { stream, clock, request } = setUp();
		const slow = stream.handleStream(request()).body!.getReader();
		const quick = stream.handleStream(request()).body!.getReader();
		await nextEvent(quick);
		for (let second = 0; second < 10; second++) {
			clock.advance(INTERVAL_MS);
			await nextEvent(quick);
		}
		for (let unread = 0; unread < UNREAD_MAX; unread++) await nextEvent(slow);
		clock.advance(INTERVAL_MS);
		const [late, present] = [await nextEvent(slow), await nextEvent(quick)];
		expect(late.time).toBe(present.time);
		for (let ms = 0; ms <= SLOW_CLIENT_MS + UNREAD_MAX * INTERVAL_MS; ms += INTERVAL_MS) {
			clock.advance(INTERVAL_MS);
			await nextEvent(quick);
		}
		expect(stream.clientCount).toBe(1);
	});

	test('refuses one listener too many', () => {
		const { stream, request } = setUp(2);
		expect(stream.handleStream(request()).status).toBe(200);
		expect(stream.handleStream(request()).status).toBe(200);
		const refused = stream.handleStream(request());
		expect(refused.status).toBe(503);
		expect(refused.headers.get('retry-after')).not.toBeNull();
	});

	test('a snapshot that cannot be built once does not end the stream', async () => {
		const { stream, clock, request, fail } = setUp();
		const reader = stream.handleStream(request()).body!.getReader();
		await nextEvent(reader);
		const { level } = logSink;
		logSink.level = 'off';
		fail(true);
		clock.advance(INTERVAL_MS);
		logSink.level = level;
		fail(false);
		clock.advance(INTERVAL_MS);
		expect((await nextEvent(reader)).services.length).toBeGreaterThan(3);
	});
});
