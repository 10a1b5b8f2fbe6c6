import { expect, test } from 'bun:test';
import { SeededRandom } from '../../std/random.ts';
import { requestId } from './request-id.ts';

test('ids are UUIDs of version 4, each another', () => {
	const seed = Math.floor(Math.random() * 2 ** 32);
	const random = new SeededRandom(seed);
	const ids = Array.from({ length: 2000 }, () => requestId(random));
	for (const id of ids) {
		expect(id, `seed ${seed}`).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
	}
	expect(new Set(ids).size).toBe(ids.length);
});

test('every digit that is not fixed takes every value', () => {
	const random = new SeededRandom(7);
	const seen = Array.from({ length: 36 }, () => new Set<string>());
	for (let i = 0; i < 2000; i++) for (const [at, digit] of [...requestId(random)].entries()) seen[at]!.add(digit);
	const counts = seen.map((digits) => digits.size);
	for (const [at, count] of counts.entries()) {
		const expected = [8, 13, 18, 23, 14].includes(at) ? 1 : at === 19 ? 4 : 16;
		expect(count, `character ${at}`).toBe(expected);
	}
});
