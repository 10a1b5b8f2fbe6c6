// Descriptors of generated protobuf code that are made when they are first asked for. Those of the
// library are made for whole files, and all that these import, when a module is loaded: for the Envoy
// API that is 70,000 objects, of which a sidecar uses a tenth.
//
//   generated code ──messageDesc──▶ a message that only knows its place
//                                      │ first use: fields, oneofs, nested types
//                                      ▼
//                        fields, whose message or enum is looked up when first used
//
// The generated code calls these in place of the functions of the same names in
// `@bufbuild/protobuf/codegenv2` (scripts/generate-protos.ts). They hold for proto3 files without
// extensions; for others the generator leaves the library's. What is not kept is `proto`, the raw form:
// nothing that weft uses of the library looks at it.

import type { DescEnum, DescFile, DescMessage, DescMethod, Message } from '@bufbuild/protobuf';
import type { GenEnum, GenFile, GenMessage, GenService, GenServiceMethods } from '@bufbuild/protobuf/codegenv2';
import { protoCamelCase, safeObjectProperty } from '@bufbuild/protobuf/reflect';
import { assert } from '../std/assert.ts';
import {
	type Entry,
	type EnumValueEntry,
	type FieldEntry,
	type FileEntries,
	LABEL_REPEATED,
	type MessageEntries,
	type MethodEntry,
	readEnum,
	readFile,
	readMessage,
	readService,
	TYPE_BYTES,
	TYPE_ENUM,
	TYPE_MESSAGE,
	TYPE_STRING,
} from './file-descriptor.ts';

/** Of `google.protobuf.Edition` and of `FeatureSet.FieldPresence`. */
const EDITION_PROTO3 = 999;
const EXPLICIT = 1;
const IMPLICIT = 2;

// --- what generated code calls

/** @param base64 the FileDescriptorProto; its own imports are not looked at, but `imports` */
export function fileDesc(base64: string, imports: readonly DescFile[] = []): GenFile {
	return new LazyFile(base64, imports) as unknown as GenFile;
}

export function messageDesc<Shape extends Message>(
	file: DescFile,
	path: number,
	...paths: number[]
): GenMessage<Shape> {
	return (file as unknown as LazyFile).messageAt([path, ...paths]) as unknown as GenMessage<Shape>;
}

export function enumDesc<Shape extends number>(file: DescFile, path: number, ...paths: number[]): GenEnum<Shape> {
	return (file as unknown as LazyFile).enumAt([path, ...paths]) as unknown as GenEnum<Shape>;
}

export function serviceDesc<Shape extends GenServiceMethods>(file: DescFile, path: number): GenService<Shape> {
	return (file as unknown as LazyFile).serviceAt(path) as unknown as GenService<Shape>;
}

/** The message or enum of that full name, when it is of this file (its imports are not looked at). */
export function findType(file: DescFile, typeName: string): DescMessage | DescEnum | undefined {
	const own: unknown = file;
	if (own instanceof LazyFile) return own.find(typeName) as unknown as DescMessage | DescEnum | undefined;
	return findNamed(file.messages, file.enums, typeName);
}

/**
 * The same file once more, with descriptors of its own, and its imports likewise (those that `copies` has are
 * taken from there). The library's own files are not copied.
 */
export function copyFile(file: DescFile, copies: Map<DescFile, DescFile>): DescFile {
	const own: unknown = file;
	if (!(own instanceof LazyFile)) return file;
	let copy = copies.get(file);
	if (copy === undefined) {
		copy = own.copy((dependency) => copyFile(dependency, copies)) as unknown as DescFile;
		copies.set(file, copy);
	}
	return copy;
}

// --- what they are

function withoutProto(what: string): never {
	throw new Error(`${what}: descriptors of weft do not keep their proto`);
}

class LazyFile {
	readonly kind = 'file';
	readonly edition = EDITION_PROTO3;
	readonly deprecated = false;
	/** None: files that have some are left to the library. */
	readonly extensions: readonly never[] = [];
	private entries: FileEntries | null = null;
	private readonly messagesMade: LazyMessage[] = [];
	private readonly enumsMade: LazyEnum[] = [];
	private readonly servicesMade: LazyService[] = [];

	constructor(
		private readonly base64: string,
		readonly dependencies: readonly DescFile[],
	) {}

	get read(): FileEntries {
		this.entries ??= readFile(new Uint8Array(Buffer.from(this.base64, 'base64')));
		return this.entries;
	}

