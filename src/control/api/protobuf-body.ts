// Kubernetes' protobuf encoding of a request body, for the built-in kinds that weft has: `kubectl
// create namespace` and typed clients send it. Answers are JSON, which such clients take. The
// messages are those of k8s.io/api's generated.proto; field numbers never change there.
//
//   "k8s\0" Unknown{ typeMeta{apiVersion, kind} = 1, raw = 2 }   raw: the object's own message

import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { ApiError, badRequest } from './api-error.ts';
import type { Json } from './patch.ts';

export const PROTOBUF_TYPE = 'application/vnd.kubernetes.protobuf';
const MAGIC = [0x6b, 0x38, 0x73, 0x00];

type FieldKind = 'string' | 'int' | 'bool' | 'map' | 'intOrString' | Message;
interface Field {
	readonly name: string;
	readonly kind: FieldKind;
	readonly repeated?: boolean;
}
interface Message {
	/** By field number. */
	readonly fields: Readonly<Record<number, Field>>;
}

const META: Message = {
	fields: {
		1: { name: 'name', kind: 'string' },
		3: { name: 'namespace', kind: 'string' },
		5: { name: 'uid', kind: 'string' },
		6: { name: 'resourceVersion', kind: 'string' },
		7: { name: 'generation', kind: 'int' },
		11: { name: 'labels', kind: 'map' },
		12: { name: 'annotations', kind: 'map' },
	},
};
const SERVICE_PORT: Message = {
	fields: {
		1: { name: 'name', kind: 'string' },
		2: { name: 'protocol', kind: 'string' },
		3: { name: 'port', kind: 'int' },
		4: { name: 'targetPort', kind: 'intOrString' },
		6: { name: 'appProtocol', kind: 'string' },
	},
};
const SERVICE_SPEC: Message = {
	fields: {
		1: { name: 'ports', kind: SERVICE_PORT, repeated: true },
		2: { name: 'selector', kind: 'map' },
		3: { name: 'clusterIP', kind: 'string' },
		4: { name: 'type', kind: 'string' },
		7: { name: 'sessionAffinity', kind: 'string' },
		13: { name: 'publishNotReadyAddresses', kind: 'bool' },
		17: { name: 'ipFamilyPolicy', kind: 'string' },
		18: { name: 'clusterIPs', kind: 'string', repeated: true },
		19: { name: 'ipFamilies', kind: 'string', repeated: true },
		22: { name: 'internalTrafficPolicy', kind: 'string' },
	},
};
const NAMESPACE_STATUS: Message = { fields: { 1: { name: 'phase', kind: 'string' } } };
const SERVICE_STATUS: Message = { fields: { 1: { name: 'loadBalancer', kind: { fields: {} } } } };
const META_FIELD: Field = { name: 'metadata', kind: META };
const OBJECTS: Readonly<Record<string, Message>> = {
	'v1 Namespace': { fields: { 1: META_FIELD, 3: { name: 'status', kind: NAMESPACE_STATUS } } },
	'v1 Service': {
		fields: {
			1: META_FIELD,
			2: { name: 'spec', kind: SERVICE_SPEC },
			3: { name: 'status', kind: SERVICE_STATUS },
		},
	},
};

/** The object as JSON. A field that is set and not known here is refused. @throws ApiError 400, 415 */
export function decodeProtobufBody(bytes: Uint8Array): Json {
	if (MAGIC.some((byte, index) => bytes[index] !== byte))
		throw badRequest('the body does not begin as Kubernetes protobuf');
	try {
		let type = { apiVersion: '', kind: '' };
		let raw = new Uint8Array();
		const reader = new BinaryReader(bytes.subarray(MAGIC.length));
		while (reader.pos < reader.len) {
			const [number, wireType] = reader.tag();
			if (number === 1) type = decodeTypeMeta(reader.bytes());
			else if (number === 2) raw = new Uint8Array(reader.bytes());
			else reader.skip(wireType, number);
		}
		const message = OBJECTS[`${type.apiVersion} ${type.kind}`];
		if (message === undefined) {
			throw new ApiError(415, 'UnsupportedMediaType', `${type.kind} is not taken as protobuf: send application/json`);
		}
		return { ...type, ...decodeMessage(raw, message, type.kind) };
	} catch (error) {
		if (error instanceof ApiError) throw error;
		throw badRequest('the body is not valid Kubernetes protobuf');
	}
}

function decodeTypeMeta(bytes: Uint8Array): { apiVersion: string; kind: string } {
	const fields = { 1: { name: 'apiVersion', kind: 'string' }, 2: { name: 'kind', kind: 'string' } } as const;
	const { apiVersion, kind } = decodeMessage(bytes, { fields }, 'typeMeta');
	return { apiVersion: String(apiVersion ?? ''), kind: String(kind ?? '') };
}

/** Empty strings, zeros and empty messages are what Go writes for fields that are not set: left out. */
function decodeMessage(bytes: Uint8Array, message: Message, path: string): { [key: string]: Json } {
	const result: { [key: string]: Json } = {};
	const reader = new BinaryReader(bytes);
	while (reader.pos < reader.len) {
		const [number, wireType] = reader.tag();
		const field = message.fields[number];
		if (field === undefined) {
			if (!isUnset(reader, wireType, number)) {
				throw new ApiError(
					415,
					'UnsupportedMediaType',
					`${path}: protobuf field ${number} is not supported: send application/json`,
				);
			}
			continue;
		}
		if (field.kind === 'map') {
			const [key, value] = decodeMapEntry(reader.bytes());
			const map = (result[field.name] ?? {}) as { [key: string]: Json };
			if (key === '__proto__') throw badRequest('the body has a field __proto__');
			map[key] = value;
			result[field.name] = map;
			continue;
		}
		const value = decodeValue(reader, field.kind, `${path}.${field.name}`);
		if (field.repeated === true) {
			const list = (result[field.name] ?? []) as Json[];
			list.push(value ?? '');
			result[field.name] = list;
		} else if (value !== null) result[field.name] = value;
	}
	return result;
}

function decodeValue(reader: BinaryReader, kind: Exclude<FieldKind, 'map'>, path: string): Json {
	if (kind === 'string') return reader.string() || null;
	if (kind === 'int') return Number(reader.int64()) || null;
	if (kind === 'bool') return reader.bool() || null;
	if (kind === 'intOrString') {
		const fields = {
			1: { name: 'type', kind: 'int' },
			2: { name: 'int', kind: 'int' },
			3: { name: 'string', kind: 'string' },
		} as const;
		const value = decodeMessage(reader.bytes(), { fields }, path);
		return (value.type === 1 ? value.string : value.int) ?? null;
	}
	const value = decodeMessage(reader.bytes(), kind, path);
	return Object.keys(value).length === 0 ? null : value;
}

function decodeMapEntry(bytes: Uint8Array): [string, string] {
	const fields = { 1: { name: 'key', kind: 'string' }, 2: { name: 'value', kind: 'string' } } as const;
	const { key, value } = decodeMessage(bytes, { fields }, 'map');
	return [String(key ?? ''), String(value ?? '')];
}

/** Reads over the field; false when it says something. */
function isUnset(reader: BinaryReader, wireType: WireType, number: number): boolean {
	if (wireType === WireType.Varint) return Number(reader.int64()) === 0;
	if (wireType === WireType.LengthDelimited) return reader.bytes().length === 0;
	reader.skip(wireType, number);
	return false;
}
