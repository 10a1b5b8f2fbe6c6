// The names by which a program under `weft run` reaches services: lines of its own /etc/hosts. The
// file is bound over /etc/hosts by its inode, so it is rewritten in place; by one write that never
// makes it shorter (what is left over becomes empty lines), so that a reader never sees half of it.

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

export interface NamedService {
	readonly namespace: string;
	readonly name: string;
	/** By which this program reaches it. */
	readonly address: string;
}

const BEGIN = '# services of the mesh (weft)';

/** The machine's own lines, then each service's names. Those of `ownNamespace` are known by their bare name too. */
export function hostsText(machineHosts: string, services: readonly NamedService[], ownNamespace: string): string {
	const own = machineHosts.endsWith('\n') || machineHosts === '' ? machineHosts : `${machineHosts}\n`;
	const lines = [...services]
		.sort((a, b) => compare(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`))
		.map((service) => `${service.address}\t${serviceNames(service, ownNamespace).join(' ')}\n`);
	return `${own}${BEGIN}\n${lines.join('')}`;
}

/** A service of `ownNamespace` is known by its bare name too, which comes first. */
export function serviceNames({ name, namespace }: NamedService, ownNamespace: string): string[] {
	const names = [`${name}.${namespace}.svc.cluster.local`, `${name}.${namespace}.svc`, `${name}.${namespace}`];
	return namespace === ownNamespace ? [name, ...names] : names;
}

export class HostsFile {
	private bytesWritten = 0;
	private present = '';

	constructor(
		readonly path: string,
		private readonly machineHosts: string,
		private readonly ownNamespace: string,
	) {}

	static onThisMachine(path: string, ownNamespace: string): HostsFile {
		let machineHosts: string;
		try {
			machineHosts = readFileSync('/etc/hosts', 'utf8');
		} catch {
			machineHosts = '127.0.0.1\tlocalhost\n::1\tlocalhost\n';
		}
		return new HostsFile(path, machineHosts, ownNamespace);
	}

	write(services: readonly NamedService[]): void {
		const text = hostsText(this.machineHosts, services, this.ownNamespace);
		if (text === this.present) return;
		this.present = text;
		const missingBytes = this.bytesWritten - Buffer.byteLength(text);
		const bytes = Buffer.from(missingBytes > 0 ? text + '\n'.repeat(missingBytes) : text);
		const file = openSync(this.path, this.bytesWritten === 0 ? 'w' : 'r+', 0o644);
		try {
			writeSync(file, bytes, 0, bytes.length, 0);
		} finally {
			closeSync(file);
		}
		this.bytesWritten = bytes.length;
	}
}

function compare(left: string, right: string): number {
	return left < right ? -1 : left > right ? 1 : 0;
}