	/** Without `.proto`. */
	get name(): string {
		return this.read.name.replace(/\.proto$/, '');
	}

	get messages(): readonly LazyMessage[] {
		return this.read.messages.map((_, index) => this.topMessage(index));
	}

	get enums(): readonly LazyEnum[] {
		return this.read.enums.map((_, index) => this.topEnum(index));
	}

	get services(): readonly LazyService[] {
		return this.read.services.map((_, index) => this.serviceAt(index));
	}

	/** Its name and package are all that is there. */
	get proto(): { readonly name: string; readonly package: string } {
		const { name, package: scope } = this.read;
		return { name, package: scope };
	}

	copy(ofImport: (file: DescFile) => DescFile): LazyFile {
		return new LazyFile(this.base64, this.dependencies.map(ofImport));
	}

	messageAt(path: readonly number[]): LazyMessage {
		let message = this.topMessage(path[0]!);
		for (let i = 1; i < path.length; i++) message = message.nestedAt(path[i]!);
		return message;
	}

	enumAt(path: readonly number[]): LazyEnum {
		const last = path[path.length - 1]!;
		return path.length === 1 ? this.topEnum(last) : this.messageAt(path.slice(0, -1)).enumAt(last);
	}

	serviceAt(index: number): LazyService {
		const made = this.servicesMade[index];
		if (made !== undefined) return made;
		const service = new LazyService(this, index);
		this.servicesMade[index] = service;
		return service;
	}

	/** Undefined: it is not of this file. */
	find(typeName: string): LazyMessage | LazyEnum | undefined {
		const { package: scope, messages, enums } = this.read;
		if (scope !== '' && !typeName.startsWith(`${scope}.`)) return undefined;
		const names = (scope === '' ? typeName : typeName.slice(scope.length + 1)).split('.');
		const first = messages.findIndex(({ name }) => name === names[0]);
		if (first >= 0) return this.topMessage(first).findNested(names, 1);
		const index = names.length === 1 ? enums.findIndex(({ name }) => name === names[0]) : -1;
		return index < 0 ? undefined : this.topEnum(index);
	}

	/** A type that a field of this file names. */
	resolve(typeName: string): AnyType {
		const found = this.find(typeName) ?? findIn(this.dependencies, typeName, new Set());
		assert(found !== undefined, `no import has the type ${typeName}`);
		return found;
	}

	toString(): string {
		return `file ${this.read.name}`;
	}

	private topMessage(index: number): LazyMessage {
		const made = this.messagesMade[index];
		if (made !== undefined) return made;
		const message = new LazyMessage(this, undefined, index);
		this.messagesMade[index] = message;
		return message;
	}

	private topEnum(index: number): LazyEnum {
		const made = this.enumsMade[index];
		if (made !== undefined) return made;
		const one = new LazyEnum(this, undefined, index);
		this.enumsMade[index] = one;
		return one;
	}
}

type AnyType = LazyMessage | LazyEnum | DescMessage | DescEnum;

/** Also in what imports import, which matters where those are public. */
function findIn(files: readonly DescFile[], typeName: string, seen: Set<DescFile>): DescMessage | DescEnum | undefined {
	for (const file of files) {
		if (seen.has(file)) continue;
		seen.add(file);
		const found = findType(file, typeName);
		if (found !== undefined) return found;
	}
	for (const file of files) {
		const found = findIn(file.dependencies, typeName, seen);
		if (found !== undefined) return found;
	}
	return undefined;
}

/** Among the library's. */
function findNamed(
	messages: readonly DescMessage[],
	enums: readonly DescEnum[],
	typeName: string,
): DescMessage | DescEnum | undefined {
	for (const one of enums) if (one.typeName === typeName) return one;
	for (const message of messages) {
		if (message.typeName === typeName) return message;
		if (!typeName.startsWith(`${message.typeName}.`)) continue;
		return findNamed(message.nestedMessages, message.nestedEnums, typeName);
	}
	return undefined;
}

/** What a message is once it was looked into. */
interface MessageContent {
	readonly fields: readonly LazyField[];
	readonly field: Readonly<Record<string, LazyField>>;
	readonly oneofs: readonly LazyOneof[];
	readonly members: readonly (LazyField | LazyOneof)[];
}

class LazyMessage {
	readonly kind = 'message';
	readonly nestedExtensions: readonly never[] = [];
	private entries: MessageEntries | null = null;
	private content: MessageContent | null = null;
	private fullName = '';
	private readonly nestedMade: LazyMessage[] = [];
	private readonly enumsMade: LazyEnum[] = [];

