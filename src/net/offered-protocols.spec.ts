import { expect, test } from 'bun:test';
import { offering } from './offered-protocols.ts';

const tls = { serverName: 'a.example', rootsPem: '' };

test('a protocol is offered where none is named, by the same options for every connection', () => {
	expect(offering(tls, 'h2')).toEqual({ ...tls, alpn: ['h2'] });
	expect(offering(tls, 'h2')).toBe(offering(tls, 'h2'));
	expect(offering(tls, 'http/1.1').alpn).toEqual(['http/1.1']);
	expect(offering({ ...tls }, 'h2')).not.toBe(offering(tls, 'h2'));
});

test('what the configuration names is offered alone', () => {
	const named = { ...tls, alpn: ['istio'] };
	expect(offering(named, 'h2')).toBe(named);
});
