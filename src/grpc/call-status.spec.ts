import { describe, expect, test } from 'bun:test';
import type { HeaderList } from '../http/headers.ts';
import { Http2Error } from '../http2/errors.ts';
import { ErrorCode } from '../http2/frames.ts';
import { formatStatus, statusOfReset, statusOfTrailers } from './call-status.ts';
import { addBinaryMetadata, addMetadata, binaryMetadata } from './metadata.ts';
import { GrpcStatus } from './status.ts';

describe('status', () => {
	test('of trailers, with the metadata that came along', () => {
		const trailers = [
			'grpc-status',
			'5',
			'grpc-message',
			'no %22such%22 thing',
			'x-a',
			'b',
			'grpc-encoding',
			'identity',
		];
		const status = statusOfTrailers(trailers)!;
		expect(status).toEqual({
			code: GrpcStatus.notFound,
			message: 'no "such" thing',
			metadata: ['x-a', 'b'],
			cause: null,
		});
		expect(formatStatus(status)).toBe('NOT_FOUND: no "such" thing');
		expect(statusOfTrailers(['x', 'y'])).toBeNull();
	});

	test('a code that is none is UNKNOWN', () => {
		for (const text of ['17', '-1', '', 'OK', '1.5', '9999']) {
			expect(statusOfTrailers(['grpc-status', text])).toMatchObject({ code: GrpcStatus.unknown });
		}
	});

	test('of resets', () => {
		const reset = (code: number) => new Http2Error('http2_stream_reset', 'reset', 'upstream', false, code);
		const codes = [ErrorCode.noError, ErrorCode.cancel, ErrorCode.enhanceYourCalm, ErrorCode.inadequateSecurity, 99];
		expect(codes.map((code) => statusOfReset('cancelled', reset(code)).code)).toEqual([13, 1, 8, 7, 13]);
		expect(statusOfReset('refused', reset(ErrorCode.refusedStream)).code).toBe(GrpcStatus.unavailable);
		expect(statusOfReset('connection_lost', null).code).toBe(GrpcStatus.unavailable);
		expect(statusOfReset('protocol_error', null).code).toBe(GrpcStatus.internal);
	});
});

describe('metadata', () => {
	test('bytes go as base64 without padding, and come back, also several in one field', () => {
		const list: HeaderList = [];
		addBinaryMetadata(list, 'a-bin', Uint8Array.from([0, 255, 1, 2]));
		expect(list).toEqual(['a-bin', 'AP8BAg']);
		list.push('a-bin', 'AQ==, Ag,!');
		expect(binaryMetadata(list, 'a-bin').map((bytes) => [...bytes])).toEqual([[0, 255, 1, 2], [1], [2]]);
	});

	test('what cannot be sent is refused, without telling the value', () => {
		const list: HeaderList = [];
		for (const [name, value] of [
			['Upper', 'x'],
			['grpc-timeout', '1S'],
			['te', 'x'],
			['a-bin', 'x'],
			['a b', 'x'],
			['', 'x'],
			['a', 'secret\r\nb: c'],
			['a', 'é'],
		] as const) {
			expect(() => addMetadata(list, name, value)).toThrow(expect.objectContaining({ code: 'grpc_bad_metadata' }));
			expect(() => addMetadata(list, name, value)).not.toThrow('secret');
		}
		expect(list).toEqual([]);
	});
});