	/** `index`: among its parent's messages, map entries not counted; or the entry itself, of a map entry. */
	constructor(
		readonly file: LazyFile,
		readonly parent: LazyMessage | undefined,
		private readonly index: number | Entry,
	) {}

	get entry(): Entry {
		const { index } = this;
		if (typeof index !== 'number') return index;
		return this.parent === undefined ? this.file.read.messages[index]! : this.parent.read.messages[index]!;
	}

	get read(): MessageEntries {
		this.entries ??= readMessage(this.entry.bytes);
		return this.entries;
	}

	get name(): string {
		return this.entry.name;
	}

	get typeName(): string {
		if (this.fullName === '') this.fullName = scoped(this.file, this.parent, this.name);
		return this.fullName;
	}

	get deprecated(): boolean {
		return this.read.deprecated;
	}

	get fields(): readonly LazyField[] {
		return this.whole.fields;
	}

	get field(): Readonly<Record<string, LazyField>> {
		return this.whole.field;
	}

	get oneofs(): readonly LazyOneof[] {
		return this.whole.oneofs;
	}

	get members(): readonly (LazyField | LazyOneof)[] {
		return this.whole.members;
	}

	get nestedMessages(): readonly LazyMessage[] {
		return this.read.messages.map((_, index) => this.nestedAt(index));
	}

	get nestedEnums(): readonly LazyEnum[] {
		return this.read.enums.map((_, index) => this.enumAt(index));
	}

	get proto(): never {
		return withoutProto(this.typeName);
	}

	nestedAt(index: number): LazyMessage {
		const made = this.nestedMade[index];
		if (made !== undefined) return made;
		const message = new LazyMessage(this.file, this, index);
		this.nestedMade[index] = message;
		return message;
	}

	enumAt(index: number): LazyEnum {
		const made = this.enumsMade[index];
		if (made !== undefined) return made;
		const one = new LazyEnum(this.file, this, index);
		this.enumsMade[index] = one;
		return one;
	}

	/** `names[from]` and what follows name a type in this one; itself at their end. */
	findNested(names: readonly string[], from: number): LazyMessage | LazyEnum | undefined {
		if (from === names.length) return this;
		const { messages, enums } = this.read;
		const index = messages.findIndex(({ name }) => name === names[from]);
		if (index >= 0) return this.nestedAt(index).findNested(names, from + 1);
		const last = from === names.length - 1 ? enums.findIndex(({ name }) => name === names[from]) : -1;
		return last < 0 ? undefined : this.enumAt(last);
	}

	toString(): string {
		return `message ${this.typeName}`;
	}

	private get whole(): MessageContent {
		this.content ??= this.make();
		return this.content;
	}

	private make(): MessageContent {
		const { fields: entries, oneofs: names, mapEntries } = this.read;
		const all = names.map((name) => new LazyOneof(this, name));
		const seen = new Set<LazyOneof>();
		const fields: LazyField[] = [];
		const field: Record<string, LazyField> = {};
		const members: (LazyField | LazyOneof)[] = [];
		for (const one of entries) {
			// An optional field of proto3 is alone in a oneof that is not there otherwise.
			const oneof = one.oneofIndex < 0 || one.proto3Optional ? undefined : all[one.oneofIndex]!;
			const map = mapEntries.find(({ name }) => one.typeName === `${this.typeName}.${name}`);
			const made = new LazyField(one, this, oneof, map === undefined ? null : readMessage(map.bytes));
			fields.push(made);
			field[made.localName] = made;
			if (oneof === undefined) members.push(made);
			else {
				oneof.fields.push(made);
				if (!seen.has(oneof)) members.push(oneof);
				seen.add(oneof);
			}
		}
		return { fields, field, oneofs: all.filter((oneof) => seen.has(oneof)), members };
	}
}

class LazyOneof {
	readonly kind = 'oneof';
	readonly deprecated = false;
	readonly localName: string;
	readonly fields: LazyField[] = [];

	constructor(
		readonly parent: LazyMessage,
		readonly name: string,
	) {
		this.localName = safeObjectProperty(protoCamelCase(name));
	}

	get proto(): never {
		return withoutProto(this.name);
	}

	toString(): string {
		return `oneof ${this.parent.typeName}.${this.name}`;
	}
}

