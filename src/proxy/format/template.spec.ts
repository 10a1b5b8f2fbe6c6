import { describe, expect, test } from 'bun:test';
import type { Connection } from '../../net/network.ts';
import { ResponseFlag, StreamInfo } from '../stream-info.ts';
import { Template } from './template.ts';

function stream(): StreamInfo {
	const connection = {
		id: 7,
		local: { kind: 'ip', host: '127.0.0.1', port: 80 },
		remote: { kind: 'ip', host: '10.0.0.9', port: 4711 },
		directRemote: { kind: 'ip', host: '10.0.0.1', port: 4000 },
		tls: null,
	} as unknown as Connection;
	const info = new StreamInfo(connection, 'listener', 1000, Date.UTC(2026, 0, 2, 3, 4, 5, 6));
	info.requestHead = {
		method: 'GET',
		scheme: 'http',
		authority: 'shop',
		path: '/a?b',
		headers: ['x-one', '1'],
		upgrade: '',
	};
	info.responseHead = { status: 503, headers: ['x-two', '2'] };
	info.status = 503;
	info.responseFlags = ResponseFlag.upstreamConnectionFailure | ResponseFlag.upstreamRetryLimitExceeded;
	info.endMs = 1012.6;
	return info;
}

function render(text: string): string {
	return Template.parse(text, 'o', 'f').render(stream(), '-');
}

describe('Template', () => {
	test('renders operators between text', () => {
		expect(render('[%REQ(:METHOD)% %REQ(:PATH)%] %RESPONSE_CODE% %RESPONSE_FLAGS% %DURATION%')).toBe(
			'[GET /a?b] 503 UF,URX 13',
		);
		expect(render('%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_PORT% %CONNECTION_ID%')).toBe('10.0.0.9:4711 80 7');
	});

	test('the other end of the socket is told from whom it speaks for (PROXY protocol)', () => {
		const direct = '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_PORT%';
		expect(render(`%DOWNSTREAM_REMOTE_PORT% ${direct}`)).toBe('4711 10.0.0.1:4000 4000');
	});

	test('takes the second header when the first is absent, and cuts to a length', () => {
		expect(render('%REQ(X-NONE?X-ONE)% %RESP(X-TWO)% %REQ(X-NONE)% %REQ(:AUTHORITY):2%')).toBe('1 2 - sh');
	});

	test('the start has a form', () => {
		expect(render('%START_TIME%')).toBe('2026-01-02T03:04:05.006Z');
		expect(render('%START_TIME(%Y/%m/%d %H:%M:%S.%3f)%')).toBe('2026/01/02 03:04:05.006');
	});

	test('the gRPC status is that of the trailers, of the head, or what the HTTP status means', () => {
		const forms = [
			'%GRPC_STATUS%',
			'%GRPC_STATUS(CAMEL_STRING)%',
			'%GRPC_STATUS(SNAKE_STRING)%',
			'%GRPC_STATUS(NUMBER)%',
		];
		const templates = [...forms, '%GRPC_STATUS_NUMBER%'].map((text) => Template.parse(text, 'o', 'f'));
		const info = stream();
		const values = () => templates.map((template) => template.value(info));
		expect(values()).toEqual([null, null, null, null, null]);
		info.requestHead!.headers.push('content-type', 'application/grpc+proto');
		expect(values()).toEqual(['Unavailable', 'Unavailable', 'UNAVAILABLE', 14, 14]);
		info.responseHead!.headers.push('grpc-status', '1');
		expect(values()).toEqual(['Canceled', 'Canceled', 'CANCELLED', 1, 1]);
		info.responseTrailers = ['grpc-status', '9'];
		expect(values()).toEqual(['FailedPrecondition', 'FailedPrecondition', 'FAILED_PRECONDITION', 9, 9]);
		info.responseTrailers = ['grpc-status', '99'];
		expect(values()).toEqual(['99', '99', '99', 99, 99]);
		info.responseTrailers = ['grpc-status', 'x'];
		expect(values()).toEqual(['-1', '-1', '-1', -1, -1]);
	});

	test('two percent signs are one', () => {
		expect(render('100%% %PROTOCOL%')).toBe('100% -');
		expect(Template.parse('100%%', 'o', 'f').constant).toBe('100%');
	});

	test('an operator that it does not know is an error', () => {
		for (const text of [
			'%NOPE%',
			'%REQ%',
			'%REQ()%',
			'%RESPONSE_CODE(x)%',
			'50%',
			'%START_TIME(%Q)%',
			'%GRPC_STATUS(X)%',
		]) {
			expect(() => Template.parse(text, 'o', 'f')).toThrow('command operator');
		}
	});

	test('a lone operator keeps its type', () => {
		expect(Template.parse('%RESPONSE_CODE%', 'o', 'f').value(stream())).toBe(503);
		expect(Template.parse('%PROTOCOL%', 'o', 'f').value(stream())).toBeNull();
	});
});
