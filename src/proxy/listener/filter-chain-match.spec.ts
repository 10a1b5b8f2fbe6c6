import { describe, expect, test } from 'bun:test';
import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { FilterChainMatchSchema } from '../../generated/envoy/config/listener/v3/listener_components_pb.ts';
import { type ChainSubject, compileChainMatcher } from './filter-chain-match.ts';

const NOBODY: ChainSubject = {
	destinationHost: '10.0.0.1',
	destinationPort: 80,
	serverName: '',
	transportProtocol: 'raw_buffer',
	applicationProtocols: [],
	directSourceHost: '192.0.2.1',
	sourceHost: '192.0.2.1',
	sourcePort: 1000,
};

function matcher(matches: Readonly<Record<string, JsonObject | null>>) {
	const entries = Object.entries(matches).map(([value, match]) => ({
		match: match === null ? undefined : fromJson(FilterChainMatchSchema, match),
		value,
		field: value,
	}));
	const compiled = compileChainMatcher(entries, 'listener "l"');
	return (subject: Partial<ChainSubject>) => compiled.find({ ...NOBODY, ...subject });
}

const net = (address: string, length: number) => ({ addressPrefix: address, prefixLen: length });

describe('which chain takes a connection', () => {
	test('one without criteria takes all', () => {
		expect(matcher({ all: null })({})).toBe('all');
		expect(matcher({})({})).toBeNull();
	});

	test('the destination port comes first, and is not given up again', () => {
		const find = matcher({
			port: { destinationPort: 80, serverNames: ['a'] },
			name: { serverNames: ['b'] },
			any: {},
		});
		expect(find({ serverName: 'a' })).toBe('port');
		expect(find({ serverName: 'b' })).toBeNull();
		expect(find({ serverName: 'b', destinationPort: 81 })).toBe('name');
		expect(find({ destinationPort: 81 })).toBe('any');
	});

	test('of prefixes the longest, each list entry for itself', () => {
		const find = matcher({
			wide: { prefixRanges: [net('10.0.0.0', 8), net('2001:db8::', 32)] },
			narrow: { prefixRanges: [net('10.1.99.99', 16), net('192.168.0.1', 32)] },
		});
		expect(find({ destinationHost: '10.2.0.1' })).toBe('wide');
		expect(find({ destinationHost: '10.1.0.1' })).toBe('narrow');
		expect(find({ destinationHost: '192.168.0.1' })).toBe('narrow');
		expect(find({ destinationHost: '2001:db8:1::' })).toBe('wide');
		expect(find({ destinationHost: '::1' })).toBeNull();
		expect(find({ destinationHost: '' })).toBeNull();
	});

	test('of names the exact one, then the longest suffix', () => {
		const find = matcher({
			exact: { serverNames: ['A.example.com'] },
			wildcard: { serverNames: ['*.example.com'] },
			com: { serverNames: ['*.com'] },
			any: {},
		});
		expect(find({ serverName: 'a.example.com' })).toBe('exact');
		expect(find({ serverName: 'b.example.com' })).toBe('wildcard');
		expect(find({ serverName: 'c.b.example.com' })).toBe('wildcard');
		expect(find({ serverName: 'example.com' })).toBe('com');
		expect(find({ serverName: 'com' })).toBe('any');
		expect(find({ serverName: 'x.' })).toBe('any');
		expect(find({})).toBe('any');
	});

	test("application protocols in the client's order", () => {
		const find = matcher({
			h2: { transportProtocol: 'tls', applicationProtocols: ['h2'] },
			h1: { transportProtocol: 'tls', applicationProtocols: ['http/1.1', 'http/1.0'] },
			tls: { transportProtocol: 'tls' },
		});
		const tls = { transportProtocol: 'tls' };
		expect(find({ ...tls, applicationProtocols: ['x', 'http/1.1', 'h2'] })).toBe('h1');
		expect(find({ ...tls, applicationProtocols: ['h2', 'http/1.1'] })).toBe('h2');
		expect(find({ ...tls, applicationProtocols: ['x'] })).toBe('tls');
		expect(find({ applicationProtocols: ['h2'] })).toBeNull();
	});

	test('sources: the socket, then where it is, then whom it speaks for', () => {
		const find = matcher({
			balancer: { directSourcePrefixRanges: [net('10.9.0.0', 16)], sourcePrefixRanges: [net('192.0.2.0', 24)] },
			local: { sourceType: 'SAME_IP_OR_LOOPBACK' },
			external: { sourceType: 'EXTERNAL' },
			port: { sourceType: 'EXTERNAL', sourcePorts: [1, 2] },
		});
		expect(find({ directSourceHost: '10.9.1.1' })).toBe('balancer');
		expect(find({ directSourceHost: '10.9.1.1', sourceHost: '192.0.3.1' })).toBeNull();
		expect(find({ sourceHost: '127.0.0.1' })).toBe('local');
		expect(find({ sourceHost: '10.0.0.1' })).toBe('local');
		expect(find({ sourceHost: '' })).toBe('local');
		expect(find({})).toBe('external');
		expect(find({ sourcePort: 2 })).toBe('port');
	});

	test('a source type that no chain names is any', () => {
		const find = matcher({ external: { sourceType: 'EXTERNAL' }, any: { sourceType: 'ANY' } });
		expect(find({ sourceHost: '::1' })).toBe('any');
		expect(find({})).toBe('external');
	});
});

describe('what is refused', () => {
	const refused = (matches: Readonly<Record<string, JsonObject>>) => () => matcher(matches);

	test('two chains with a case in common', () => {
		expect(refused({ first: { destinationPort: 1 }, second: { destinationPort: 1 } })).toThrow(/second.*first/);
		expect(refused({ first: { serverNames: ['a', 'b'] }, second: { serverNames: ['c', 'B'] } })).toThrow(/second/);
		expect(
			refused({ first: { prefixRanges: [net('10.1.1.1', 8)] }, second: { prefixRanges: [net('10.2.2.2', 8)] } }),
		).toThrow(/second/);
	});

	test('what cannot be read', () => {
		expect(refused({ c: { serverNames: ['a*'] } })).toThrow(/server_names\[0\]/);
		expect(refused({ c: { serverNames: ['*'] } })).toThrow(/server_names\[0\]/);
		expect(refused({ c: { serverNames: [''] } })).toThrow(/server_names\[0\]/);
		expect(refused({ c: { destinationPort: 0 } })).toThrow(/destination_port/);
		expect(refused({ c: { sourcePorts: [70000] } })).toThrow(/source_ports\[0\]/);
		expect(refused({ c: { sourcePrefixRanges: [net('10.0.0.0', 33)] } })).toThrow(/source_prefix_ranges\[0\]/);
		expect(refused({ c: { directSourcePrefixRanges: [net('a', 1)] } })).toThrow(/direct_source_prefix_ranges\[0\]/);
	});

	test('criteria that multiply beyond all bounds', () => {
		const many = Array.from({ length: 400 }, (_, i) => i + 1);
		const match = { sourcePorts: many, serverNames: many.map((i) => `n${i}`) };
		expect(refused({ c: match })).toThrow(/100000 combinations/);
	});
});
