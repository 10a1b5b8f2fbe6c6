import { describe, expect, test } from 'bun:test';
import type { RequestHead } from '../../http/stream.ts';
import { SeededRandom } from '../../std/random.ts';
import { parseRetryGrpcOn, parseRetryOn, type RetryPolicy } from '../route/retry-policy.ts';
import type { Cluster } from '../upstream.ts';
import { RetryState } from './retry-state.ts';

function policy(retryOn: string, more: Partial<RetryPolicy> = {}): RetryPolicy {
	return {
		retryOn: parseRetryOn(retryOn),
		retriesMax: 2,
		perTryTimeoutMs: 0,
		retriableStatusCodes: [429],
		retriableHeaders: [{ name: 'x-weft-retry', test: (value) => value === 'safe' }],
		retriableRequestHeaders: [],
		avoidPreviousHosts: false,
		hostSelectionAttemptsMax: 1,
		backoffBaseMs: 25,
		backoffMaxMs: 100,
		...more,
	};
}

function cluster(budget = 100): Cluster & { taken: number } {
	const state = { taken: 0, left: budget };
	return {
		get taken() {
			return state.taken;
		},
		tryTakeRetry: () => {
			if (state.left === 0) return false;
			state.left -= 1;
			state.taken += 1;
			return true;
		},
		releaseRetry: () => {
			state.left += 1;
			state.taken -= 1;
		},
	} as unknown as Cluster & { taken: number };
}

function head(method = 'GET', headers: string[] = []): RequestHead {
	return { method, scheme: 'http', authority: 'x', path: '/', headers, upgrade: '' };
}

function state(retryOn: string, method = 'GET', headers: string[] = []): RetryState {
	return RetryState.for(policy(retryOn), head(method, headers), cluster())!;
}

describe('RetryState', () => {
	test('nothing asks for retries: there is none', () => {
		expect(RetryState.for(null, head(), cluster())).toBeNull();
		expect(RetryState.for(policy(''), head(), cluster())).toBeNull();
	});

	test('a gRPC condition holds for its status in the head, alone or beside others', () => {
		const grpc = (on: string, ...headers: string[]) =>
			RetryState.for(
				policy('', { retryOn: parseRetryGrpcOn(on) | parseRetryOn(on) }),
				head('POST'),
				cluster(),
			)!.afterResponse(200, headers);
		const codes = { cancelled: 1, 'deadline-exceeded': 4, 'resource-exhausted': 8, internal: 13, unavailable: 14 };
		for (const [name, code] of Object.entries(codes)) {
			expect(grpc(name, 'grpc-status', String(code))).toBe('retry');
			expect(grpc(`5xx,${name}`, 'grpc-status', String(code))).toBe('retry');
			expect(grpc(name, 'grpc-status', String(code === 1 ? 14 : 1))).toBe('no');
			for (const other of ['0', '3', '', 'x', '99', `${code}x`]) expect(grpc(name, 'grpc-status', other)).toBe('no');
			expect(grpc(name)).toBe('no');
		}
		expect(grpc('5xx', 'grpc-status', '14')).toBe('no');
	});

	test('a gRPC condition may be asked for by its own header only', () => {
		const unavailable = ['grpc-status', '14'];
		const by = (name: string) => RetryState.for(null, head('POST', [name, 'unavailable']), cluster());
		expect(by('x-envoy-retry-grpc-on')!.afterResponse(200, unavailable)).toBe('retry');
		expect(by('x-envoy-retry-on')).toBeNull();
	});

	test('each condition holds for what it names', () => {
		expect(state('connect-failure').afterFailure('connect_failure', false)).toBe('retry');
		expect(state('connect-failure').afterFailure('connection_lost', true)).toBe('no');
		expect(state('refused-stream').afterFailure('refused', true)).toBe('retry');
		expect(state('refused-stream').afterFailure('cancelled', true)).toBe('no');
		expect(state('reset').afterFailure('connection_lost', true)).toBe('retry');
		expect(state('reset-before-request').afterFailure('connection_lost', false)).toBe('retry');
		expect(state('reset-before-request').afterFailure('connection_lost', true)).toBe('no');
		expect(state('5xx').afterFailure('timeout', true)).toBe('retry');
		expect(state('5xx').afterResponse(500, [])).toBe('retry');
		expect(state('gateway-error').afterResponse(500, [])).toBe('no');
		expect(state('gateway-error').afterResponse(503, [])).toBe('retry');
		expect(state('retriable-4xx').afterResponse(409, [])).toBe('retry');
		expect(state('retriable-4xx').afterResponse(404, [])).toBe('no');
		expect(state('retriable-status-codes').afterResponse(429, [])).toBe('retry');
		expect(state('retriable-headers').afterResponse(503, ['x-weft-retry', 'safe'])).toBe('retry');
		expect(state('retriable-headers').afterResponse(503, [])).toBe('no');
	});

	test('reset-idempotent spares what may not be repeated', () => {
		expect(state('reset-idempotent', 'PUT').afterFailure('connection_lost', true)).toBe('retry');
		expect(state('reset-idempotent', 'POST').afterFailure('connection_lost', true)).toBe('no');
		expect(state('reset-idempotent', 'POST').afterFailure('connect_failure', false)).toBe('retry');
		expect(state('reset-idempotent', 'POST').afterFailure('refused', true)).toBe('retry');
	});

	test('a circuit breaker that said no is not asked again', () => {
		expect(state('reset,5xx,connect-failure').afterFailure('overflow', false)).toBe('no');
	});

	test('attempts run out', () => {
		const retries = state('5xx');
		expect([1, 2, 3].map(() => retries.afterResponse(500, []))).toEqual(['retry', 'retry', 'exhausted']);
	});

	test('headers of the request add conditions and set the number', () => {
		const retries = state('reset', 'GET', ['x-envoy-retry-on', '5xx', 'x-envoy-max-retries', '1']);
		expect(retries.afterResponse(500, [])).toBe('retry');
		expect(retries.afterResponse(500, [])).toBe('exhausted');
		expect(RetryState.for(null, head('GET', ['x-envoy-retry-on', '5xx']), cluster())).not.toBeNull();
	});

	test('the budget of the cluster is taken, and given back', () => {
		const shared = cluster(1);
		const first = RetryState.for(policy('5xx'), head(), shared)!;
		const second = RetryState.for(policy('5xx'), head(), shared)!;
		expect(first.afterResponse(500, [])).toBe('retry');
		expect(second.afterResponse(500, [])).toBe('overflow');
		first.release();
		first.release();
		expect(shared.taken).toBe(0);
		expect(second.afterResponse(500, [])).toBe('retry');
	});

	test('pauses grow, jittered, to a bound', () => {
		const random = new SeededRandom(3);
		const retries = RetryState.for(policy('5xx', { retriesMax: 9 }), head(), cluster())!;
		const ceilings = [25, 50, 100, 100, 100];
		for (const ceiling of ceilings) {
			retries.afterResponse(500, []);
			const pauses = Array.from({ length: 200 }, () => retries.backoffMs(random));
			expect(Math.max(...pauses)).toBeLessThanOrEqual(ceiling);
			expect(Math.max(...pauses)).toBeGreaterThan(ceiling * 0.8);
		}
	});
});
