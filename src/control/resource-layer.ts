// A set of compiled resources that some sidecars share, and views made of several of them. A
// layer remembers which names changed; a view looks through its layers from the top.
//
//   view of a sidecar:  own listeners and clusters        one per sidecar
//                       routes of its namespace           one per dialect and namespace
//                       outbound listeners                one per dialect, capture and, where it counts, address
//                       clusters, routes                  one per dialect
//                       endpoints                         one

import { assert } from '../std/assert.ts';
import type { EncodedResource } from '../xds/resource-view.ts';

export class ResourceLayer {
	private readonly byType: ReadonlyMap<string, Map<string, EncodedResource>>;
	private changed = new Map<string, Set<string>>();

	/** Of these types it may hold resources, and views look here for no others. */
	constructor(typeUrls: readonly string[]) {
		this.byType = new Map(typeUrls.map((typeUrl) => [typeUrl, new Map()]));
	}

	/** Null: there is none (any more). What is equal to what is there changes nothing. */
	set(typeUrl: string, name: string, resource: EncodedResource | null): void {
		const resources = this.byType.get(typeUrl);
		assert(resources !== undefined, 'a layer is of the types that it was made for');
		const before = resources.get(name);
		if (before?.version === resource?.version) return;
		if (resource === null) resources.delete(name);
		else resources.set(name, resource);
		const names = this.changed.get(typeUrl);
		if (names === undefined) this.changed.set(typeUrl, new Set([name]));
		else names.add(name);
	}

	/** Live. Null: none of this type is ever here. */
	resources(typeUrl: string): ReadonlyMap<string, EncodedResource> | null {
		return this.byType.get(typeUrl) ?? null;
	}

	/** What changed since the last call. */
	takeChanges(): ReadonlyMap<string, ReadonlySet<string>> {
		const changed = this.changed;
		if (changed.size > 0) this.changed = new Map();
		return changed;
	}
}

export class LayeredView {
	/** Of the type that was asked for last: those of its layers, from the top. */
	private found: readonly ReadonlyMap<string, EncodedResource>[] = [];
	private foundTypeUrl = '';

	/** From the top. */
	constructor(readonly layers: readonly ResourceLayer[]) {}

	get(typeUrl: string, name: string): EncodedResource | undefined {
		for (const resources of this.ofType(typeUrl)) {
			const resource = resources.get(name);
			if (resource !== undefined) return resource;
		}
		return undefined;
	}

	names(typeUrl: string): Iterable<string> {
		const names = new Set<string>();
		for (const resources of this.ofType(typeUrl)) for (const name of resources.keys()) names.add(name);
		return names;
	}

	private ofType(typeUrl: string): readonly ReadonlyMap<string, EncodedResource>[] {
		if (typeUrl !== this.foundTypeUrl) {
			this.found = this.layers.map((layer) => layer.resources(typeUrl)).filter((resources) => resources !== null);
			this.foundTypeUrl = typeUrl;
		}
		return this.found;
	}
}
