// A RouteConfiguration as the hot path sees it: from an authority and a path to a Route. Immutable;
// an update makes another. Domains are looked up exact first, then the longest suffix (`*.x`), then
// the longest prefix (`x.*`), then `*`; routes of a virtual host are tried in their order.

import type { RequestHead } from '../../http/stream.ts';
import type { Random } from '../../std/random.ts';
import { pathLength } from './path-rewrite.ts';
import type { Route, VirtualHostSettings } from './route.ts';
import { matchesRoute, type RouteMatch } from './route-match.ts';

export interface RouteEntry {
	readonly match: RouteMatch;
	/** One, or one per weighted cluster. */
	readonly choices: readonly WeightedRoute[];
	readonly totalWeight: number;
	/** Names of the clusters that it may lead to. */
	readonly clusters: readonly string[];
}

export interface WeightedRoute {
	readonly route: Route;
	readonly weight: number;
}

export interface VirtualHost {
	readonly settings: VirtualHostSettings;
	readonly domains: readonly string[];
	readonly routes: readonly RouteEntry[];
}

export class RouteTable {
	private readonly exact = new Map<string, VirtualHost>();
	/** By length of the fixed part, longest first. */
	private readonly suffixes: readonly (readonly [number, Map<string, VirtualHost>])[];
	private readonly prefixes: readonly (readonly [number, Map<string, VirtualHost>])[];
	private readonly any: VirtualHost | null;

	constructor(
		readonly name: string,
		readonly virtualHosts: readonly VirtualHost[],
		private readonly ignorePort: boolean,
	) {
		const suffixes = new Map<number, Map<string, VirtualHost>>();
		const prefixes = new Map<number, Map<string, VirtualHost>>();
		let any: VirtualHost | null = null;
		for (const host of virtualHosts) {
			for (const written of host.domains) {
				const domain = written.toLowerCase();
				if (domain === '*') any = host;
				else if (domain.startsWith('*')) lengthMap(suffixes, domain.length - 1).set(domain.slice(1), host);
				else if (domain.endsWith('*')) lengthMap(prefixes, domain.length - 1).set(domain.slice(0, -1), host);
				else this.exact.set(domain, host);
			}
		}
		this.suffixes = longestFirst(suffixes);
		this.prefixes = longestFirst(prefixes);
		this.any = any;
	}

	/** Null: no virtual host, or none of its routes, matches. */
	route(head: RequestHead, random: Random): Route | null {
		const host = this.virtualHost(head.authority);
		if (host === null) return null;
		const end = pathLength(head.path);
		const path = end === head.path.length ? head.path : head.path.slice(0, end);
		const query = head.path.charCodeAt(end) === 0x3f ? head.path.slice(end + 1) : '';
		const routes = host.routes;
		for (let i = 0; i < routes.length; i++) {
			const entry = routes[i]!;
			if (matchesRoute(entry.match, head, path, query, random)) return chosen(entry, random);
		}
		return null;
	}

	virtualHost(authority: string): VirtualHost | null {
		if (this.any !== null && this.virtualHosts.length === 1 && this.exact.size === 0) {
			if (this.suffixes.length === 0 && this.prefixes.length === 0) return this.any;
		}
		let name = authority.toLowerCase();
		if (this.ignorePort) name = withoutPort(name);
		const exact = this.exact.get(name);
		if (exact !== undefined) return exact;
		for (let i = 0; i < this.suffixes.length; i++) {
			const [length, hosts] = this.suffixes[i]!;
			// The wildcard stands for at least one character.
			if (name.length <= length) continue;
			const found = hosts.get(name.slice(name.length - length));
			if (found !== undefined) return found;
		}
		for (let i = 0; i < this.prefixes.length; i++) {
			const [length, hosts] = this.prefixes[i]!;
			if (name.length <= length) continue;
			const found = hosts.get(name.slice(0, length));
			if (found !== undefined) return found;
		}
		return this.any;
	}
}

function chosen(entry: RouteEntry, random: Random): Route {
	const choices = entry.choices;
	if (choices.length === 1) return choices[0]!.route;
	let value = random.below(entry.totalWeight);
	for (let i = 0; i < choices.length; i++) {
		const choice = choices[i]!;
		if (value < choice.weight) return choice.route;
		value -= choice.weight;
	}
	return choices[choices.length - 1]!.route;
}

function withoutPort(authority: string): string {
	const colon = authority.lastIndexOf(':');
	return colon < 0 || authority.indexOf(']', colon) > 0 ? authority : authority.slice(0, colon);
}

function lengthMap(byLength: Map<number, Map<string, VirtualHost>>, length: number): Map<string, VirtualHost> {
	let found = byLength.get(length);
	if (found === undefined) {
		found = new Map();
		byLength.set(length, found);
	}
	return found;
}

function longestFirst(byLength: Map<number, Map<string, VirtualHost>>): [number, Map<string, VirtualHost>][] {
	return [...byLength].sort(([a], [b]) => b - a);
}
