// What weft reads of a FileDescriptorProto (google/protobuf/descriptor.proto) in its wire form: enough
// to make the descriptors of messages, enums and services out of it, one at a time. Written by our own
// code generator, so it is trusted: a form that does not hold is a bug.

import { BinaryReader, type WireType } from '@bufbuild/protobuf/wire';

/** Of a message, an enum or a service: its name, and where to read the rest. */
export interface Entry {
	readonly name: string;
	readonly bytes: Uint8Array;
}

export interface FileEntries {
	/** `envoy/config/core/v3/base.proto` */
	readonly name: string;
	readonly package: string;
	/** `proto3`; empty: proto2. */
	readonly syntax: string;
	readonly messages: readonly Entry[];
	readonly enums: readonly Entry[];
	readonly services: readonly Entry[];
}

export interface MessageEntries {
	readonly fields: readonly FieldEntry[];
	readonly oneofs: readonly string[];
	/** Without the entries of maps. */
	readonly messages: readonly Entry[];
	/** The messages that stand for the entries of maps. */
	readonly mapEntries: readonly Entry[];
	readonly enums: readonly Entry[];
	readonly deprecated: boolean;
}

/** `FieldDescriptorProto.Type`; the others are those of ScalarType. */
export const TYPE_MESSAGE = 11;
export const TYPE_ENUM = 14;
export const TYPE_STRING = 9;
export const TYPE_BYTES = 12;
/** `FieldDescriptorProto.Label`. */
export const LABEL_REPEATED = 3;

export interface FieldEntry {
	readonly name: string;
	readonly number: number;
	readonly label: number;
	readonly type: number;
	/** Without the leading dot; empty for scalars. */
	readonly typeName: string;
	/** -1: it is in none. */
	readonly oneofIndex: number;
	/** Empty: that which follows from the name. */
	readonly jsonName: string;
	readonly proto3Optional: boolean;
	readonly deprecated: boolean;
	/** Null: not said. */
	readonly packed: boolean | null;
}

export interface EnumValueEntry {
	readonly name: string;
	readonly number: number;
	readonly deprecated: boolean;
}

export interface MethodEntry {
	readonly name: string;
	readonly inputType: string;
	readonly outputType: string;
	readonly clientStreaming: boolean;
	readonly serverStreaming: boolean;
	readonly idempotency: number;
	readonly deprecated: boolean;
}

export function readFile(bytes: Uint8Array): FileEntries {
	const file = { name: '', package: '', syntax: '' };
	const messages: Entry[] = [];
	const enums: Entry[] = [];
	const services: Entry[] = [];
	eachField(bytes, (reader, number) => {
		if (number === 1) file.name = reader.string();
		else if (number === 2) file.package = reader.string();
		else if (number === 4) messages.push(entry(reader.bytes()));
		else if (number === 5) enums.push(entry(reader.bytes()));
		else if (number === 6) services.push(entry(reader.bytes()));
		else if (number === 12) file.syntax = reader.string();
		else return false;
		return true;
	});
	return { ...file, messages, enums, services };
}

export function readMessage(bytes: Uint8Array): MessageEntries {
	const fields: FieldEntry[] = [];
	const oneofs: string[] = [];
	const messages: Entry[] = [];
	const mapEntries: Entry[] = [];
	const enums: Entry[] = [];
	let deprecated = false;
	eachField(bytes, (reader, number) => {
		if (number === 2) fields.push(readField(reader.bytes()));
		else if (number === 3) {
			const nested = entry(reader.bytes());
			(isMapEntry(nested.bytes) ? mapEntries : messages).push(nested);
		} else if (number === 4) enums.push(entry(reader.bytes()));
		else if (number === 7) deprecated = isSet(reader.bytes(), 3);
		else if (number === 8) oneofs.push(entry(reader.bytes()).name);
		else return false;
		return true;
	});
	return { fields, oneofs, messages, mapEntries, enums, deprecated };
}

export function readEnum(bytes: Uint8Array): {
	readonly values: readonly EnumValueEntry[];
	readonly deprecated: boolean;
} {
	const values: EnumValueEntry[] = [];
	let deprecated = false;
	eachField(bytes, (reader, number) => {
		if (number === 2) values.push(readEnumValue(reader.bytes()));
		else if (number === 3) deprecated = isSet(reader.bytes(), 3);
		else return false;
		return true;
	});
	return { values, deprecated };
}

