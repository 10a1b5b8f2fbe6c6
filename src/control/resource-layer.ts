// A set of compiled resources that some sidecars share, and views made of several of them. A
// layer remembers which names changed; a view looks through its layers from the top.
//
//   view of a sidecar:  own listeners and clusters        one per sidecar
//                       routes of its namespace           one per dialect and namespace
//                       outbound listeners                one per dialect, capture and, where it counts, address
//                       clusters, routes                  one per dialect
//                       endpoints                         one

import type { EncodedResource } from '../xds/resource-view.ts';

export class ResourceLayer {
	private readonly byType = new Map<string, Map<string, EncodedResource>>();
	private changed = new Map<string, Set<string>>();

	/** Null: there is none (any more). What is equal to what is there changes nothing. */
	set(typeUrl: string, name: string, resource: EncodedResource | null): void {
		const resources = this.byType.get(typeUrl);
		const before = resources?.get(name);
		if (before?.version === resource?.version) return;
		if (resource === null) resources?.delete(name);
		else if (resources === undefined) this.byType.set(typeUrl, new Map([[name, resource]]));
		else resources.set(name, resource);
		const names = this.changed.get(typeUrl);
		if (names === undefined) this.changed.set(typeUrl, new Set([name]));
		else names.add(name);
	}

	get(typeUrl: string, name: string): EncodedResource | undefined {
		return this.byType.get(typeUrl)?.get(name);
	}

	names(typeUrl: string): Iterable<string> {
		return this.byType.get(typeUrl)?.keys() ?? [];
	}

	/** What changed since the last call. */
	takeChanges(): ReadonlyMap<string, ReadonlySet<string>> {
		const changed = this.changed;
		if (changed.size > 0) this.changed = new Map();
		return changed;
	}
}

export class LayeredView {
	/** From the top. */
	constructor(readonly layers: readonly ResourceLayer[]) {}

	get(typeUrl: string, name: string): EncodedResource | undefined {
		for (const layer of this.layers) {
			const found = layer.get(typeUrl, name);
			if (found !== undefined) return found;
		}
		return undefined;
	}

	names(typeUrl: string): Iterable<string> {
		const names = new Set<string>();
		for (const layer of this.layers) for (const name of layer.names(typeUrl)) names.add(name);
		return names;
	}
}
