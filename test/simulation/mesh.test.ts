// A small mesh from seeds, whole and in virtual time. `SEED=n` runs one and prints its history,
// `SEEDS=n` runs n of them from `FIRST_SEED` on (default 1); without either, a few that the suite has time for.

import { beforeAll, expect, test } from 'bun:test';
import { Certificates } from './identities.ts';
import { CALLER_ACCOUNT, PROGRAM_ACCOUNT } from './mesh.ts';
import { type SimulationResult, simulate } from './simulation.ts';

const SEEDS_DEFAULT = 60;
const HISTORY_LINES = 60;

let certificates: Certificates;

beforeAll(async () => {
	certificates = await Certificates.make([CALLER_ACCOUNT, PROGRAM_ACCOUNT]);
});

const { SEED, SEEDS, FIRST_SEED } = process.env;
const firstSeed = Number(SEED ?? FIRST_SEED ?? 1);
const count = SEED === undefined ? Number(SEEDS ?? SEEDS_DEFAULT) : 1;

test(`${count} seeds from ${firstSeed}: no request is lost, doubled, mixed up or cut, and nothing is left over`, () => {
	const outcomes: Record<string, number> = {};
	const failures: string[] = [];
	for (let seed = firstSeed; seed < firstSeed + count && failures.length < 5; seed++) {
		const result = simulate(seed, certificates);
		for (const [kind, number] of Object.entries(result.outcomes)) outcomes[kind] = (outcomes[kind] ?? 0) + number;
		if (result.violations.length > 0) failures.push(report(result));
		if (SEED !== undefined) console.log(result.history.join('\n'));
	}
	if (SEEDS !== undefined || SEED !== undefined) console.log(outcomes);
	expect(failures.join('\n\n')).toBe('');
	// A simulation in which nothing happens proves nothing.
	expect(outcomes.answered).toBeGreaterThan(10 * count);
}, 3_600_000);

test('a seed repeats itself', () => {
	for (const seed of [firstSeed, firstSeed + 1, firstSeed + 2]) {
		const first = simulate(seed, certificates);
		const second = simulate(seed, certificates);
		expect(second.steps).toBe(first.steps);
		expect(second.outcomes).toEqual(first.outcomes);
	}
}, 600_000);

function report({ seed, mode, violations, history }: SimulationResult): string {
	const end = history.slice(-HISTORY_LINES).join('\n');
	return `SEED=${seed} (${mode}): ${violations.join('\n')}\n--- the last of what happened:\n${end}`;
}
