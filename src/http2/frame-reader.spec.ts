import { expect, test } from 'bun:test';
import { FrameReader, type FrameSink } from './frame-reader.ts';
import { Flag, FRAME_HEADER_BYTES, FrameType } from './frames.ts';
import { frame } from './testing.ts';

/** What is heard, one word each: `1<5` a DATA frame of stream 1 and five bytes, `"hello".` its last data, `#6` another. */
class Heard implements FrameSink {
	readonly words: string[] = [];
	readingStopped = false;

	onDataFrame(streamId: number, flags: number, length: number): boolean {
		this.words.push(`${streamId}<${length}${(flags & Flag.endStream) === 0 ? '' : '!'}`);
		return true;
	}

	onDataPart(bytes: Uint8Array, last: boolean, padding: number): void {
		this.words.push(`"${Buffer.from(bytes).toString()}"${padding > 0 ? `+${padding}` : ''}${last ? '.' : ''}`);
	}

	onFrame(type: number): void {
		this.words.push(`#${type}`);
	}

	onFrameTooLarge(): void {
		this.words.push('too large');
	}

	onBadPadding(): void {
		this.words.push('bad padding');
	}
}

const data = (streamId: number, text: string, flags = 0) => frame(FrameType.data, flags, streamId, Buffer.from(text));

function heardOf(...frames: Uint8Array[]): string[] {
	const heard = new Heard();
	new FrameReader(heard).read(Buffer.concat(frames), 0);
	return heard.words;
}

test('of small DATA frames, those of one stream are heard as one', () => {
	expect(heardOf(data(1, 'a'), data(1, 'bc'), data(1, 'd'))).toEqual(['1<4', '"abcd".']);
	const long = 'long '.repeat(100);
	expect(heardOf(data(1, 'a'), data(3, 'x'), data(1, long), data(5, 'p'), data(3, 'y'), data(1, 'c'))).toEqual([
		...[`1<${long.length + 2}`, `"a${long}c".`],
		...['3<2', '"xy".'],
		...['5<1', '"p".'],
	]);
});

test('the end of a stream, and what follows it, another frame, or a cut is heard by itself', () => {
	expect(heardOf(data(1, 'a', Flag.endStream), data(1, 'b'))).toEqual(['1<1!', '"a".', '1<1', '"b".']);
	expect(heardOf(data(1, 'a'), data(3, 'x'), data(1, 'b', Flag.endStream), data(3, 'y'), data(1, 'c'))).toEqual([
		...['1<1', '"a".'],
		...['3<1', '"x".'],
		...['1<1!', '"b".'],
		...['3<1', '"y".'],
		...['1<1', '"c".'],
	]);
	expect(heardOf(data(1, 'a'), frame(FrameType.ping, 0, 0, new Uint8Array(8)), data(1, 'b'))).toEqual([
		...['1<1', '"a".'],
		'#6',
		...['1<1', '"b".'],
	]);
	expect(heardOf(data(1, 'a'), data(1, 'b'), data(1, 'cd').subarray(0, FRAME_HEADER_BYTES + 1))).toEqual([
		...['1<2', '"ab".'],
		...['1<2', '"c"'],
	]);
});

test('empty and padded DATA frames are heard each by itself, since they are counted', () => {
	expect(heardOf(data(1, ''), data(1, ''), data(1, 'a'), data(1, ''))).toEqual([
		...['1<0', '"".'],
		...['1<0', '"".'],
		...['1<1', '"a".'],
		...['1<0', '"".'],
	]);
	expect(heardOf(data(1, 'a'), data(1, '\x01b\x00', Flag.padded), data(1, 'c'))).toEqual([
		...['1<1', '"a".'],
		...['1<3', '""+2', '"b".'],
		...['1<1', '"c".'],
	]);
});

test('large DATA frames are not copied together', () => {
	const large = 'x'.repeat(2000);
	expect(heardOf(data(1, 'a'), data(1, large), data(1, 'b'))).toEqual([
		...['1<1', '"a".'],
		...['1<2000', `"${large}".`],
		...['1<1', '"b".'],
	]);
	// No more than a frame's worth.
	const many = Array.from({ length: 40 }, () => data(1, 'y'.repeat(1000)));
	const lengths = heardOf(...many).filter((word) => word.startsWith('1<'));
	expect(lengths).toEqual(['1<16000', '1<16000', '1<8000']);
});
