// Which resource a path names: `/api/v1/namespaces/NS/services/NAME/status` and its relatives.

import { type AnyKind, findResource } from '../../config/kinds.ts';
import { ApiError } from './api-error.ts';

export interface RequestTarget {
	readonly kind: AnyKind;
	readonly version: string;
	/** Undefined: all namespaces, or a kind without. */
	readonly namespace: string | undefined;
	/** Undefined: the collection. */
	readonly name: string | undefined;
	readonly subresource: 'status' | undefined;
}

/** Null when the path is not below `/api/V` or `/apis/G/V/…`. @throws ApiError 404 */
export function parseRequestTarget(path: string): RequestTarget | null {
	const parts = path.split('/').slice(1).map(decoded);
	if (parts.at(-1) === '') parts.pop();
	let group = '';
	let rest: string[];
	if (parts[0] === 'api' && parts.length > 2) rest = parts.slice(1);
	else if (parts[0] === 'apis' && parts.length > 3) {
		group = parts[1] ?? '';
		rest = parts.slice(2);
	} else return null;
	const [version = '', ...resource] = rest;
	let namespace: string | undefined;
	// `/namespaces/NAME` and `/namespaces/NAME/status` are about the Namespace itself.
	if (resource[0] === 'namespaces' && resource.length > 2 && resource[2] !== 'status') {
		namespace = resource[1];
		resource.splice(0, 2);
	}
	const [plural = '', name, subresource, ...more] = resource;
	const kind = findResource(group, version, plural);
	const known = kind !== null && more.length === 0 && (subresource === undefined || subresource === 'status');
	if (
		!known ||
		(namespace !== undefined && !kind.namespaced) ||
		(kind.namespaced && name !== undefined && namespace === undefined)
	) {
		throw new ApiError(404, 'NotFound', 'the server could not find the requested resource');
	}
	return { kind, version, namespace, name, subresource };
}

function decoded(part: string): string {
	try {
		return decodeURIComponent(part);
	} catch {
		throw new ApiError(400, 'BadRequest', `the path has a wrong escape in ${JSON.stringify(part.slice(0, 100))}`);
	}
}
