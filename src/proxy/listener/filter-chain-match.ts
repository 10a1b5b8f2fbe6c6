// Envoy's `FilterChainMatch`: which filter chain of a listener takes a connection. The matches of all
// chains become one tree, a level for each criterion in Envoy's order. At each level the most specific
// entry is taken for good: when the levels below it have nothing, no other entry is tried, and it
// is the default filter chain's connection.
//
//   destination port ▸ destination prefix ▸ server name ▸ transport protocol ▸ application protocol
//   ▸ direct source prefix ▸ source type ▸ source prefix ▸ source port

import type { CidrRange } from '../../generated/envoy/config/core/v3/address_pb.ts';
import {
	type FilterChainMatch,
	FilterChainMatch_ConnectionSourceType as SourceType,
} from '../../generated/envoy/config/listener/v3/listener_components_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import { PrefixTable, parseIp, prefixKey } from '../../std/ip.ts';

/** What is known of a connection when its chain is chosen. Hosts are empty for unix sockets. */
export interface ChainSubject {
	readonly destinationHost: string;
	/** 0: it has none. */
	readonly destinationPort: number;
	/** In lower case; empty: none was seen. */
	readonly serverName: string;
	/** `tls` or `raw_buffer`. */
	readonly transportProtocol: string;
	/** In the client's order; empty: none was seen. */
	readonly applicationProtocols: readonly string[];
	/** Of the other end of the socket. */
	readonly directSourceHost: string;
	/** Of who the other end is, or speaks for. */
	readonly sourceHost: string;
	readonly sourcePort: number;
}

/** Chooses among `T`s; immutable. */
export interface ChainMatcher<T> {
	/** Null: none. */
	find(subject: ChainSubject): T | null;
}

/** The key of what takes any value. No other criterion has it. */
const ANY = '';
const LEVELS = 9;
/** Of all lists of one match multiplied: what the tree has to hold. */
const COMBINATIONS_MAX = 100_000;

/** Keys of one match at each level, at least one each. */
type Criteria = readonly (readonly string[])[];
type Node<T> = Map<string, Node<T> | Leaf<T>>;

interface Leaf<T> {
	readonly value: T;
	readonly field: string;
}

/**
 * `fields` name the matches in errors.
 * @throws ConfigError where a match cannot be read, or two of them have a case in common
 */
export function compileChainMatcher<T>(
	entries: readonly { readonly match: FilterChainMatch | undefined; readonly value: T; readonly field: string }[],
	object: string,
): ChainMatcher<T> {
	const root: Node<T> = new Map();
	for (const { match, value, field } of entries) {
		const criteria = criteriaOf(match, object, field);
		if (criteria.reduce((count, keys) => count * keys.length, 1) > COMBINATIONS_MAX) {
			throw new ConfigError({ object, field, expected: `at most ${COMBINATIONS_MAX} combinations of its criteria` });
		}
		insert(root, criteria, 0, { value, field }, object);
	}
	return levelOf(root, 0);
}

function insert<T>(node: Node<T>, criteria: Criteria, level: number, leaf: Leaf<T>, object: string): void {
	for (const key of criteria[level]!) {
		const below = node.get(key);
		if (level < LEVELS - 1) {
			const next = (below as Node<T> | undefined) ?? new Map();
			if (below === undefined) node.set(key, next);
			insert(next, criteria, level + 1, leaf, object);
			continue;
		}
		if (below !== undefined && below !== leaf) {
			throw new ConfigError({
				object,
				field: leaf.field,
				expected: `a match that has no case in common with ${(below as Leaf<T>).field}`,
			});
		}
		node.set(key, leaf);
	}
}

