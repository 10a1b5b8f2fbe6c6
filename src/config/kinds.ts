// The registry: every kind that weft serves, and how to find one by what users and clients write.

import { didYouMean } from '../std/did-you-mean.ts';
import { FAULT_INJECTION } from './fault-injection.ts';
import { GRPC_ROUTE } from './grpc-route.ts';
import { HTTP_ROUTE } from './http-route.ts';
import { apiVersionOf, type KindDefinition, resourceName } from './kind.ts';
import { NAMESPACE } from './namespace.ts';
import { SERVICE } from './service.ts';
import { WORKLOAD_ENTRY } from './workload-entry.ts';

/**
 * A kind of which nothing more is known. A definition of one kind serves as this because every object
 * that reaches its functions was parsed by its own schema; `erased` is the one place that says so.
 */
export type AnyKind = KindDefinition<unknown, unknown>;

export function erased<Spec, Status>(kind: KindDefinition<Spec, Status>): AnyKind {
	return kind as unknown as AnyKind;
}

/** In the order in which objects are best applied: what others refer to comes first. */
export const KINDS: readonly AnyKind[] = [
	erased(NAMESPACE),
	erased(SERVICE),
	erased(WORKLOAD_ENTRY),
	erased(FAULT_INJECTION),
	erased(HTTP_ROUTE),
	erased(GRPC_ROUTE),
];

/** By `apiVersion` and `kind` of a manifest; null when weft has none. */
export function findKind(apiVersion: string, kind: string): AnyKind | null {
	return (
		KINDS.find(
			(one) => one.kind === kind && one.versions.some((version) => apiVersionOf(one, version) === apiVersion),
		) ?? null
	);
}

/** By group and plural, as in API paths. */
export function findResource(group: string, version: string, plural: string): AnyKind | null {
	return KINDS.find((one) => one.group === group && one.plural === plural && one.versions.includes(version)) ?? null;
}

/** By what users type: kind, plural, singular, short name, `plural.group`; letter case is free. */
export function findKindByName(name: string): AnyKind | null {
	const wanted = name.toLowerCase();
	return KINDS.find((one) => namesOf(one).includes(wanted)) ?? null;
}

/** The nearest name of a kind to what was typed; null when none is near. */
export function suggestKindName(name: string): string | null {
	return didYouMean(name, KINDS.flatMap(namesOf));
}

function namesOf(kind: AnyKind): string[] {
	return [
		kind.plural,
		kind.singular,
		kind.kind.toLowerCase(),
		...kind.shortNames,
		...(kind.group === '' ? [] : [resourceName(kind), `${kind.singular}.${kind.group}`]),
	];
}
