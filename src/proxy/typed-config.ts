// An extension's configuration as it stands in an Any: a message of a known type, or a TypedStruct
// that carries the same as JSON.

import { fromBinary, fromJson, type JsonObject, type Message } from '@bufbuild/protobuf';
import type { GenMessage } from '@bufbuild/protobuf/codegenv2';
import type { Any } from '@bufbuild/protobuf/wkt';
import { TypedStructSchema as UdpaTypedStructSchema } from '../generated/udpa/type/v1/typed_struct_pb.ts';
import { TypedStructSchema } from '../generated/xds/type/v3/typed_struct_pb.ts';
import { ConfigError, errorMessage } from '../std/errors.ts';
import { type SupportedFields, unsupportedFields } from './field-check.ts';
import type { FilterConfig } from './http-filters/filter.ts';

const PREFIX = 'type.googleapis.com/';
const TYPED_STRUCT_TYPES = new Set([`${PREFIX}xds.type.v3.TypedStruct`, `${PREFIX}udpa.type.v1.TypedStruct`]);

export class TypedConfig implements FilterConfig {
	private constructor(
		readonly typeUrl: string,
		private readonly value: Uint8Array | JsonObject,
		readonly object: string,
		readonly field: string,
	) {}

	/** `field` is the place of the Any. @throws ConfigError when there is none, or a TypedStruct cannot be read */
	static read(any: Any | undefined, object: string, field: string): TypedConfig {
		if (any === undefined || any.typeUrl === '') {
			throw new ConfigError({ object, field, expected: 'a typed_config with an @type' });
		}
		if (!TYPED_STRUCT_TYPES.has(any.typeUrl)) return new TypedConfig(any.typeUrl, any.value, object, field);
		try {
			const schema = any.typeUrl.includes('udpa') ? UdpaTypedStructSchema : TypedStructSchema;
			const struct = fromBinary(schema, any.value);
			const typeUrl = struct.typeUrl.includes('/') ? struct.typeUrl : PREFIX + struct.typeUrl;
			return new TypedConfig(typeUrl, struct.value ?? {}, object, field);
		} catch (error) {
			throw new ConfigError({ object, field, expected: `a TypedStruct that can be decoded (${errorMessage(error)})` });
		}
	}

	message<T extends Message>(schema: GenMessage<T>, supported: SupportedFields): T {
		if (this.typeUrl !== PREFIX + schema.typeName) {
			throw this.error('', this.typeUrl, PREFIX + schema.typeName);
		}
		let message: T;
		try {
			message = this.value instanceof Uint8Array ? fromBinary(schema, this.value) : (fromJson(schema, this.value) as T);
		} catch (error) {
			throw this.error('', undefined, `a ${schema.typeName} that can be decoded (${errorMessage(error)})`);
		}
		const details = unsupportedFields(schema, message, supported, this.object, this.field);
		if (details.length > 0) throw new ConfigError(details);
		return message;
	}

	struct(): JsonObject {
		if (this.value instanceof Uint8Array) {
			if (this.value.byteLength === 0) return {};
			throw this.error('', this.typeUrl, 'a TypedStruct');
		}
		return this.value;
	}

	error(field: string, found: string | undefined, expected: string): ConfigError {
		const at = field === '' ? this.field : `${this.field}.${field}`;
		return new ConfigError({ object: this.object, field: at, found, expected });
	}
}
