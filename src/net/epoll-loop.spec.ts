import { ptr } from 'bun:ffi';
import { describe, expect, test } from 'bun:test';
import { closeSync, fstatSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { EpollLoop } from './epoll-loop.ts';
import { HandedSockets } from './handed-sockets.ts';
import type { Address } from './network.ts';
import { IPPROTO_TCP, TCP_NODELAY } from './socket-calls.ts';
import { adoptSocket } from './socket-handlers.ts';
import { closeDescriptor } from './socket-passing.ts';
import { SystemNetwork } from './system-network.ts';
import { Recorder } from './testing-recorder.ts';
import { TimerWheel } from './timer-wheel.ts';

const loopback: Address = { kind: 'ip', host: '127.0.0.1', port: 0 };
const loop = EpollLoop.shared();
const REST = 32 * 1024;
const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));

async function pair(network: SystemNetwork): Promise<{ near: Recorder; far: Recorder; close(): void }> {
	const far = new Recorder();
	const accepted = Promise.withResolvers<void>();
	const listener = network.listen({ address: loopback }, (connection) => {
		far.attach(connection);
		accepted.resolve();
	});
	const near = new Recorder();
	near.connection = network.connect({ address: listener.address }, near);
	await Promise.all([near.until(() => near.events.includes('connect')), accepted.promise]);
	return { near, far, close: () => listener.close() };
}

