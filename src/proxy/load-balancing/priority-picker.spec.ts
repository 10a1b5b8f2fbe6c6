// How picks spread over hosts, weights, priorities and health.

import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../../std/random.ts';
import type { Host } from '../upstream.ts';
import type { LoadBalancingPolicy } from './host-picker.ts';
import { type BalancedHost, type HostHealth, makePicker, type PickerOptions } from './priority-picker.ts';

const SEED = 7;

function host(name: string, weight = 1, health: HostHealth = 'healthy', activeRequests = 0): BalancedHost {
	return {
		address: { kind: 'pipe', path: name },
		addressText: name,
		hostname: '',
		weight,
		metadata: {},
		health,
		healthy: health !== 'unhealthy',
		activeRequests,
	};
}

function picker(priorities: readonly (readonly BalancedHost[])[], options: Partial<PickerOptions> = {}) {
	const all = {
		policy: { kind: 'round_robin' },
		panicThresholdPercent: 50,
		overprovisioningFactor: 140,
		...options,
	} as const;
	return makePicker(all, priorities, new SeededRandom(SEED));
}

function counts(from: ReturnType<typeof picker>, picks: number): Record<string, number> {
	const result: Record<string, number> = {};
	for (let i = 0; i < picks; i++) {
		const name = from.pick(null)?.addressText ?? 'none';
		result[name] = (result[name] ?? 0) + 1;
	}
	return result;
}

const many = (prefix: string, count: number, health: HostHealth = 'healthy') =>
	Array.from({ length: count }, (_, i) => host(`${prefix}${i}`, 1, health));

describe('round robin', () => {
	test('gives each host the same, in turn', () => {
		expect(counts(picker([many('h', 3)]), 300)).toEqual({ h0: 100, h1: 100, h2: 100 });
	});

	test('starts at different places', () => {
		const random = new SeededRandom(SEED);
		const options = {
			policy: { kind: 'round_robin' },
			panicThresholdPercent: 50,
			overprovisioningFactor: 140,
		} as const;
		const firsts = new Set<string>();
		for (let i = 0; i < 50; i++) firsts.add(makePicker(options, [many('h', 4)], random).pick(null)!.addressText);
		expect(firsts.size).toBe(4);
	});

	test('follows weights exactly over a round, and evenly spread', () => {
		const weighted = picker([[host('a', 5), host('b', 1), host('c', 4)]]);
		expect(counts(weighted, 1000)).toEqual({ a: 500, b: 100, c: 400 });
		const sequence = Array.from({ length: 100 }, () => weighted.pick(null)!.addressText).join('');
		expect(sequence).not.toContain('aaaa');
	});
});

describe('least request', () => {
	const policy: LoadBalancingPolicy = { kind: 'least_request', choiceCount: 2, activeRequestBias: 1 };

	test('avoids a host with more requests under way', () => {
		const busy = host('busy', 1, 'healthy', 100);
		const result = counts(picker([[busy, ...many('h', 3)]], { policy }), 4000);
		// Picked only when drawn twice: 1 in 16.
		expect(result.busy).toBeGreaterThan(150);
		expect(result.busy).toBeLessThan(350);
	});

	test('with unequal weights, weighs by load', () => {
		const result = counts(picker([[host('a', 2, 'healthy', 1), host('b', 1, 'healthy', 0)]], { policy }), 1000);
		expect(result.a).toBe(500);
	});
});

test('random spreads evenly', () => {
	const result = counts(picker([many('h', 4)], { policy: { kind: 'random' } }), 4000);
	for (const name of ['h0', 'h1', 'h2', 'h3']) expect(Math.abs(result[name]! - 1000)).toBeLessThan(150);
});

describe('health and priorities', () => {
	test('unhealthy hosts are not picked while enough are healthy', () => {
		const result = counts(picker([[...many('up', 3), ...many('down', 1, 'unhealthy')]]), 300);
		expect(Object.keys(result).sort()).toEqual(['up0', 'up1', 'up2']);
	});

	test('priority 0 takes all until 72 % of it are healthy, then the next shares', () => {
		const next = many('next', 5);
		const enough = [[...many('up', 8), ...many('down', 2, 'unhealthy')], next];
		expect(Object.keys(counts(picker(enough), 500)).some((name) => name.startsWith('next'))).toBe(false);
		// 50 % healthy × 1.4 = 70 of 100.
		const half = [[...many('up', 5), ...many('down', 5, 'unhealthy')], next];
		const result = counts(picker(half), 5000);
		const spilled = Object.entries(result)
			.filter(([name]) => name.startsWith('next'))
			.reduce((sum, [, count]) => sum + count, 0);
		expect(spilled / 5000).toBeGreaterThan(0.27);
		expect(spilled / 5000).toBeLessThan(0.33);
		expect(Object.keys(result).some((name) => name.startsWith('down'))).toBe(false);
	});

	test('below the panic threshold every host is picked, as if all were healthy', () => {
		const hosts = [[...many('up', 1), ...many('down', 3, 'unhealthy')]];
		expect(Object.keys(counts(picker(hosts), 400)).length).toBe(4);
		expect(counts(picker(hosts, { panicThresholdPercent: 0 }), 400)).toEqual({ up0: 400 });
	});

	test('with no healthy host and no panic there is none', () => {
		const hosts = [many('down', 2, 'unhealthy')];
		expect(picker(hosts, { panicThresholdPercent: 0 }).pick(null)).toBeNull();
		expect(picker([]).pick(null)).toBeNull();
		expect(picker([[], []]).pick(null)).toBeNull();
	});

	test('degraded hosts get what healthy ones cannot carry', () => {
		const result = counts(picker([[...many('up', 1), ...many('weak', 1, 'degraded')]]), 10_000);
		// 1 of 2 healthy: 70 of 140 normalised.
		expect(result.up0! / 10_000).toBeGreaterThan(0.67);
		expect(result.up0! / 10_000).toBeLessThan(0.73);
	});

	test('when all is lost the load is spread over the priorities by their size', () => {
		const result = counts(picker([many('a', 1, 'unhealthy'), many('b', 3, 'unhealthy')]), 4000);
		expect(result.a0! / 4000).toBeGreaterThan(0.21);
		expect(result.a0! / 4000).toBeLessThan(0.29);
	});
});

describe('hosts that were tried', () => {
	test('are avoided while there is another, whatever the policy', () => {
		for (const kind of ['round_robin', 'random'] as const) {
			const hosts = [host('a', 10), host('b'), host('c')];
			const from = picker([hosts], { policy: { kind } });
			for (let i = 0; i < 200; i++) {
				expect(from.pick({ tried: [hosts[0]!, hosts[1]!] })?.addressText).toBe('c');
			}
		}
	});

	test('are picked again when there is no other', () => {
		const only: Host & BalancedHost = host('a');
		expect(picker([[only]]).pick({ tried: [only] })).toBe(only);
	});
});
