// The verbs on objects: get, list, watch, create, update, patch, delete, deletecollection, and the
// status subresource, by the Kubernetes API conventions. Fields are always checked strictly,
// whatever `fieldValidation` says.

import { apiVersionOf, resourceName } from '../../config/kind.ts';
import { isManaged, type MeshObject } from '../../config/object.ts';
import { notFound, type ObjectStore } from '../../config/object-store.ts';
import { SERVICE, type ServiceSpec } from '../../config/service.ts';
import { WORKLOAD_ENTRY } from '../../config/workload-entry.ts';
import type { Clock } from '../../std/clock.ts';
import { ConfigError, WeftError } from '../../std/errors.ts';
import { selects } from '../model.ts';
import { ApiError, badRequest } from './api-error.ts';
import { type Json, jsonPatch, mergePatch, strategicMergePatch } from './patch.ts';
import { PROTOBUF_TYPE } from './protobuf-body.ts';
import { acceptedForm, type Representation, shown, shownList, versioned } from './representation.ts';
import { readBody } from './request-body.ts';
import type { RequestTarget } from './request-target.ts';
import { parseSelectors } from './selectors.ts';
import { checkWatchable, parseRevision, watchResponse } from './watch-stream.ts';

const PATCH_RETRIES_MAX = 8;
const LIST_LIMIT_MAX = 10_000;
/** In a warning. */
const INSTANCES_SHOWN_MAX = 5;

export interface ResourceRequest {
	readonly objects: ObjectStore;
	readonly clock: Clock;
	readonly request: Request;
	/** Aborted when the client or the server goes. */
	readonly signal: AbortSignal;
	readonly url: URL;
	readonly target: RequestTarget;
	/** Called before a response that streams for long, so that the server does not cut it off. */
	readonly keepOpen: () => void;
}

/** @throws ApiError and what the object store throws */
export async function handleResource(context: ResourceRequest): Promise<Response> {
	const { request, target } = context;
	const method = request.method;
	if (target.name === undefined) {
		if (method === 'GET' || method === 'HEAD') return isWatch(context) ? await watch(context) : await list(context);
		if (method === 'POST') return await create(context);
		if (method === 'DELETE') return await deleteCollection(context);
	} else {
		if (method === 'GET' || method === 'HEAD') return isWatch(context) ? await watch(context) : await get(context);
		if (method === 'PUT') return await update(context);
		if (method === 'PATCH') return await patch(context);
		if (method === 'DELETE' && target.subresource === undefined) return await remove(context);
	}
	throw new ApiError(405, 'MethodNotAllowed', `${method} is not allowed on this path`);
}

function isWatch({ url }: ResourceRequest): boolean {
	return ['1', 'true'].includes(url.searchParams.get('watch') ?? '');
}

function representation({ request, target, url, clock }: ResourceRequest): Representation {
	const include = url.searchParams.get('includeObject');
	return {
		form: acceptedForm(request.headers.get('accept')),
		kind: target.kind,
		version: target.version,
		include: include === 'None' || include === 'Object' ? include : 'Metadata',
		nowMs: clock.wallMs(),
	};
}

function isDryRun({ url }: ResourceRequest, body: Json = null): boolean {
	const asked = [...url.searchParams.getAll('dryRun'), ...listOf(body, 'dryRun')].filter((value) => value !== '');
	if (asked.some((value) => value !== 'All')) throw badRequest('dryRun: expected "All"');
	return asked.length > 0;
}

function listOf(body: Json, field: string): Json[] {
	if (typeof body !== 'object' || body === null || Array.isArray(body)) return [];
	const value = body[field];
	return Array.isArray(value) ? value : [];
}

async function existing({ objects, target }: ResourceRequest): Promise<MeshObject> {
	const { kind, namespace = '', name = '' } = target;
	const object = await objects.get(kind, namespace, name);
	if (object === null) throw missing(target);
	return object;
}

function missing({ kind, namespace = '', name = '' }: RequestTarget): ApiError {
	const details = { name, group: kind.group, kind: kind.plural };
	return new ApiError(404, 'NotFound', notFound(kind, namespace, name).message, details);
}

async function get(context: ResourceRequest): Promise<Response> {
	return Response.json(shown(await existing(context), representation(context)));
}

