// From what a user wrote to an object of a kind: every field known, of the right type and within
// the rules, defaults filled in. All errors of an object are reported together.

import { z } from 'zod';
import { didYouMean } from '../std/did-you-mean.ts';
import { ConfigError } from '../std/errors.ts';
import { describeFound, FieldErrors, valueAt } from './field-errors.ts';
import { apiVersionOf } from './kind.ts';
import { type AnyKind, findKind, KINDS } from './kinds.ts';
import type { MeshObject } from './object.ts';
import { annotations, dnsLabel, labels } from './schema.ts';

/** Of an object as JSON. Kubernetes allows about 1.5 MiB. */
export const OBJECT_BYTES_MAX = 1 << 20;
/** Keys and values together, as in Kubernetes. */
const ANNOTATIONS_CHARACTERS_MAX = 256 * 1024;

const notServed = z
	.array(z.unknown())
	.refine((list) => list.length === 0, { error: 'an empty list: weft does not support this field' })
	.nullish();

/** What the API server sets is accepted from a user who sends back what was read. */
const metadataSchema = z.strictObject({
	name: z.string().min(1).max(253),
	namespace: dnsLabel.optional(),
	labels: labels.nullish(),
	annotations: annotations.nullish(),
	uid: z.string().max(128).optional(),
	resourceVersion: z.string().max(32).optional(),
	generation: z.int().optional(),
	creationTimestamp: z.string().max(64).nullish(),
	selfLink: z.string().max(1024).optional(),
	ownerReferences: notServed,
	finalizers: notServed,
	managedFields: z.array(z.unknown()).max(64).nullish(),
});

export interface ParsedObject {
	readonly kind: AnyKind;
	readonly object: MeshObject;
}

export interface ParseOptions {
	/** Prefix of the object's name in errors: `shop.yaml:12: `. Default none. */
	readonly source?: string;
	/** For namespaced objects that name none. Default: leave it out. */
	readonly namespace?: string;
}

/**
 * `input` is plain JSON. The result has defaults, the preferred `apiVersion`, and no status.
 * @throws ConfigError
 */
export function parseObject(input: unknown, options: ParseOptions = {}): ParsedObject {
	const kind = kindOf(input, options);
	const label = describeObject(input, options);
	const errors = new FieldErrors(label, input);
	const schema = z.strictObject({
		apiVersion: z.string(),
		kind: z.string(),
		metadata: metadataSchema,
		spec: kind.specRequired ? kind.specSchema : kind.specSchema.optional(),
		status: z.unknown().optional(),
	});
	const parsed = schema.safeParse(input);
	if (!parsed.success) errors.addIssues(schema, parsed.error.issues);
	checkMetadata(kind, input, errors);
	if (!parsed.success || errors.details.length > 0) throw new ConfigError(errors.details);
	const { metadata, spec } = parsed.data;
	const object: MeshObject = {
		apiVersion: apiVersionOf(kind),
		kind: kind.kind,
		metadata: { name: metadata.name },
		spec: spec ?? kind.specSchema.parse({}),
	};
	if (kind.namespaced) {
		const namespace = metadata.namespace ?? options.namespace;
		if (namespace !== undefined) object.metadata.namespace = namespace;
	}
	for (const field of ['uid', 'resourceVersion', 'generation'] as const) {
		if (metadata[field] !== undefined) Object.assign(object.metadata, { [field]: metadata[field] });
	}
	if (metadata.creationTimestamp) object.metadata.creationTimestamp = metadata.creationTimestamp;
	for (const field of ['labels', 'annotations'] as const) {
		const map = metadata[field];
		if (map && Object.keys(map).length > 0) object.metadata[field] = map;
	}
	kind.validate?.(object, errors);
	if (errors.details.length > 0) throw new ConfigError(errors.details);
	return { kind, object };
}

/** @throws ConfigError; `status` alone, for the status subresource. */
export function parseStatus(kind: AnyKind, label: string, status: unknown): unknown {
	const parsed = kind.statusSchema.safeParse(status);
	if (parsed.success) return parsed.data;
	const errors = new FieldErrors(label, { status });
	errors.addIssues(kind.statusSchema, parsed.error.issues, ['status']);
	throw new ConfigError(errors.details);
}

/** `HTTPRoute default/reviews`, as far as it can be read. */
export function describeObject(input: unknown, options: ParseOptions = {}): string {
	const kind = valueAt(input, ['kind']);
	const name = valueAt(input, ['metadata', 'name']);
	const namespace = valueAt(input, ['metadata', 'namespace']) ?? options.namespace;
	const text = typeof kind === 'string' && kind !== '' ? kind : 'object';
	const place = typeof namespace === 'string' && kind !== 'Namespace' ? `${namespace}/` : '';
	const full = typeof name === 'string' ? `${text} ${place}${name}` : text;
	return `${options.source ?? ''}${full.slice(0, 400)}`;
}

function kindOf(input: unknown, options: ParseOptions): AnyKind {
	const label = describeObject(input, options);
	if (typeof input !== 'object' || input === null || Array.isArray(input)) {
		throw new ConfigError({ object: label, field: '', found: describeFound(input), expected: 'an object' });
	}
	const apiVersion = valueAt(input, ['apiVersion']);
	const kindName = valueAt(input, ['kind']);
	for (const [field, value] of [
		['apiVersion', apiVersion],
		['kind', kindName],
	] as const) {
		if (typeof value === 'string' && value !== '') continue;
		throw new ConfigError({ object: label, field, found: describeFound(value), expected: 'a string (it is required)' });
	}
	const found = findKind(String(apiVersion), String(kindName));
	if (found !== null) return found;
	const sameKind = KINDS.find((kind) => kind.kind === kindName);
	if (sameKind !== undefined) {
		const served = sameKind.versions.map((version) => `"${apiVersionOf(sameKind, version)}"`).join(' or ');
		throw new ConfigError({ object: label, field: 'apiVersion', found: describeFound(apiVersion), expected: served });
	}
	const known = KINDS.map((kind) => kind.kind);
	const meant = didYouMean(String(kindName), known);
	throw new ConfigError({
		object: label,
		field: 'kind',
		found: describeFound(kindName),
		expected: `one of ${known.join(', ')}`,
		hint: meant === null ? 'weft api-resources lists the kinds' : `did you mean "${meant}"?`,
	});
}

function checkMetadata(kind: AnyKind, input: unknown, errors: FieldErrors): void {
	const name = kind.nameSchema.safeParse(valueAt(input, ['metadata', 'name']));
	if (!name.success && typeof valueAt(input, ['metadata', 'name']) === 'string') {
		errors.addIssues(kind.nameSchema, name.error.issues, ['metadata', 'name']);
	}
	if (!kind.namespaced && valueAt(input, ['metadata', 'namespace']) !== undefined) {
		errors.add(['metadata', 'namespace'], `no namespace: a ${kind.kind} is in none`);
	}
	const all = valueAt(input, ['metadata', 'annotations']);
	if (typeof all === 'object' && all !== null && JSON.stringify(all).length > ANNOTATIONS_CHARACTERS_MAX) {
		errors.add(['metadata', 'annotations'], `at most ${ANNOTATIONS_CHARACTERS_MAX} characters in all`);
	}
}
