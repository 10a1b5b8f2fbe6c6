import { expect, test } from 'bun:test';
import type { CodecTransport } from '../http/codec.ts';
import { beginRead, endRead, FrameWriter } from './frame-writer.ts';
import { Flag, FRAME_BYTES_DEFAULT, FrameType } from './frames.ts';
import { parseFrames } from './testing.ts';

/** Of each frame that was written, its first byte of content. */
class Marks implements CodecTransport {
	readonly marks: number[] = [];
	readonly writer = new FrameWriter(this);
	onWrite: () => void = () => {};

	ping(mark: number): void {
		this.writer.ping(false, new Uint8Array(8).fill(mark), 0);
	}

	write(bytes: Uint8Array): boolean {
		this.onWrite();
		for (const { type, payload } of parseFrames(bytes)) this.marks.push(type === FrameType.ping ? payload[0]! : -1);
		return true;
	}

	pauseReading(): void {}
	resumeReading(): void {}
	close(): void {}
}

test('what several connections are given in one read goes to each in order', () => {
	const [a, b] = [new Marks(), new Marks()];
	beginRead();
	a.ping(1);
	a.ping(2);
	b.ping(3);
	a.ping(4);
	expect([a.marks, b.marks]).toEqual([[1, 2], [3]]);
	endRead();
	expect([a.marks, b.marks]).toEqual([[1, 2, 4], [3]]);
	a.ping(5);
	expect(a.marks).toEqual([1, 2, 4, 5]);
});

test('who writes to a third one because a transport found out that it is gone writes to nobody else', () => {
	const [gone, other, third] = [new Marks(), new Marks(), new Marks()];
	gone.onWrite = () => third.ping(9);
	beginRead();
	gone.ping(1);
	other.ping(2);
	other.ping(3);
	endRead();
	expect([other.marks, third.marks]).toEqual([[2, 3], [9]]);
});

test('small data of one stream is one frame, of several it is not', () => {
	const frames: string[] = [];
	const transport = new Marks();
	const { writer } = transport;
	transport.write = (bytes) => {
		for (const { streamId, flags, payload } of parseFrames(bytes)) {
			frames.push(`${streamId}:${Buffer.from(payload).toString()}${(flags & Flag.endStream) === 0 ? '' : '.'}`);
		}
		return true;
	};
	const data = (streamId: number, text: string, end = false) =>
		writer.data(streamId, Buffer.from(`(${text})`), 1, 1 + text.length, end);
	data(1, 'a');
	data(1, 'b');
	expect(frames).toEqual(['1:a', '1:b']);
	frames.length = 0;
	beginRead();
	data(1, 'a');
	data(1, 'b');
	data(3, 'c');
	data(1, 'd');
	writer.data(1, Buffer.from('e'), 0, 1, false);
	data(1, '', true);
	data(5, 'f', true);
	data(7, 'x'.repeat(FRAME_BYTES_DEFAULT - 1));
	data(7, 'gg');
	data(7, 'h');
	endRead();
	expect(frames).toEqual(['1:ab', '3:c', '1:de.', '5:f.', `7:${'x'.repeat(FRAME_BYTES_DEFAULT - 1)}`, '7:ggh']);
});
