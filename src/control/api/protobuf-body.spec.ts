import { describe, expect, test } from 'bun:test';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { SeededRandom } from '../../std/random.ts';
import { ApiError } from './api-error.ts';
import { decodeProtobufBody } from './protobuf-body.ts';

type Fields = readonly (readonly [number, string | number | Uint8Array])[];

function message(fields: Fields): Uint8Array<ArrayBuffer> {
	const writer = new BinaryWriter();
	for (const [number, value] of fields) {
		if (typeof value === 'number') writer.tag(number, WireType.Varint).int64(value);
		else if (typeof value === 'string') writer.tag(number, WireType.LengthDelimited).string(value);
		else writer.tag(number, WireType.LengthDelimited).bytes(value);
	}
	return new Uint8Array(writer.finish());
}

function body(apiVersion: string, kind: string, fields: Fields): Uint8Array {
	const type = message([
		[1, apiVersion],
		[2, kind],
	]);
	return Uint8Array.of(
		0x6b,
		0x38,
		0x73,
		0,
		...message([
			[1, type],
			[2, message(fields)],
			[3, ''],
			[4, ''],
		]),
	);
}

function codeOf(bytes: Uint8Array): number {
	try {
		decodeProtobufBody(bytes);
	} catch (error) {
		if (error instanceof ApiError) return error.code;
		throw error;
	}
	return 200;
}

const META = message([
	[1, 'a'],
	[2, ''],
	[3, 'shop'],
	[7, 0],
	[8, message([])],
	[
		11,
		message([
			[1, 'app'],
			[2, 'x'],
		]),
	],
]);

describe('a protobuf body', () => {
	test('becomes the JSON object, without what is not set', () => {
		const port = message([
			[1, ''],
			[2, 'TCP'],
			[3, 80],
			[
				4,
				message([
					[1, 1],
					[2, 0],
					[3, 'http'],
				]),
			],
			[5, 0],
		]);
		const numbered = message([
			[3, 81],
			[
				4,
				message([
					[1, 0],
					[2, 8081],
					[3, ''],
				]),
			],
		]);
		const spec = message([
			[1, port],
			[1, numbered],
			[
				2,
				message([
					[1, 'app'],
					[2, 'x'],
				]),
			],
			[3, ''],
			[4, 'ClusterIP'],
			[12, 0],
		]);
		const status = message([[1, message([])]]);
		expect(
			decodeProtobufBody(
				body('v1', 'Service', [
					[1, META],
					[2, spec],
					[3, status],
				]),
			),
		).toEqual({
			apiVersion: 'v1',
			kind: 'Service',
			metadata: { name: 'a', namespace: 'shop', labels: { app: 'x' } },
			spec: {
				ports: [
					{ protocol: 'TCP', port: 80, targetPort: 'http' },
					{ port: 81, targetPort: 8081 },
				],
				selector: { app: 'x' },
				type: 'ClusterIP',
			},
		});
	});

	test('with a field or kind that weft does not take is refused, never cut', () => {
		expect(
			codeOf(
				body('v1', 'Service', [
					[1, META],
					[2, message([[12, 30_000]])],
				]),
			),
		).toBe(415);
		expect(
			codeOf(
				body('v1', 'Service', [
					[1, META],
					[2, message([[8, '1.2.3.4']])],
				]),
			),
		).toBe(415);
		expect(codeOf(body('v1', 'Pod', [[1, META]]))).toBe(415);
		expect(codeOf(new TextEncoder().encode('{}'))).toBe(400);
	});

	test('of random bytes is refused or read, and nothing else', () => {
		const random = new SeededRandom(7);
		const valid = body('v1', 'Namespace', [
			[1, META],
			[2, message([])],
			[3, message([[1, '']])],
		]);
		for (let round = 0; round < 2000; round++) {
			const bytes = valid.slice(0, 4 + random.below(valid.length));
			for (let flips = random.below(4); flips > 0; flips--) bytes[4 + random.below(bytes.length)] = random.below(256);
			expect([200, 400, 415]).toContain(codeOf(bytes));
		}
	});
});
