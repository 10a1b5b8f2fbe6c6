// The JSON, YAML or protobuf body of a request, bounded in size and depth, without the keys that could reach
// a prototype.

import { parseDocument } from 'yaml';
import { OBJECT_BYTES_MAX } from '../../config/parse-object.ts';
import { ApiError, badRequest } from './api-error.ts';
import type { Json } from './patch.ts';
import { decodeProtobufBody, PROTOBUF_TYPE } from './protobuf-body.ts';

/** Of a request. An object may be written with more blanks than it is stored with. */
export const REQUEST_BODY_BYTES_MAX = 3 * OBJECT_BYTES_MAX;
const DEPTH_MAX = 64;

/** Null for an empty body. @throws ApiError 400, 413 */
export async function readBody(request: Request, contentType: string): Promise<Json> {
	if (contentType.startsWith(PROTOBUF_TYPE)) return decodeProtobufBody(await request.bytes());
	const text = await request.text();
	if (text.length > REQUEST_BODY_BYTES_MAX) {
		throw new ApiError(413, 'RequestEntityTooLarge', `a request body has at most ${REQUEST_BODY_BYTES_MAX} bytes`);
	}
	if (text === '') return null;
	let value: Json;
	try {
		value = contentType.includes('yaml') ? yamlValue(text) : (JSON.parse(text) as Json);
	} catch (error) {
		const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : '';
		throw badRequest(`the body is not valid ${contentType.includes('yaml') ? 'YAML' : 'JSON'}: ${reason}`);
	}
	checkValue(value, 0);
	return value;
}

function yamlValue(text: string): Json {
	const document = parseDocument(text, { version: '1.2', uniqueKeys: true });
	if (document.errors[0] !== undefined) throw document.errors[0];
	return document.toJS({ maxAliasCount: 100 }) as Json;
}

function checkValue(value: Json, depth: number): void {
	if (typeof value !== 'object' || value === null) return;
	if (depth >= DEPTH_MAX) throw badRequest(`the body is nested deeper than ${DEPTH_MAX}`);
	if (Array.isArray(value)) {
		for (const item of value) checkValue(item, depth + 1);
		return;
	}
	for (const key of Object.keys(value)) {
		if (key === '__proto__') throw badRequest('the body has a field __proto__');
		checkValue(value[key] ?? null, depth + 1);
	}
}
