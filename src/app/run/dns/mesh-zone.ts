// What the mesh knows of names: the same ones as the program's /etc/hosts (host-names.ts), for programs
// that ask DNS themselves.

import { type NamedService, serviceNames } from '../host-names.ts';

export type ZoneAnswer =
	| { readonly kind: 'address'; readonly address: string }
	/** The name is there, but has nothing of this type. */
	| { readonly kind: 'no data' }
	| { readonly kind: 'no such name' }
	/** Not for the mesh to say. */
	| { readonly kind: 'elsewhere' };

/** All below it is the mesh's. */
export const ZONE = 'cluster.local';
const TYPE_A = 1;
const TYPE_ANY = 255;

export class MeshZone {
	private addresses = new Map<string, string>();
	/** Names that have none themselves, but are the end of some that have. */
	private inner = new Set<string>();

	constructor(private readonly ownNamespace: string) {}

	set(services: readonly NamedService[]): void {
		this.addresses = new Map();
		this.inner = new Set([ZONE]);
		for (const service of services) {
			for (const name of serviceNames(service, this.ownNamespace)) this.addresses.set(name, service.address);
			const { namespace } = service;
			for (const name of [`${namespace}.svc.${ZONE}`, `svc.${ZONE}`]) this.inner.add(name);
		}
	}

	/** `name` without the last dot; `type` is DNS's number. */
	lookUp(name: string, type: number): ZoneAnswer {
		const lower = name.toLowerCase();
		const address = this.addresses.get(lower);
		if (address !== undefined) {
			return type === TYPE_A || type === TYPE_ANY ? { kind: 'address', address } : { kind: 'no data' };
		}
		if (this.inner.has(lower)) return { kind: 'no data' };
		return lower.endsWith(`.${ZONE}`) ? { kind: 'no such name' } : { kind: 'elsewhere' };
	}
}