class LazyField {
	readonly kind = 'field';
	readonly name: string;
	readonly number: number;
	readonly localName: string;
	readonly jsonName: string;
	readonly deprecated: boolean;
	readonly utf8Validation = true;
	readonly presence: number;
	readonly fieldKind: 'scalar' | 'enum' | 'message' | 'list' | 'map';
	readonly listKind: 'scalar' | 'enum' | 'message' | undefined;
	readonly mapKind: 'scalar' | 'enum' | 'message' | undefined;
	readonly mapKey: number | undefined;
	readonly scalar: number | undefined;
	readonly packed: boolean | undefined;
	readonly delimitedEncoding: false | undefined;
	readonly longAsString = false;
	/** Of the value: that of the field itself, of a list's items, of a map's values. */
	private readonly valueType: number;
	private typeName: string;
	private type: AnyType | null = null;

	/** `map`: what its entries are, when it is one. */
	constructor(
		entry: FieldEntry,
		readonly parent: LazyMessage,
		readonly oneof: LazyOneof | undefined,
		map: MessageEntries | null,
	) {
		const value = map === null ? entry : map.fields.find(({ number }) => number === 2)!;
		const isRepeated = entry.label === LABEL_REPEATED;
		const kind = kindOf(value.type);
		this.name = entry.name;
		this.number = entry.number;
		const camelCase = protoCamelCase(entry.name);
		this.localName = oneof === undefined ? safeObjectProperty(camelCase) : camelCase;
		this.jsonName = entry.jsonName === '' ? camelCase : entry.jsonName;
		this.deprecated = entry.deprecated;
		this.valueType = value.type;
		this.typeName = value.typeName;
		this.fieldKind = map !== null ? 'map' : isRepeated ? 'list' : kind;
		this.listKind = this.fieldKind === 'list' ? kind : undefined;
		this.mapKind = map === null ? undefined : kind;
		this.mapKey = map?.fields.find(({ number }) => number === 1)?.type;
		this.scalar = kind === 'scalar' ? value.type : undefined;
		this.packed = this.fieldKind === 'list' ? isPacked(entry) : undefined;
		this.delimitedEncoding = map !== null || kind === 'message' ? false : undefined;
		const isTold = oneof !== undefined || entry.proto3Optional || kind === 'message';
		this.presence = isTold && !isRepeated ? EXPLICIT : IMPLICIT;
	}

	get message(): AnyType | undefined {
		return this.valueType === TYPE_MESSAGE ? this.resolve() : undefined;
	}

	get enum(): AnyType | undefined {
		return this.valueType === TYPE_ENUM ? this.resolve() : undefined;
	}

	get proto(): never {
		return withoutProto(this.name);
	}

	/** Proto3 has none. */
	getDefaultValue(): undefined {
		return undefined;
	}

	toString(): string {
		return `field ${this.parent.typeName}.${this.name}`;
	}

	private resolve(): AnyType {
		if (this.type === null) {
			this.type = this.parent.file.resolve(this.typeName);
			this.typeName = '';
		}
		return this.type;
	}
}

class LazyEnum {
	readonly kind = 'enum';
	/** As all of proto3. */
	readonly open = true;
	private content: {
		readonly values: readonly LazyEnumValue[];
		readonly value: Record<number, LazyEnumValue>;
		readonly sharedPrefix: string | undefined;
		readonly deprecated: boolean;
	} | null = null;

	constructor(
		readonly file: LazyFile,
		readonly parent: LazyMessage | undefined,
		private readonly index: number,
	) {}

	get name(): string {
		return this.entry.name;
	}

	get typeName(): string {
		return scoped(this.file, this.parent, this.name);
	}

	get values(): readonly LazyEnumValue[] {
		return this.whole.values;
	}

	get value(): Readonly<Record<number, LazyEnumValue>> {
		return this.whole.value;
	}

	get sharedPrefix(): string | undefined {
		return this.whole.sharedPrefix;
	}

	get deprecated(): boolean {
		return this.whole.deprecated;
	}

	get proto(): never {
		return withoutProto(this.typeName);
	}

	toString(): string {
		return `enum ${this.typeName}`;
	}

	private get entry(): Entry {
		return this.parent === undefined ? this.file.read.enums[this.index]! : this.parent.read.enums[this.index]!;
	}

	private get whole() {
		if (this.content !== null) return this.content;
		const { name, bytes } = this.entry;
		const { values: entries, deprecated } = readEnum(bytes);
		const sharedPrefix = sharedPrefixOf(name, entries);
		const values = entries.map((one) => new LazyEnumValue(this, one, sharedPrefix));
		const value: Record<number, LazyEnumValue> = {};
		// Of several names for a number, the first.
		for (const one of values) value[one.number] ??= one;
		this.content = { values, value, sharedPrefix, deprecated };
		return this.content;
	}
}

