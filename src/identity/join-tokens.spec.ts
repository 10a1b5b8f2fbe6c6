import { expect, test } from 'bun:test';
import { VirtualClock } from '../std/clock.ts';
import { JOIN_TOKEN_LIFE_MS, JoinTokens } from './join-tokens.ts';

const grant = { namespace: 'default', serviceAccount: 'reviews', instance: 'reviews-v1-0001' };

test('a token is good once', () => {
	const tokens = new JoinTokens(new VirtualClock());
	const token = tokens.issue(grant);
	expect(tokens.redeem(token)).toEqual(grant);
	expect(tokens.redeem(token)).toBeNull();
});

test('a token is good for five minutes', () => {
	const clock = new VirtualClock();
	const tokens = new JoinTokens(clock);
	const early = tokens.issue(grant);
	const late = tokens.issue(grant);
	clock.advance(JOIN_TOKEN_LIFE_MS - 1);
	expect(tokens.redeem(early)).toEqual(grant);
	clock.advance(1);
	expect(tokens.redeem(late)).toBeNull();
});

test('a wrong secret is refused and does not use the token up', () => {
	const tokens = new JoinTokens(new VirtualClock());
	const token = tokens.issue(grant);
	const other = tokens.issue(grant);
	const [id] = token.split('.');
	const [, secret] = other.split('.');
	expect(tokens.redeem(`${id}.${secret}`)).toBeNull();
	expect(tokens.redeem(`${id}.`)).toBeNull();
	expect(tokens.redeem('')).toBeNull();
	expect(tokens.redeem(token)).toEqual(grant);
});

test('tokens differ, and say nothing of what they are for', () => {
	const tokens = new JoinTokens(new VirtualClock());
	const some = Array.from({ length: 100 }, () => tokens.issue(grant));
	expect(new Set(some).size).toBe(100);
	expect(some.join()).not.toContain('reviews');
	// 256 bits of secret: 43 characters of base64url.
	expect(some[0]!.split('.')[1]).toHaveLength(43);
});

test('only so many may be outstanding, and expired ones make room', () => {
	const clock = new VirtualClock();
	const tokens = new JoinTokens(clock, 2);
	tokens.issue(grant);
	tokens.issue(grant);
	expect(() => tokens.issue(grant)).toThrow('try again later');
	clock.advance(JOIN_TOKEN_LIFE_MS);
	expect(tokens.outstandingCount).toBe(0);
	tokens.issue(grant);
});
