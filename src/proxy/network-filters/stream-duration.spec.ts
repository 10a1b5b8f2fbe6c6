import { expect, test } from 'bun:test';
import { getHeader } from '../../http/headers.ts';
import type { ForwardAction, GrpcTimeout } from '../route/route.ts';
import { streamDurationMs } from './stream-duration.ts';

interface Case {
	readonly grpc?: GrpcTimeout;
	readonly routeMs?: number;
	readonly ownMs?: number;
	readonly said?: string;
	readonly type?: string;
}

/** The limit, and what the upstream is told. */
function decide({ grpc, routeMs, ownMs = 0, said, type = 'application/grpc' }: Case): (number | string | null)[] {
	const action = { grpcTimeout: grpc ?? null, maxStreamDurationMs: routeMs ?? null } as ForwardAction;
	const headers = ['content-type', type];
	if (said !== undefined) headers.push('grpc-timeout', said);
	const head = { method: 'POST', scheme: 'http', authority: 'x', path: '/', headers, upgrade: '' };
	const limit = streamDurationMs(action, head, ownMs);
	return [limit, getHeader(headers, 'grpc-timeout') ?? null];
}

const unbounded: GrpcTimeout = { as: 'duration', maxMs: 0, offsetMs: 0 };

test('without a bound for it, grpc-timeout passes and has no effect', () => {
	expect(decide({ said: '3S' })).toEqual([null, '3S']);
	expect(decide({ said: '3S', ownMs: 9 })).toEqual([9, '3S']);
	expect(decide({ said: '3S', grpc: { as: 'timeout', maxMs: 1, offsetMs: 0 } })).toEqual([null, '3S']);
});

test('it stands in for the duration, within its bound and less the offset', () => {
	expect(decide({ said: '3S', grpc: unbounded, routeMs: 500 })).toEqual([3000, '3000m']);
	expect(decide({ said: '3S', grpc: { ...unbounded, maxMs: 1000 } })).toEqual([1000, '1000m']);
	expect(decide({ said: '3S', grpc: { ...unbounded, offsetMs: 100 } })).toEqual([2900, '2900m']);
	expect(decide({ said: '3S', grpc: { ...unbounded, offsetMs: 5000 } })).toEqual([0, '0m']);
});

test('without it, or with nonsense, the duration of the route or of the connection manager holds', () => {
	for (const said of [undefined, 'soon']) {
		expect(decide({ said, grpc: unbounded, routeMs: 500, ownMs: 9 })).toEqual([500, '500m']);
		expect(decide({ said, grpc: unbounded, ownMs: 9 })).toEqual([9, '9m']);
	}
	expect(decide({ grpc: unbounded })).toEqual([null, null]);
});

test('a route that lifts the limit of the connection manager takes the header away', () => {
	expect(decide({ said: '3S', grpc: { ...unbounded, as: 'none' }, routeMs: 0, ownMs: 9 })).toEqual([null, null]);
	expect(decide({ said: '3S', grpc: { ...unbounded, as: 'none' }, routeMs: 0 })).toEqual([null, '3S']);
});

test('what is no gRPC is not told', () => {
	expect(decide({ said: '3S', grpc: unbounded, type: 'text/plain' })).toEqual([3000, '3S']);
});