async function list(context: ResourceRequest): Promise<Response> {
	const { objects, target, url } = context;
	const selector = parseSelectors(url.searchParams.get('labelSelector'), url.searchParams.get('fieldSelector'));
	const limit = parseLimit(url.searchParams.get('limit'));
	const from = parseContinue(url.searchParams.get('continue'));
	const { items, revision } = await objects.list(target.kind, target.namespace);
	const key = (object: MeshObject) => `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
	const matching = items.filter(
		(object) => (selector === null || selector(object)) && (from === null || key(object) > from.after),
	);
	const page = limit === null ? matching : matching.slice(0, limit);
	// Later pages keep the first one's revision: a watch from there misses nothing, it may only repeat.
	const resourceVersion = String(from?.revision ?? revision);
	const last = page.at(-1);
	const rest = matching.length - page.length;
	const metadata =
		rest > 0 && last !== undefined
			? { resourceVersion, continue: continueToken(Number(resourceVersion), key(last)), remainingItemCount: rest }
			: { resourceVersion };
	return Response.json(shownList(page, metadata, representation(context)));
}

function parseLimit(text: string | null): number | null {
	if (text === null || text === '' || text === '0') return null;
	if (!/^\d{1,9}$/.test(text)) throw badRequest(`limit ${JSON.stringify(text.slice(0, 40))}: expected a number`);
	return Math.min(Number(text), LIST_LIMIT_MAX);
}

function continueToken(revision: number, after: string): string {
	return Buffer.from(JSON.stringify([revision, after])).toString('base64url');
}

function parseContinue(token: string | null): { readonly revision: number; readonly after: string } | null {
	if (token === null || token === '') return null;
	try {
		const [revision, after]: unknown[] = JSON.parse(Buffer.from(token.slice(0, 2048), 'base64url').toString());
		if (typeof revision === 'number' && typeof after === 'string') return { revision, after };
	} catch {
		// Answered below.
	}
	throw badRequest('continue: not a token of this server');
}

async function watch(context: ResourceRequest): Promise<Response> {
	const { objects, clock, target, url, signal } = context;
	const query = url.searchParams;
	const name = target.name === undefined ? null : `metadata.name=${target.name}`;
	const timeout = query.get('timeoutSeconds');
	if (timeout !== null && !/^\d{1,6}$/.test(timeout)) throw badRequest('timeoutSeconds: expected a number of seconds');
	const initial = query.get('sendInitialEvents') === 'true';
	const watchRequest = {
		objects,
		clock,
		kind: target.kind,
		namespace: target.namespace,
		selector: parseSelectors(query.get('labelSelector'), name ?? query.get('fieldSelector')),
		how: representation(context),
		afterRevision: initial ? null : parseRevision(query.get('resourceVersion')),
		markInitialEnd: initial && isTrue(query.get('allowWatchBookmarks')),
		bookmarks: isTrue(query.get('allowWatchBookmarks')),
		timeoutSeconds: timeout === null ? null : Number(timeout),
	};
	checkWatchable(watchRequest);
	context.keepOpen();
	return await watchResponse(watchRequest, signal);
}

function isTrue(text: string | null): boolean {
	return text === 'true' || text === '1';
}

async function create(context: ResourceRequest): Promise<Response> {
	const { objects, target } = context;
	const body = checkedBody(context, await readBody(context.request, bodyType(context)));
	const dryRun = isDryRun(context);
	const made = await objects.create(target.kind, body, { dryRun, namespace: target.namespace });
	return await written(context, made, 201);
}

async function update(context: ResourceRequest): Promise<Response> {
	const { objects, target } = context;
	const body = checkedBody(context, await readBody(context.request, bodyType(context)));
	return await replace(context, body, isDryRun(context), (dryRun) =>
		objects.update(target.kind, body, { dryRun, namespace: target.namespace }),
	);
}

/** A PUT of the object, or of its status alone when the path says so. */
async function replace(
	context: ResourceRequest,
	body: Json,
	dryRun: boolean,
	write: (dryRun: boolean) => Promise<MeshObject>,
): Promise<Response> {
	const { objects, target } = context;
	if (target.subresource !== 'status') return await written(context, await write(dryRun), 200);
	const { status, metadata } = body as { status?: unknown; metadata?: { resourceVersion?: string; uid?: string } };
	const { namespace = '', name = '' } = target;
	const next = await objects.updateStatus(target.kind, namespace, name, () => status ?? null, {
		dryRun,
		resourceVersion: metadata?.resourceVersion,
		uid: metadata?.uid,
	});
	if (next === null) throw missing(target);
	return await written(context, next, 200);
}

async function patch(context: ResourceRequest): Promise<Response> {
	const { objects, target, request } = context;
	const type = (request.headers.get('content-type') ?? '').split(';')[0]?.trim() ?? '';
	const apply = patcher(context, type);
	const body = await readBody(request, type);
	const dryRun = isDryRun(context);
	for (let attempt = 0; ; attempt++) {
		const current = await existing(context);
		const patched = apply(JSON.parse(JSON.stringify(versioned(current, target))), body);
		const checked = checkedBody(context, patched);
		try {
			return await replace(context, checked, dryRun, (dry) =>
				objects.update(target.kind, checked, { dryRun: dry, namespace: target.namespace }),
			);
		} catch (error) {
			// The patch was made on a state that is gone; unless it names a version itself, make it anew.
			const isConflict = error instanceof WeftError && error.code === 'conflict';
			if (!isConflict || namesVersion(body) || attempt >= PATCH_RETRIES_MAX) throw error;
		}
	}
}

function namesVersion(body: Json): boolean {
	const { metadata } = (body ?? {}) as { metadata?: { resourceVersion?: unknown } };
	return metadata?.resourceVersion !== undefined;
}

function patcher({ target }: ResourceRequest, type: string): (current: Json, body: Json) => Json {
	switch (type) {
		case 'application/merge-patch+json':
			return mergePatch;
		case 'application/strategic-merge-patch+json':
			return (current, body) => strategicMergePatch(current, body, target.kind.mergeKeys);
		case 'application/json-patch+json':
			return jsonPatch;
		case 'application/apply-patch+yaml':
			throw new ApiError(
				415,
				'UnsupportedMediaType',
				'server-side apply is not supported: use "weft apply", or "kubectl apply" without --server-side',
			);
		default:
			throw new ApiError(
				415,
				'UnsupportedMediaType',
				`content-type ${JSON.stringify(type.slice(0, 100))}: expected a JSON merge, strategic merge or JSON patch`,
			);
	}
}

async function remove(context: ResourceRequest): Promise<Response> {
	const { objects, target, request } = context;
	const { kind, namespace = '', name = '' } = target;
	const options = deleteOptions(await readBody(request, 'application/json'));
	const dryRun = isDryRun(context, options.body);
	const removed = await objects.delete(kind, namespace, name, { ...options, dryRun });
	if (removed === null) throw missing(target);
	const details = { name, group: kind.group, kind: kind.plural, uid: removed.metadata.uid };
	const headers = new Headers();
	const warning = await comesBack(objects, removed);
	if (warning !== null) appendWarning(headers, warning);
	return Response.json({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details }, { headers });
}

/** Of a Service that the registry makes again (`control/registry.ts`): that it does, and why. */
async function comesBack(objects: ObjectStore, removed: MeshObject): Promise<string | null> {
	if (removed.kind !== SERVICE.kind || !isManaged(removed)) return null;
	const { namespace = '', name } = removed.metadata;
	const { selector } = (removed as MeshObject<ServiceSpec>).spec;
	const instances = (await objects.list(WORKLOAD_ENTRY, namespace)).items
		.filter((entry) => isManaged(entry) && selects(selector, entry.spec.labels))
		.map((entry) => entry.metadata.name);
	if (instances.length === 0) return null;
	const shown = instances.slice(0, INSTANCES_SHOWN_MAX).join(', ');
	const all = instances.length > INSTANCES_SHOWN_MAX ? `${shown}, ...` : shown;
	return `Service ${namespace}/${name} comes back: weft run made it, and instances of it run (${all}); end them first`;
}

function deleteOptions(body: Json): { body: Json; uid?: string; resourceVersion?: string } {
	const { preconditions } = (body ?? {}) as { preconditions?: { uid?: unknown; resourceVersion?: unknown } };
	const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined);
	return { body, uid: text(preconditions?.uid), resourceVersion: text(preconditions?.resourceVersion) };
}

async function deleteCollection(context: ResourceRequest): Promise<Response> {
	const { objects, target, url, request } = context;
	const dryRun = isDryRun(context, await readBody(request, 'application/json'));
	const selector = parseSelectors(url.searchParams.get('labelSelector'), url.searchParams.get('fieldSelector'));
	const { items } = await objects.list(target.kind, target.namespace);
	const wanted = items.filter((object) => selector === null || selector(object));
	for (const { metadata } of wanted) {
		await objects.delete(target.kind, metadata.namespace ?? '', metadata.name, { uid: metadata.uid, dryRun });
	}
	const resourceVersion = String(await objects.currentRevision());
	return Response.json(shownList(wanted, { resourceVersion }, representation(context)));
}

function bodyType({ request }: ResourceRequest): string {
	const type = request.headers.get('content-type') ?? 'application/json';
	if (/^(application|text)\/(json|yaml|x-yaml|\*)|^\*\/\*|^application\/x-www-form-urlencoded/.test(type)) return type;
	if (type.startsWith(PROTOBUF_TYPE)) return type;
	throw new ApiError(
		415,
		'UnsupportedMediaType',
		`content-type ${JSON.stringify(type.slice(0, 100))}: expected application/json`,
	);
}

/** The body, when it is about what the path names. @throws ApiError 400 */
function checkedBody({ target }: ResourceRequest, body: Json): Json {
	if (typeof body !== 'object' || body === null || Array.isArray(body)) throw badRequest('the body is not an object');
	const apiVersion = apiVersionOf(target.kind, target.version);
	if (body.kind !== undefined && body.kind !== target.kind.kind) {
		throw badRequest(`the body has kind ${JSON.stringify(body.kind)}, the path is of ${target.kind.kind}`);
	}
	if (body.apiVersion !== undefined && body.apiVersion !== apiVersion) {
		throw badRequest(
			`the body has apiVersion ${JSON.stringify(body.apiVersion)}, the path ${JSON.stringify(apiVersion)}`,
		);
	}
	const { name, namespace } = (body.metadata ?? {}) as { name?: unknown; namespace?: unknown };
	if (target.name !== undefined && name !== target.name) {
		throw badRequest(`metadata.name is ${JSON.stringify(name)}, the path says ${JSON.stringify(target.name)}`);
	}
	if (target.namespace !== undefined && namespace !== undefined && namespace !== target.namespace) {
		throw badRequest(
			`metadata.namespace is ${JSON.stringify(namespace)}, the path says ${JSON.stringify(target.namespace)}`,
		);
	}
	return { ...body, apiVersion, kind: target.kind.kind };
}

/** What was written, with a warning for each thing that it names and that is not there. */
async function written(context: ResourceRequest, object: MeshObject, code: number): Promise<Response> {
	const { objects, target } = context;
	const headers = new Headers();
	if (target.subresource === undefined) {
		for (const warning of await objects.missingReferences(target.kind, object)) {
			appendWarning(headers, warning);
		}
	}
	return Response.json(shown(object, representation(context)), { status: code, headers });
}

function appendWarning(headers: Headers, warning: string): void {
	headers.append('warning', `299 - "${warning.replace(/[^ -~]/g, '?').replace(/["\\]/g, '\\$&')}"`);
}

/** Adds to an error which resource it is about, as clients expect. */
export function withDetails(error: unknown, target: RequestTarget): unknown {
	const details = { name: target.name, group: target.kind.group, kind: target.kind.plural };
	if (error instanceof ApiError && error.details === undefined && (error.code === 404 || error.code === 409)) {
		return new ApiError(error.code, error.reason, error.message, details);
	}
	if (error instanceof ConfigError) {
		const causes = error.details.map((detail) => ({
			reason: 'FieldValueInvalid',
			message: `found ${detail.found ?? 'nothing'}, expected ${detail.expected}${detail.hint === undefined ? '' : ` (${detail.hint})`}`,
			field: detail.field,
		}));
		return new ApiError(422, 'Invalid', `${resourceName(target.kind)} is invalid: ${error.message}`, {
			...details,
			causes,
		});
	}
	return error;
}
