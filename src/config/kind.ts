// How a kind is described: names, schema, defaults, rules beyond the schema, what it refers to,
// table columns, status. The registry of all is in kinds.ts.

import type { z } from 'zod';
import type { FieldErrors, FieldPath } from './field-errors.ts';
import type { MeshObject } from './object.ts';

/** Something that an object names. `apply` and the API server warn when it is not there. */
export interface Reference {
	readonly field: FieldPath;
	readonly kind: string;
	readonly namespace: string;
	readonly name: string;
	/** What follows when it is missing: `its share is answered with status 500 until it exists`. */
	readonly consequence: string;
	/** Without it the object has no effect at all. */
	readonly essential: boolean;
}

export interface Column<Spec, Status> {
	readonly name: string;
	readonly description: string;
	readonly type: 'string' | 'integer';
	/** Only in the wide table. */
	readonly wide?: boolean;
	readonly value: (object: MeshObject<Spec, Status>) => string;
}

export interface KindDefinition<Spec = unknown, Status = unknown> {
	/** Empty for the core group. */
	readonly group: string;
	/** Served versions; the first is preferred, and the one that objects are stored in. */
	readonly versions: readonly string[];
	readonly kind: string;
	readonly plural: string;
	readonly singular: string;
	readonly shortNames: readonly string[];
	readonly namespaced: boolean;
	/** Without it, a `spec` may be left out. */
	readonly specRequired: boolean;
	/** One line for `api-resources`. */
	readonly description: string;
	readonly nameSchema: z.ZodType<string>;
	/** Strict; gives the defaults. */
	readonly specSchema: z.ZodType<Spec>;
	readonly statusSchema: z.ZodType<Status>;
	/** Rules across fields; paths begin at the object (`['spec', 'ports', 0]`). */
	validate?(object: MeshObject<Spec, Status>, errors: FieldErrors): void;
	/** What may not change between two versions of an object. */
	validateChange?(before: MeshObject<Spec, Status>, after: MeshObject<Spec, Status>, errors: FieldErrors): void;
	references?(object: MeshObject<Spec, Status>): Reference[];
	/** Between NAME and AGE. */
	readonly columns: readonly Column<Spec, Status>[];
	/** Lists that a strategic merge patch merges by a key instead of replacing: `spec.ports` → `port`. */
	readonly mergeKeys: Readonly<Record<string, string>>;
}

/** `v1`, `gateway.networking.k8s.io/v1`. */
export function apiVersionOf(kind: Pick<KindDefinition, 'group' | 'versions'>, version = kind.versions[0]): string {
	return kind.group === '' ? `${version}` : `${kind.group}/${version}`;
}

/** `httproutes.gateway.networking.k8s.io`, `services`. */
export function resourceName(kind: Pick<KindDefinition, 'group' | 'plural'>): string {
	return kind.group === '' ? kind.plural : `${kind.plural}.${kind.group}`;
}
