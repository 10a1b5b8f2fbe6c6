// Every generated file, described by the library and by us: the same, down to the last field.

import { expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DescEnum, DescField, DescFile, DescMessage } from '@bufbuild/protobuf';
import { create, fromBinary, fromJson, toBinary, toJson } from '@bufbuild/protobuf';
import { fileDesc as libraryFileDesc } from '@bufbuild/protobuf/codegenv2';
import * as wkt from '@bufbuild/protobuf/wkt';
import { ClusterSchema } from '../generated/envoy/config/cluster/v3/cluster_pb.ts';
import { ClusterLoadAssignmentSchema } from '../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import { fileDesc } from './descriptors.ts';

interface Source {
	/** Described by us; else by the library. */
	readonly isOurs: boolean;
	readonly base64: string;
	readonly imports: readonly string[];
}

/** By the name of the constant. */
function generatedFiles(): Map<string, Source> {
	const root = join(import.meta.dir, '../generated');
	const sources = new Map<string, Source>();
	for (const name of readdirSync(root, { recursive: true }).map(String)) {
		if (!name.endsWith('_pb.ts')) continue;
		const text = readFileSync(join(root, name), 'utf8');
		const isOurs = text.includes('protobuf/descriptors.ts"');
		const match = /export const (file_\w+): GenFile = [^\n]*\n {2}fileDesc\("([^"]*)"(?:, \[(.*)\])?\);/.exec(text)!;
		sources.set(match[1]!, {
			isOurs,
			base64: match[2]!,
			imports: (match[3] ?? '').split(', ').filter((one) => one !== ''),
		});
	}
	return sources;
}

const sources = generatedFiles();

function built(make: (base64: string, imports: DescFile[]) => DescFile): Map<string, DescFile> {
	const files = new Map<string, DescFile>();
	const get = (name: string): DescFile => {
		let file = files.get(name) ?? (wkt as unknown as Record<string, DescFile>)[name];
		if (file === undefined) {
			const { isOurs, base64, imports } = sources.get(name)!;
			file = (isOurs ? make : libraryFileDesc)(base64, imports.map(get));
			files.set(name, file);
		}
		return file;
	};
	for (const name of sources.keys()) get(name);
	return files;
}

function field(one: DescField): unknown {
	const { kind, name, number, localName, jsonName, deprecated, utf8Validation, presence, fieldKind, parent } = one;
	const common = { kind, name, number, localName, jsonName, deprecated, utf8Validation, presence, fieldKind };
	return {
		...common,
		text: String(one),
		parent: parent.typeName,
		oneof: one.oneof?.name,
		scalar: one.scalar,
		message: one.message?.typeName,
		enum: one.enum?.typeName,
		listKind: (one as { listKind?: string }).listKind,
		mapKind: (one as { mapKind?: string }).mapKind,
		mapKey: (one as { mapKey?: number }).mapKey,
		packed: (one as { packed?: boolean }).packed,
		delimited: (one as { delimitedEncoding?: boolean }).delimitedEncoding,
		longAsString: (one as { longAsString?: boolean }).longAsString,
		value: (one as { getDefaultValue?: () => unknown }).getDefaultValue?.(),
	};
}

function enumeration(one: DescEnum): unknown {
	const { name, typeName, open, sharedPrefix, deprecated } = one;
	const values = one.values.map((value) => {
		const { name, localName, jsonName, number, deprecated } = value;
		return { name, localName, jsonName, number, deprecated, text: String(value) };
	});
	const byNumber = Object.entries(one.value).map(([number, value]) => [number, value.name]);
	return { name, typeName, open, sharedPrefix, deprecated, values, byNumber, text: String(one) };
}

function message(one: DescMessage): unknown {
	return {
		name: one.name,
		typeName: one.typeName,
		deprecated: one.deprecated,
		text: String(one),
		fields: one.fields.map(field),
		byName: Object.entries(one.field).map(([name, { number }]) => [name, number]),
		members: one.members.map(String),
		oneofs: one.oneofs.map((oneof) => [String(oneof), oneof.localName, oneof.fields.map(String)]),
		messages: one.nestedMessages.map(message),
		enums: one.nestedEnums.map(enumeration),
	};
}

function described(file: DescFile): unknown {
	return {
		name: file.name,
		edition: file.edition,
		text: String(file),
		proto: [file.proto.name, file.proto.package],
		messages: file.messages.map(message),
		enums: file.enums.map(enumeration),
		services: file.services.map((service) => ({
			typeName: service.typeName,
			text: String(service),
			deprecated: service.deprecated,
			byName: Object.keys(service.method),
			methods: service.methods.map((method) => ({
				text: String(method),
				localName: method.localName,
				kind: method.methodKind,
				input: method.input.typeName,
				output: method.output.typeName,
				idempotency: method.idempotency,
				deprecated: method.deprecated,
			})),
		})),
	};
}

test('a descriptor says what the library says', () => {
	const theirs = built(libraryFileDesc);
	const ours = built(fileDesc);
	expect(ours.size).toBeGreaterThan(90);
	for (const [name, file] of ours) expect(described(file), name).toEqual(described(theirs.get(name)!));
});

test('a type is one object, however it is come by', () => {
	const cluster: DescMessage = ClusterSchema;
	const assignment = cluster.fields.find(({ name }) => name === 'load_assignment')!.message!;
	// Not by toBe, which would print all there is.
	expect(cluster.file.messages.includes(cluster)).toBe(true);
	expect(assignment === ClusterLoadAssignmentSchema).toBe(true);
	expect(cluster.nestedMessages.every(({ parent }) => parent === cluster)).toBe(true);
});

test('the library reads and writes by them, in binary and as JSON', () => {
	const json = {
		name: 'c',
		type: 'STRICT_DNS',
		connect_timeout: '1.500s',
		typed_extension_protocol_options: {},
		metadata: { filter_metadata: { a: { b: [1, 'x', null] } } },
		load_assignment: {
			cluster_name: 'c',
			endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 'x', port_value: 1 } } } }] }],
		},
	};
	const made = fromJson(ClusterSchema, json);
	const again = fromBinary(ClusterSchema, toBinary(ClusterSchema, made));
	expect(toJson(ClusterSchema, again, { useProtoFieldName: true })).toMatchObject({ name: 'c', type: 'STRICT_DNS' });
	expect(again).toEqual(made);
	expect(create(ClusterSchema).name).toBe('');
});
