// How objects are shown: in the version that was asked for, as lists, and as the Table that
// `kubectl get` prints.

import type { Column } from '../../config/kind.ts';
import { apiVersionOf } from '../../config/kind.ts';
import type { AnyKind } from '../../config/kinds.ts';
import type { MeshObject } from '../../config/object.ts';
import { humanDuration } from '../../std/duration.ts';
import { ApiError } from './api-error.ts';

export type Form = 'object' | 'table' | 'metadata';

export interface Representation {
	readonly form: Form;
	readonly kind: AnyKind;
	readonly version: string;
	/** What a table row carries of its object. */
	readonly include: 'None' | 'Metadata' | 'Object';
	readonly nowMs: number;
}

/** The first form of the Accept header that weft can give. @throws ApiError 406 */
export function acceptedForm(accept: string | null): Form {
	if (accept === null || accept.trim() === '') return 'object';
	for (const item of accept.toLowerCase().split(',')) {
		const [type = '', ...parameters] = item.split(';').map((part) => part.trim());
		if (type !== 'application/json' && type !== '*/*' && type !== 'application/*') continue;
		const as = parameters.find((parameter) => parameter.startsWith('as='))?.slice(3);
		if (as === undefined) return 'object';
		if (as === 'table') return 'table';
		if (as === 'partialobjectmetadata' || as === 'partialobjectmetadatalist') return 'metadata';
	}
	throw new ApiError(406, 'NotAcceptable', 'only application/json is served, also as Table');
}

/** The object itself, a table of one row, or its metadata. */
export function shown(object: MeshObject, how: Representation): unknown {
	if (how.form === 'table') return table([object], { resourceVersion: object.metadata.resourceVersion }, how);
	return how.form === 'metadata' ? metadataOnly(object) : versioned(object, how);
}

export interface ListMeta {
	readonly resourceVersion?: string;
	readonly continue?: string;
	readonly remainingItemCount?: number;
}

export function shownList(objects: readonly MeshObject[], metadata: ListMeta, how: Representation): unknown {
	if (how.form === 'table') return table(objects, metadata, how);
	if (how.form === 'metadata') {
		return {
			kind: 'PartialObjectMetadataList',
			apiVersion: 'meta.k8s.io/v1',
			metadata,
			items: objects.map(metadataOnly),
		};
	}
	const items = objects.map((object) => versioned(object, how));
	return { kind: `${how.kind.kind}List`, apiVersion: apiVersionOf(how.kind, how.version), metadata, items };
}

export function versioned(object: MeshObject, how: Pick<Representation, 'kind' | 'version'>): MeshObject {
	return { ...object, apiVersion: apiVersionOf(how.kind, how.version) };
}

function metadataOnly(object: MeshObject): unknown {
	return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata };
}

function table(objects: readonly MeshObject[], metadata: ListMeta, how: Representation): unknown {
	return {
		kind: 'Table',
		apiVersion: 'meta.k8s.io/v1',
		metadata,
		columnDefinitions: columnDefinitions(how.kind.columns),
		rows: objects.map((object) => ({
			cells: rowCells(how.kind, object, how.nowMs),
			object: how.include === 'None' ? null : how.include === 'Object' ? versioned(object, how) : metadataOnly(object),
		})),
	};
}

function columnDefinitions(columns: readonly Column<unknown, unknown>[]): unknown[] {
	const define = (name: string, type: string, format: string, description: string, priority: number) => ({
		name,
		type,
		format,
		description,
		priority,
	});
	const own = columns.map((column) => define(column.name, column.type, '', column.description, column.wide ? 1 : 0));
	const narrow = own.filter((column) => column.priority === 0);
	const wide = own.filter((column) => column.priority === 1);
	return [
		define('Name', 'string', 'name', 'Name of the object', 0),
		...narrow,
		define('Age', 'string', '', 'Time since it was made', 0),
		...wide,
	];
}

function rowCells(kind: AnyKind, object: MeshObject, nowMs: number): (string | number)[] {
	const cell = (column: Column<unknown, unknown>) => {
		const value = column.value(object);
		return column.type === 'integer' ? Number(value) : value;
	};
	const createdMs = Date.parse(object.metadata.creationTimestamp ?? '');
	const age = Number.isNaN(createdMs) ? '<unknown>' : humanDuration(nowMs - createdMs);
	return [
		object.metadata.name,
		...kind.columns.filter((column) => column.wide !== true).map(cell),
		age,
		...kind.columns.filter((column) => column.wide === true).map(cell),
	];
}
