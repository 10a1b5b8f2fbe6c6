import { expect, test } from 'bun:test';
import { descriptorBudget, descriptorLimit } from './descriptors.ts';

test('a quarter of the descriptors is kept, and some of that for nobody', () => {
	expect(descriptorBudget(1024)).toEqual({ limit: 1024, acceptMax: 768, connectMax: 992 });
	expect(descriptorBudget(1_048_576)).toEqual({ limit: 1_048_576, acceptMax: 1_044_480, connectMax: 1_048_064 });
});

test('without a known limit there is none', () => {
	const budget = descriptorBudget(Number.POSITIVE_INFINITY);
	expect(budget.acceptMax).toBe(Number.POSITIVE_INFINITY);
	expect(budget.connectMax).toBe(Number.POSITIVE_INFINITY);
});

test('the limit of this process is read', () => {
	expect(descriptorLimit()).toBeGreaterThan(16);
});