function criteriaOf(match: FilterChainMatch | undefined, object: string, field: string): Criteria {
	if (match === undefined) return new Array<readonly string[]>(LEVELS).fill([ANY]);
	const port = match.destinationPort;
	if (port !== undefined && (port < 1 || port > 65535)) {
		throw new ConfigError({ object, field: `${field}.destination_port`, found: String(port), expected: '1 to 65535' });
	}
	return [
		[port === undefined ? ANY : String(port)],
		prefixes(match.prefixRanges, object, `${field}.prefix_ranges`),
		serverNames(match.serverNames, object, `${field}.server_names`),
		[match.transportProtocol],
		orAny(match.applicationProtocols),
		prefixes(match.directSourcePrefixRanges, object, `${field}.direct_source_prefix_ranges`),
		[sourceType(match.sourceType)],
		prefixes(match.sourcePrefixRanges, object, `${field}.source_prefix_ranges`),
		sourcePorts(match.sourcePorts, object, `${field}.source_ports`),
	];
}

function orAny(keys: readonly string[]): readonly string[] {
	return keys.length === 0 ? [ANY] : [...new Set(keys)];
}

/** `ADDRESS/LENGTH`, with the bits after the prefix cleared. */
function prefixes(ranges: readonly CidrRange[], object: string, field: string): readonly string[] {
	return orAny(
		ranges.map((range, index) => {
			const length = range.prefixLen ?? 0;
			const bytes = parseIp(range.addressPrefix);
			if (bytes === null || length > bytes.length * 8) {
				throw new ConfigError({
					object,
					field: `${field}[${index}]`,
					found: `${range.addressPrefix}/${length}`,
					expected: 'an IP address and a prefix length that fits it',
				});
			}
			const masked = new Uint8Array(bytes.length);
			masked.set(Buffer.from(prefixKey(bytes, length), 'latin1'));
			return `${Buffer.from(masked).toString('hex')}/${length}`;
		}),
	);
}

/** `a.b` as it is, `*.a.b` as `.a.b`. */
function serverNames(names: readonly string[], object: string, field: string): readonly string[] {
	return orAny(
		names.map((name, index) => {
			const wildcard = name.startsWith('*.') && name.length > 2;
			const rest = wildcard ? name.slice(1) : name;
			if (rest === '' || rest.includes('*')) {
				throw new ConfigError({
					object,
					field: `${field}[${index}]`,
					found: JSON.stringify(name),
					expected: 'a name, or "*." and a name',
				});
			}
			return rest.toLowerCase();
		}),
	);
}

function sourceType(type: SourceType): string {
	if (type === SourceType.SAME_IP_OR_LOOPBACK) return 'local';
	return type === SourceType.EXTERNAL ? 'external' : ANY;
}

function sourcePorts(ports: readonly number[], object: string, field: string): readonly string[] {
	return orAny(
		ports.map((port, index) => {
			if (port >= 1 && port <= 65535) return String(port);
			throw new ConfigError({ object, field: `${field}[${index}]`, found: String(port), expected: '1 to 65535' });
		}),
	);
}

/** A level that no match has a criterion for costs nothing. */
function levelOf<T>(node: Node<T>, level: number): ChainMatcher<T> {
	const below = (child: Node<T> | Leaf<T>): ChainMatcher<T> =>
		level === LEVELS - 1 ? new Found((child as Leaf<T>).value) : levelOf(child as Node<T>, level + 1);
	const anyNode = node.get(ANY);
	const any = anyNode === undefined ? (NONE as ChainMatcher<T>) : below(anyNode);
	if (anyNode !== undefined && node.size === 1) return any;
	const entries = new Map<string, ChainMatcher<T>>();
	for (const [key, child] of node) if (key !== ANY) entries.set(key, below(child));
	switch (level) {
		case 0:
			return new PortLevel(entries, any, 'destinationPort');
		case 1:
			return new PrefixLevel(entries, any, 'destinationHost');
		case 2:
			return new ServerNameLevel(entries, any);
		case 3:
			return new TransportLevel(entries, any);
		case 4:
			return new ApplicationLevel(entries, any);
		case 5:
			return new PrefixLevel(entries, any, 'directSourceHost');
		case 6:
			return new SourceTypeLevel(entries, any);
		case 7:
			return new PrefixLevel(entries, any, 'sourceHost');
		default:
			return new PortLevel(entries, any, 'sourcePort');
	}
}

