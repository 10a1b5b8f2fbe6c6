// /etc/resolv.conf (resolv.conf(5)): whom this machine asks for names, and the file that a captured
// program finds in its place.

import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import type { IpAddress } from '../../../net/network.ts';
import { ZONE } from './mesh-zone.ts';

export interface ResolvConf {
	/** At most three, as libc looks at. */
	readonly nameservers: readonly string[];
	readonly search: readonly string[];
	/** Words of `options`. */
	readonly options: readonly string[];
}

const RESOLV_CONF = '/etc/resolv.conf';
const NAMESERVERS_MAX = 3;
const DNS_PORT = 53;
/** Any address but 127.0.0.1 is redirected to the relay; this one is nobody's outside of the namespace either. */
const RELAY_ADDRESS = '127.0.0.53';

export function parseResolvConf(text: string): ResolvConf {
	const nameservers: string[] = [];
	let search: string[] = [];
	const options: string[] = [];
	for (const line of text.split('\n')) {
		const [keyword, ...words] = line
			.replace(/[#;].*$/, '')
			.trim()
			.split(/\s+/);
		// An address with a scope (fe80::1%eth0) only means something where its interface is.
		if (keyword === 'nameserver' && words[0] !== undefined && isIP(words[0]) !== 0 && !words[0].includes('%')) {
			if (nameservers.length < NAMESERVERS_MAX) nameservers.push(words[0]);
		}
		if (keyword === 'search' || keyword === 'domain') search = words;
		if (keyword === 'options') options.push(...words);
	}
	return { nameservers, search, options };
}

/** For a program in `namespace`: short names of services are found below the search path, as in Kubernetes. */
export function programResolvConf(machine: ResolvConf, namespace: string): string {
	const search = [`${namespace}.svc.${ZONE}`, `svc.${ZONE}`, ZONE, ...machine.search];
	// The relay does not check signatures, whatever the machine's own resolver does.
	const options = machine.options.filter((option) => option !== 'trust-ad');
	const lines = [`nameserver ${RELAY_ADDRESS}`, `search ${search.join(' ')}`];
	if (options.length > 0) lines.push(`options ${options.join(' ')}`);
	return `${lines.join('\n')}\n`;
}

/** Of this machine; empty when it has none. */
export function machineResolvConf(path = RESOLV_CONF): ResolvConf {
	try {
		return parseResolvConf(readFileSync(path, 'utf8'));
	} catch {
		return parseResolvConf('');
	}
}

/** Follows the file: a laptop changes its networks. Without a nameserver it is this machine itself, as for libc. */
export class MachineResolvers {
	private stamp = '';
	private servers: readonly IpAddress[] = [];

	constructor(private readonly path = RESOLV_CONF) {}

	current(): readonly IpAddress[] {
		let stamp: string;
		let text = '';
		try {
			const { mtimeMs, ino, size } = statSync(this.path);
			stamp = `${mtimeMs} ${ino} ${size}`;
			if (stamp === this.stamp) return this.servers;
			text = readFileSync(this.path, 'utf8');
		} catch {
			stamp = 'none';
		}
		this.stamp = stamp;
		const { nameservers } = parseResolvConf(text);
		const hosts = nameservers.length > 0 ? nameservers : ['127.0.0.1'];
		this.servers = hosts.map((host) => ({ kind: 'ip', host, port: DNS_PORT }));
		return this.servers;
	}
}
