import { expect, test } from 'bun:test';
import { didYouMean } from './did-you-mean.ts';

test('finds what was probably meant, and guesses nothing far-fetched', () => {
	const known = ['backendRefs', 'matches', 'filters', 'timeouts'];
	expect(didYouMean('backendRef', known)).toBe('backendRefs');
	expect(didYouMean('matchse', known)).toBe('matches');
	expect(didYouMean('Filters', known)).toBe('filters');
	expect(didYouMean('retries', known)).toBeNull();
	expect(didYouMean('x', known)).toBeNull();
	expect(didYouMean('a'.repeat(100_000), known)).toBeNull();
});