const NONE: ChainMatcher<never> = { find: () => null };

class Found<T> implements ChainMatcher<T> {
	constructor(private readonly value: T) {}

	find(): T {
		return this.value;
	}
}

class PortLevel<T> implements ChainMatcher<T> {
	private readonly byPort = new Map<number, ChainMatcher<T>>();

	constructor(
		entries: ReadonlyMap<string, ChainMatcher<T>>,
		private readonly any: ChainMatcher<T>,
		private readonly what: 'destinationPort' | 'sourcePort',
	) {
		for (const [key, below] of entries) this.byPort.set(Number(key), below);
	}

	find(subject: ChainSubject): T | null {
		return (this.byPort.get(subject[this.what]) ?? this.any).find(subject);
	}
}

class PrefixLevel<T> implements ChainMatcher<T> {
	private readonly table = new PrefixTable<ChainMatcher<T>>();

	constructor(
		entries: ReadonlyMap<string, ChainMatcher<T>>,
		private readonly any: ChainMatcher<T>,
		private readonly what: 'destinationHost' | 'directSourceHost' | 'sourceHost',
	) {
		for (const [key, below] of entries) {
			const slash = key.indexOf('/');
			this.table.set(Buffer.from(key.slice(0, slash), 'hex'), Number(key.slice(slash + 1)), below);
		}
	}

	find(subject: ChainSubject): T | null {
		const address = parseIp(subject[this.what]);
		const below = address === null ? undefined : this.table.find(address);
		return (below ?? this.any).find(subject);
	}
}

class ServerNameLevel<T> implements ChainMatcher<T> {
	constructor(
		private readonly entries: ReadonlyMap<string, ChainMatcher<T>>,
		private readonly any: ChainMatcher<T>,
	) {}

	find(subject: ChainSubject): T | null {
		const name = subject.serverName;
		if (name === '') return this.any.find(subject);
		const exact = this.entries.get(name);
		if (exact !== undefined) return exact.find(subject);
		for (let dot = name.indexOf('.', 1); dot > 0 && dot < name.length - 1; dot = name.indexOf('.', dot + 1)) {
			const wildcard = this.entries.get(name.slice(dot));
			if (wildcard !== undefined) return wildcard.find(subject);
		}
		return this.any.find(subject);
	}
}

class TransportLevel<T> implements ChainMatcher<T> {
	constructor(
		private readonly entries: ReadonlyMap<string, ChainMatcher<T>>,
		private readonly any: ChainMatcher<T>,
	) {}

	find(subject: ChainSubject): T | null {
		return (this.entries.get(subject.transportProtocol) ?? this.any).find(subject);
	}
}

class ApplicationLevel<T> implements ChainMatcher<T> {
	constructor(
		private readonly entries: ReadonlyMap<string, ChainMatcher<T>>,
		private readonly any: ChainMatcher<T>,
	) {}

	find(subject: ChainSubject): T | null {
		for (const protocol of subject.applicationProtocols) {
			const below = this.entries.get(protocol);
			if (below !== undefined) return below.find(subject);
		}
		return this.any.find(subject);
	}
}

class SourceTypeLevel<T> implements ChainMatcher<T> {
	private readonly local: ChainMatcher<T>;
	private readonly external: ChainMatcher<T>;

	constructor(entries: ReadonlyMap<string, ChainMatcher<T>>, any: ChainMatcher<T>) {
		this.local = entries.get('local') ?? any;
		this.external = entries.get('external') ?? any;
	}

	find(subject: ChainSubject): T | null {
		const { sourceHost } = subject;
		// A unix socket has no host, and is of this machine.
		const isLocal =
			sourceHost === '' ||
			sourceHost === subject.destinationHost ||
			sourceHost === '::1' ||
			// The rest of 127.0.0.0/8 is not, as in Envoy.
			sourceHost === '127.0.0.1';
		return (isLocal ? this.local : this.external).find(subject);
	}
}