class LazyEnumValue {
	readonly kind = 'enum_value';
	readonly name: string;
	readonly localName: string;
	readonly jsonName: string;
	readonly number: number;
	readonly deprecated: boolean;

	constructor(
		readonly parent: LazyEnum,
		{ name, number, deprecated }: EnumValueEntry,
		sharedPrefix: string | undefined,
	) {
		this.name = name;
		this.jsonName = name;
		this.localName = safeObjectProperty(sharedPrefix === undefined ? name : name.slice(sharedPrefix.length));
		this.number = number;
		this.deprecated = deprecated;
	}

	get proto(): never {
		return withoutProto(this.name);
	}

	toString(): string {
		return `enum value ${this.parent.typeName}.${this.name}`;
	}
}

class LazyService {
	readonly kind = 'service';
	private made: readonly LazyMethod[] | null = null;
	private byName: Record<string, LazyMethod> | null = null;

	constructor(
		readonly file: LazyFile,
		private readonly index: number,
	) {}

	get name(): string {
		return this.file.read.services[this.index]!.name;
	}

	get typeName(): string {
		return scoped(this.file, undefined, this.name);
	}

	get deprecated(): boolean {
		return readService(this.file.read.services[this.index]!.bytes).deprecated;
	}

	get methods(): readonly LazyMethod[] {
		this.made ??= readService(this.file.read.services[this.index]!.bytes).methods.map(
			(method) => new LazyMethod(this, method),
		);
		return this.made;
	}

	get method(): Readonly<Record<string, LazyMethod>> {
		this.byName ??= Object.fromEntries(this.methods.map((method) => [method.localName, method]));
		return this.byName;
	}

	get proto(): never {
		return withoutProto(this.typeName);
	}

	toString(): string {
		return `service ${this.typeName}`;
	}
}

class LazyMethod {
	readonly kind = 'rpc';
	readonly name: string;
	readonly localName: string;
	readonly methodKind: DescMethod['methodKind'];
	readonly idempotency: number;
	readonly deprecated: boolean;

	constructor(
		readonly parent: LazyService,
		private readonly entry: MethodEntry,
	) {
		const { name, clientStreaming, serverStreaming, idempotency, deprecated } = entry;
		this.name = name;
		this.localName = safeObjectProperty(name.charAt(0).toLowerCase() + name.slice(1));
		if (clientStreaming) this.methodKind = serverStreaming ? 'bidi_streaming' : 'client_streaming';
		else this.methodKind = serverStreaming ? 'server_streaming' : 'unary';
		this.idempotency = idempotency;
		this.deprecated = deprecated;
	}

	get input(): AnyType {
		return this.parent.file.resolve(this.entry.inputType);
	}

	get output(): AnyType {
		return this.parent.file.resolve(this.entry.outputType);
	}

	get proto(): never {
		return withoutProto(this.name);
	}

	toString(): string {
		return `rpc ${this.parent.typeName}.${this.name}`;
	}
}

// --- rules of descriptors

function scoped(file: LazyFile, parent: LazyMessage | undefined, name: string): string {
	if (parent !== undefined) return `${parent.typeName}.${name}`;
	const { package: scope } = file.read;
	return scope === '' ? name : `${scope}.${name}`;
}

function kindOf(type: number): 'scalar' | 'enum' | 'message' {
	if (type === TYPE_MESSAGE) return 'message';
	return type === TYPE_ENUM ? 'enum' : 'scalar';
}

function isPacked({ type, packed }: FieldEntry): boolean {
	if (type === TYPE_STRING || type === TYPE_BYTES || type === TYPE_MESSAGE) return false;
	return packed ?? true;
}

/** `MY_ENUM_` where all values of `MyEnum` begin with it and what follows can be a name; in lower case. */
function sharedPrefixOf(enumName: string, values: readonly EnumValueEntry[]): string | undefined {
	const prefix = `${enumName.charAt(0)}${enumName.slice(1).replace(/[A-Z]/g, (letter) => `_${letter}`)}_`.toLowerCase();
	const isShared = values.every(
		({ name }) => name.toLowerCase().startsWith(prefix) && /^\D/.test(name.slice(prefix.length)),
	);
	return isShared ? prefix : undefined;
}