describe.skipIf(loop === null)('the event loop of our own', () => {
	const network = new SystemNetwork({ loop });

	test('what Bun does by itself goes on beside it', async () => {
		const { near, close } = await pair(network);
		// Long enough for the loop to wait as long as it ever does.
		await Bun.sleep(300);
		const order: string[] = [];
		setImmediate(() => order.push('immediate'));
		await new Promise<void>((resolve) =>
			setTimeout(() => {
				order.push('timeout');
				// An immediate that a timer sets is not left waiting.
				setImmediate(() => {
					order.push('its immediate');
					setImmediate(resolve);
				});
			}, 20),
		);
		closeSync(openSync('/dev/null', 'r'));
		expect(await Bun.file('/proc/self/comm').text()).not.toBe('');
		const child = Bun.spawn(['true']);
		expect(await child.exited).toBe(0);
		expect(order).toEqual(['immediate', 'timeout', 'its immediate']);
		near.connection!.reset();
		close();
	});

	test('timers of its clock ring in order, and keep the loop going without any socket', async () => {
		const clock = new TimerWheel(loop!.timeSource());
		const rung: number[] = [];
		const startedMs = performance.now();
		await new Promise<void>((resolve) => {
			clock.after(80, () => {
				rung.push(80);
				resolve();
			});
			clock.after(30, () => rung.push(30));
			clock.after(50, () => rung.push(50)).cancel();
		});
		expect(rung).toEqual([30, 80]);
		expect(performance.now() - startedMs).toBeGreaterThanOrEqual(79);
	});

	test('two clocks ring each by itself', async () => {
		const one = new TimerWheel(loop!.timeSource());
		const other = new TimerWheel(loop!.timeSource());
		await Promise.all([
			new Promise<void>((resolve) => one.after(20, resolve)),
			new Promise<void>((resolve) => other.after(40, resolve)),
		]);
	});

	test('a descriptor that is used again does not get the events of the socket that had it', async () => {
		const { near, far, close } = await pair(network);
		const { near: other, far: otherFar, close: closeOther } = await pair(network);
		// Both are readable in the same turn; the first that is read closes the other and takes its descriptor.
		const successors: Recorder[] = [];
		const takePlace = (closed: Recorder) => () => {
			if (successors.length > 0) return;
			closed.connection!.reset();
			const successor = new Recorder();
			successor.connection = network.connect({ address: { kind: 'ip', host: '127.0.0.1', port: 1 } }, successor);
			successors.push(successor);
		};
		near.onBytes = takePlace(other);
		other.onBytes = takePlace(near);
		far.connection!.write(Buffer.from('for the one'));
		otherFar.connection!.write(Buffer.from('for the other'));
		await near.until(() => successors.length > 0 || near.isClosed);
		await successors[0]!.closed();
		expect(successors[0]!.events).toEqual(['close']);
		expect(successors[0]!.receivedBytes).toBe(0);
		near.connection!.reset();
		other.connection!.reset();
		close();
		closeOther();
	});

	test('a paused connection whose both directions are over costs nothing, and gives the rest when it goes on', async () => {
		const { near, far, close } = await pair(network);
		near.connection!.pause();
		near.connection!.write(Buffer.from('last words'));
		near.connection!.end();
		await far.ended();
		// No more than the kernel takes while nobody reads.
		far.connection!.write(new Uint8Array(REST));
		far.connection!.end();
		const usedMs = () => process.cpuUsage().user + process.cpuUsage().system;
		await far.until(() => far.isClosed);
		const before = usedMs();
		await Bun.sleep(300);
		// Were it woken again and again, it would have used all of the time.
		expect(usedMs() - before).toBeLessThan(200_000);
		near.connection!.resume();
		await near.closed();
		expect(near.receivedBytes).toBe(REST);
		expect(near.error).toBeNull();
		close();
	});

	test('a reset is heard of while nobody reads', async () => {
		const { near, far, close } = await pair(network);
		near.connection!.pause();
		far.connection!.reset();
		await near.closed();
		expect(near.error?.code).toBe('connection_reset');
		close();
	});

	test('what was gathered and what is too much to gather arrive in order, whatever the kernel takes at once', async () => {
		const { near, far, close } = await pair(network);
		far.connection!.pause();
		const expected: Uint8Array[] = [];
		for (let piece = 0; piece < 40; piece++) {
			const head = Buffer.from(`head ${piece};`);
			const body = new Uint8Array(100_000).fill(piece);
			expected.push(head, body);
			near.connection!.write(head);
			near.connection!.write(body);
		}
		near.connection!.end();
		await Bun.sleep(0);
		far.connection!.resume();
		await far.ended();
		expect(Buffer.concat(far.chunks).equals(Buffer.concat(expected))).toBe(true);
		far.connection!.end();
		close();
	});

	test('reads that are spoilt when they are over spoil nothing that was copied', async () => {
		loop!.spoilsReads = true;
		try {
			const { near, far, close } = await pair(network);
			let kept: Uint8Array | null = null;
			far.onBytes = (_connection, bytes) => {
				kept = bytes;
			};
			near.connection!.write(Buffer.from('read me'));
			await far.received('read me');
			await new Promise(setImmediate);
			expect(kept!).toEqual(new Uint8Array(7).fill(0xa5));
			near.connection!.reset();
			close();
		} finally {
			loop!.spoilsReads = false;
		}
	});

	test('a connection that is given up while it is being made leaves no socket', async () => {
		const before = openSockets();
		const listener = network.listen({ address: loopback }, (connection) => new Recorder().attach(connection));
		for (let count = 0; count < 30; count++) {
			network.connect({ address: listener.address }, new Recorder()).reset();
		}
		listener.close();
		expect(openSockets()).toBe(before);
	});

	test('a reset that a write comes upon is not taken for an end', async () => {
		const { near, far, close } = await pair(network);
		near.connection!.write(Buffer.from('into the void'));
		far.connection!.reset();
		await near.closed();
		expect(near.events).toEqual(['connect', 'close']);
		expect(near.error?.code).toBe('connection_reset');
		close();
	});

	test('what came before the reset that a write comes upon is given out', async () => {
		const { near, far, close } = await pair(network);
		// So much leaves at once.
		far.connection!.write(new Uint8Array(20_000));
		far.connection!.reset();
		near.connection!.write(new Uint8Array(20_000));
		await near.closed();
		expect(near.receivedBytes).toBe(20_000);
		expect(near.events).toEqual(['connect', 'data', 'close']);
		expect(near.error?.code).toBe('connection_reset');
		close();
	});

	test('a connection on which a write failed is not closed in order', async () => {
		const { near, far, close } = await pair(network);
		far.connection!.end();
		await near.ended();
		// The peer is gone altogether: the first write has it say so, the second comes upon that.
		far.connection!.reset();
		near.connection!.write(new Uint8Array(20_000));
		near.connection!.write(Buffer.from('lost'));
		near.connection!.end();
		await near.closed();
		expect(near.error?.code).toBe('connection_reset');
		close();
	});

	test('a paused connection that cannot be watched again fails', async () => {
		const { near, far, close } = await pair(network);
		near.connection!.pause();
		near.connection!.end();
		await far.ended();
		far.connection!.end();
		await far.closed();
		// So that there is a turn in which the kernel says that both directions are over.
		(await pair(network)).close();
		const { calls } = loop!;
		const { epoll_ctl: control } = calls;
		calls.epoll_ctl = (() => -1) as unknown as typeof control;
		try {
			near.connection!.resume();
		} finally {
			calls.epoll_ctl = control;
		}
		await near.closed();
		expect(near.error?.code).toBe('connection_reset');
		close();
	});

	test('a descriptor that Bun does not take is closed, once', async () => {
		// One that no event loop can watch.
		const fd = openSync('/dev/null', 'r');
		const failed = Promise.withResolvers<void>();
		let count = 0;
		adoptSocket(fd, {
			adopted: () => {},
			failed: () => {
				count++;
				failed.resolve();
			},
		});
		await failed.promise;
		expect(() => fstatSync(fd)).toThrow('EBADF');
		const successors = Array.from({ length: 8 }, () => openSync('/dev/null', 'r'));
		await Bun.sleep(0);
		for (const successor of successors) closeSync(successor);
		expect(count).toBeGreaterThanOrEqual(1);
	});

	test('of handed sockets of which one cannot be listened on, none is left', () => {
		const group = network.makeSockets({ address: loopback }, 1);
		const before = openSockets();
		const handed = new HandedSockets();
		const bad = openSync('/dev/null', 'r');
		handed.add({ asked: group.bound, bound: group.bound, fds: [...group.fds, bad] });
		const receiver = new SystemNetwork({ loop, handed, handedOnly: true });
		expect(() => receiver.listen({ address: group.bound }, () => {})).toThrow(
			expect.objectContaining({ code: 'permission_denied' }),
		);
		expect(openSockets()).toBe(before - 1);
		expect(() => fstatSync(bad)).toThrow('EBADF');
		network.listen({ address: group.bound }, () => {}).close();
	});

	test('who connects before anybody accepts has no delay of small writes either', async () => {
		const group = network.makeSockets({ address: loopback }, 2);
		for (const fd of group.fds) expect(hasNoDelay(fd)).toBe(true);
		for (const fd of group.fds) closeDescriptor(fd);
	});

	test('a connection that cannot be judged is not admitted, and leaves no socket', async () => {
		const before = openSockets();
		const caught: unknown[] = [];
		const failing = new SystemNetwork({ loop, onCaught: (error) => caught.push(error) });
		const admit = () => {
			throw new Error('a bug in a test');
		};
		const listener = failing.listen({ address: loopback, admit }, () => {});
		const near = new Recorder();
		near.connection = network.connect({ address: listener.address }, near);
		await near.ended();
		near.connection.reset();
		listener.close();
		expect(openSockets()).toBeLessThanOrEqual(before);
		expect(caught).toHaveLength(1);
	});

	test.skipIf(!hasIpv6).each(['0:0:0:0:0:0:0:1', '::ffff:127.0.0.1'])(
		'connections accepted on %s have the address as it is written by all',
		async (host) => {
			const expected: string[] = [];
			for (const one of [network, new SystemNetwork()]) {
				const far = new Recorder();
				const listener = one.listen({ address: { kind: 'ip', host, port: 0 } }, (connection) => far.attach(connection));
				const near = new Recorder();
				near.connection = one.connect({ address: listener.address }, near);
				near.connection.write(Buffer.from('hello'));
				await far.received('hello');
				const { local } = far.connection!;
				expected.push(local.kind === 'ip' ? local.host : '');
				near.connection.reset();
				listener.close();
			}
			expect(expected[0]).toBe(expected[1]!);
		},
	);

	test('without a descriptor left it accepts again when there is one', async () => {
		const script = join(import.meta.dir, 'testing-descriptor-limit.ts');
		const child = Bun.spawn(['sh', '-c', `ulimit -n 48; exec "${process.execPath}" "${script}"`], { stderr: 'pipe' });
		const text = await new Response(child.stderr).text();
		expect(await child.exited).toBe(0);
		expect(text).toContain('no connection can be accepted for a moment');
	});
});

function hasNoDelay(fd: number): boolean {
	const value = new Int32Array(1);
	loop!.calls.getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, ptr(value), ptr(new Int32Array([4])));
	return value[0] !== 0;
}

function openSockets(): number {
	return readdirSync('/proc/self/fd').filter((name) => {
		try {
			return readlinkSync(`/proc/self/fd/${name}`).startsWith('socket:');
		} catch {
			return false;
		}
	}).length;
}
