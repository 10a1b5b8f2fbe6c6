import { expect, test } from 'bun:test';
import { VirtualClock } from '../../std/clock.ts';
import { SeededRandom } from '../../std/random.ts';
import { type KnownService, ServiceWatch } from './service-watch.ts';

function service(name: string, clusterIP: string) {
	return { metadata: { name, namespace: 'default', resourceVersion: '1' }, spec: { clusterIP, ports: [{ port: 80 }] } };
}

function list(...items: unknown[]) {
	return Response.json({ metadata: { resourceVersion: '7' }, items });
}

/** A control plane whose answers the test gives, one by one; each request is seen. */
class FakeControlPlane {
	readonly paths: string[] = [];
	private readonly answers: (Response | Error)[] = [];
	private readonly waiting: (() => void)[] = [];

	answer(response: Response | Error): void {
		this.answers.push(response);
		this.waiting.shift()?.();
	}

	async get(path: string): Promise<Response> {
		this.paths.push(path);
		if (this.answers.length === 0) await new Promise<void>((resolve) => this.waiting.push(resolve));
		const answer = this.answers.shift()!;
		if (answer instanceof Error) throw answer;
		return answer;
	}
}

function stream(): { readonly response: Response; send(text: string): void; end(): void } {
	let controller!: ReadableStreamDefaultController<Uint8Array>;
	const body = new ReadableStream<Uint8Array>({
		start: (given) => {
			controller = given;
		},
	});
	return {
		response: new Response(body),
		send: (text) => controller.enqueue(new TextEncoder().encode(text)),
		end: () => controller.close(),
	};
}

function setUp() {
	const clock = new VirtualClock();
	const controlPlane = new FakeControlPlane();
	const told: string[] = [];
	let wake: (() => void) | null = null;
	const watch = new ServiceWatch(controlPlane, clock, new SeededRandom(1), (services: KnownService[]) => {
		told.push(services.map((one) => `${one.name}=${one.address}`).join(' '));
		wake?.();
	});
	const toldCount = async (count: number) => {
		while (told.length < count) await new Promise<void>((resolve) => (wake = resolve));
		return told.at(-1)!;
	};
	return { clock, controlPlane, watch, told, toldCount };
}

const event = (type: string, object: unknown) => `${JSON.stringify({ type, object })}\n`;

test('lists, then follows from the revision of the list, also when an event comes in pieces', async () => {
	const { controlPlane, watch, toldCount } = setUp();
	const events = stream();
	controlPlane.answer(list(service('a', '127.96.0.1')));
	controlPlane.answer(events.response);
	watch.start();
	expect(await toldCount(1)).toBe('a=127.96.0.1');
	const added = event('ADDED', service('b', '127.96.0.2'));
	events.send(added.slice(0, 30));
	events.send(added.slice(30));
	expect(await toldCount(2)).toBe('a=127.96.0.1 b=127.96.0.2');
	events.send(event('BOOKMARK', {}) + event('DELETED', service('a', '')));
	expect(await toldCount(3)).toBe('b=127.96.0.2');
	expect(controlPlane.paths).toEqual(['/api/v1/services', '/api/v1/services?watch=1&resourceVersion=7']);
	watch.stop();
});

test('after a loss it lists again, with what went meanwhile gone', async () => {
	const { clock, controlPlane, watch, told, toldCount } = setUp();
	const events = stream();
	controlPlane.answer(list(service('a', '127.96.0.1'), service('b', '127.96.0.2')));
	controlPlane.answer(events.response);
	watch.start();
	await toldCount(1);
	events.end();
	while (clock.nextDueMs() === null) await new Promise((resolve) => setImmediate(resolve));
	expect(told).toHaveLength(1);
	controlPlane.answer(list(service('b', '127.96.0.2')));
	clock.advance(250);
	expect(await toldCount(2)).toBe('b=127.96.0.2');
	watch.stop();
});

test('while nobody answers it tries again with growing pauses, and what is known stays', async () => {
	const { clock, controlPlane, watch, told } = setUp();
	const pauses: number[] = [];
	watch.start();
	for (let attempt = 0; attempt < 10; attempt++) {
		controlPlane.answer(new Error('refused'));
		while (clock.nextDueMs() === null) await new Promise((resolve) => setImmediate(resolve));
		const pause = clock.nextDueMs()! - clock.nowMs();
		pauses.push(pause);
		clock.advance(pause);
	}
	expect(told).toEqual([]);
	expect(pauses[0]!).toBeLessThanOrEqual(250);
	expect(Math.max(...pauses)).toBeLessThanOrEqual(10_000);
	expect(pauses.at(-1)!).toBeGreaterThanOrEqual(5_000);
	watch.stop();
});