export function readService(bytes: Uint8Array): {
	readonly methods: readonly MethodEntry[];
	readonly deprecated: boolean;
} {
	const methods: MethodEntry[] = [];
	let deprecated = false;
	eachField(bytes, (reader, number) => {
		if (number === 2) methods.push(readMethod(reader.bytes()));
		else if (number === 3) deprecated = isSet(reader.bytes(), 33);
		else return false;
		return true;
	});
	return { methods, deprecated };
}

function readField(bytes: Uint8Array): FieldEntry {
	const field = {
		name: '',
		number: 0,
		label: 0,
		type: 0,
		typeName: '',
		oneofIndex: -1,
		jsonName: '',
		proto3Optional: false,
		deprecated: false,
		packed: null as boolean | null,
	};
	eachField(bytes, (reader, number) => {
		if (number === 1) field.name = reader.string();
		else if (number === 3) field.number = reader.int32();
		else if (number === 4) field.label = reader.int32();
		else if (number === 5) field.type = reader.int32();
		else if (number === 6) field.typeName = reader.string().replace(/^\./, '');
		else if (number === 8) {
			const options = reader.bytes();
			field.deprecated = isSet(options, 3);
			field.packed = flagOf(options, 2);
		} else if (number === 9) field.oneofIndex = reader.int32();
		else if (number === 10) field.jsonName = reader.string();
		else if (number === 17) field.proto3Optional = reader.bool();
		else return false;
		return true;
	});
	return field;
}

function readEnumValue(bytes: Uint8Array): EnumValueEntry {
	const value = { name: '', number: 0, deprecated: false };
	eachField(bytes, (reader, number) => {
		if (number === 1) value.name = reader.string();
		else if (number === 2) value.number = reader.int32();
		else if (number === 3) value.deprecated = isSet(reader.bytes(), 1);
		else return false;
		return true;
	});
	return value;
}

function readMethod(bytes: Uint8Array): MethodEntry {
	const method = {
		name: '',
		inputType: '',
		outputType: '',
		clientStreaming: false,
		serverStreaming: false,
		idempotency: 0,
		deprecated: false,
	};
	eachField(bytes, (reader, number) => {
		if (number === 1) method.name = reader.string();
		else if (number === 2) method.inputType = reader.string().replace(/^\./, '');
		else if (number === 3) method.outputType = reader.string().replace(/^\./, '');
		else if (number === 4) {
			const options = reader.bytes();
			method.deprecated = isSet(options, 33);
			method.idempotency = numberOf(options, 34);
		} else if (number === 5) method.clientStreaming = reader.bool();
		else if (number === 6) method.serverStreaming = reader.bool();
		else return false;
		return true;
	});
	return method;
}

/** Messages, enums, services and oneofs have their name in field 1. */
function entry(bytes: Uint8Array): Entry {
	let name = '';
	eachField(bytes, (reader, number) => {
		if (number !== 1) return false;
		name = reader.string();
		return true;
	});
	return { name, bytes };
}

function isMapEntry(message: Uint8Array): boolean {
	let is = false;
	eachField(message, (reader, number) => {
		if (number !== 7) return false;
		is = isSet(reader.bytes(), 7);
		return true;
	});
	return is;
}

function isSet(options: Uint8Array, option: number): boolean {
	return flagOf(options, option) === true;
}

function flagOf(options: Uint8Array, option: number): boolean | null {
	let flag: boolean | null = null;
	eachField(options, (reader, number) => {
		if (number !== option) return false;
		flag = reader.bool();
		return true;
	});
	return flag;
}

function numberOf(options: Uint8Array, option: number): number {
	let value = 0;
	eachField(options, (reader, number) => {
		if (number !== option) return false;
		value = reader.int32();
		return true;
	});
	return value;
}

/** `take` reads the field's value, or says false, and it is passed over. */
function eachField(bytes: Uint8Array, take: (reader: BinaryReader, number: number, type: WireType) => boolean): void {
	const reader = new BinaryReader(bytes);
	while (reader.pos < reader.len) {
		const [number, type] = reader.tag();
		if (!take(reader, number, type)) reader.skip(type, number);
	}
}
