import { describe, expect, test } from 'bun:test';
import { GRPC_STATUS_MAX, GRPC_STATUS_NAMES, GrpcStatus, grpcStatusOfHttp, parseGrpcStatus } from './status.ts';
import { decodeGrpcMessage, encodeGrpcMessage } from './status-message.ts';
import { formatGrpcTimeout, parseGrpcTimeoutMs } from './timeout.ts';

describe('gRPC status', () => {
	test('each code has a name', () => {
		expect(GRPC_STATUS_NAMES.length).toBe(GRPC_STATUS_MAX + 1);
		for (const [key, code] of Object.entries(GrpcStatus)) {
			expect(GRPC_STATUS_NAMES[code]!.replaceAll('_', '').toLowerCase()).toBe(key.toLowerCase());
		}
	});

	test('is read from digits only', () => {
		expect(['0', '16', '99', '014'].map(parseGrpcStatus)).toEqual([0, 16, 99, 14]);
		expect(['', '-1', '+1', ' 1', '1 ', '1.0', 'OK', '1234567890'].map(parseGrpcStatus)).toEqual(Array(8).fill(-1));
	});

	test('an HTTP status stands for one', () => {
		const statuses = [200, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504];
		expect(statuses.map(grpcStatusOfHttp)).toEqual([2, 13, 16, 7, 12, 2, 14, 2, 14, 14, 14]);
	});
});

describe('grpc-message', () => {
	test('goes there and back', () => {
		for (const text of ['', 'plain text', '100 % sure', 'Stra\u00dfe \u{1f600}\r\n\u0000', '%41']) {
			const encoded = encodeGrpcMessage(text);
			expect(encoded).toMatch(/^[\x20-\x7e]*$/);
			expect(decodeGrpcMessage(encoded)).toBe(text);
		}
		expect(encodeGrpcMessage('a%\u00df')).toBe('a%25%C3%9F');
	});

	test('what was not encoded well is read as far as it goes', () => {
		expect(decodeGrpcMessage('50% of %zz %4')).toBe('50% of %zz %4');
		expect(decodeGrpcMessage('%c3%9f')).toBe('\u00df');
		expect(decodeGrpcMessage('%ff!')).toBe('\ufffd!');
	});
});

describe('grpc-timeout', () => {
	test('is read in whole milliseconds, rounded up', () => {
		const texts = ['1H', '2M', '3S', '4m', '5000u', '1u', '0n', '1n', '99999999m'];
		expect(texts.map(parseGrpcTimeoutMs)).toEqual([3_600_000, 120_000, 3000, 4, 5, 1, 0, 1, 99_999_999]);
	});

	test('what is no timeout is none', () => {
		for (const text of ['', 'm', '1', '100000000m', '-1S', '+1S', '1.5S', '1s', '1 S', ' 1S']) {
			expect(parseGrpcTimeoutMs(text)).toBeNull();
		}
	});

	test('is written with at most eight digits', () => {
		expect(formatGrpcTimeout(1500.7)).toBe('1500m');
		expect(formatGrpcTimeout(99_999_999)).toBe('99999999m');
		expect(formatGrpcTimeout(100_000_999)).toBe('100000S');
		expect(formatGrpcTimeout(100_000_000_000)).toBe('1666666M');
		expect(formatGrpcTimeout(1e17)).toBe('99999999H');
		expect(formatGrpcTimeout(0)).toBe('0m');
	});
});
