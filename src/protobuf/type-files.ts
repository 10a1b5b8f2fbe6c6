// A registry of the types of some files, in which nothing is made before it is asked for; and reading JSON
// without keeping what that takes.

import {
	type DescFile,
	type DescMessage,
	fromJson,
	type JsonValue,
	type MessageShape,
	type Registry,
} from '@bufbuild/protobuf';
import { nestedTypes } from '@bufbuild/protobuf/reflect';
import { assert } from '../std/assert.ts';
import { copyFile, findType } from './descriptors.ts';

type AnyType = NonNullable<ReturnType<Registry['get']>>;

/** Messages, enums and services; there are no extensions. */
export class TypeFiles implements Registry {
	readonly kind = 'registry';
	private readonly found = new Map<string, AnyType | undefined>();

	constructor(private readonly files: readonly DescFile[]) {}

	/** All there are, which makes them. */
	*[Symbol.iterator](): IterableIterator<AnyType> {
		for (const file of this.files) yield* nestedTypes(file);
	}

	get(typeName: string): AnyType | undefined {
		if (this.found.has(typeName)) return this.found.get(typeName);
		let type: AnyType | undefined;
		for (const file of this.files) {
			type = findType(file, typeName) ?? file.services.find((service) => service.typeName === typeName);
			if (type !== undefined) break;
		}
		// Names come from configuration: those that are none are not kept.
		if (type !== undefined) this.found.set(typeName, type);
		return type;
	}

	getMessage(typeName: string): DescMessage | undefined {
		const type = this.get(typeName);
		return type?.kind === 'message' ? type : undefined;
	}

	getEnum(typeName: string): ReturnType<Registry['getEnum']> {
		const type = this.get(typeName);
		return type?.kind === 'enum' ? type : undefined;
	}

	getService(typeName: string): ReturnType<Registry['getService']> {
		const type = this.get(typeName);
		return type?.kind === 'service' ? type : undefined;
	}

	getExtension(): undefined {
		return undefined;
	}

	getExtensionFor(): undefined {
		return undefined;
	}

	/** The same files with descriptors of their own; see `copyFile`. */
	copy(copies: Map<DescFile, DescFile>): TypeFiles {
		return new TypeFiles(this.files.map((file) => copyFile(file, copies)));
	}
}

/**
 * As `fromJson`, and as slow as it is the first time: what the library compiles for a type, and for all types that
 * can be reached from it, is 4 MB for a bootstrap. It is kept with the descriptors, which here are copies.
 */
export function fromJsonOnce<Schema extends DescMessage>(
	schema: Schema,
	json: JsonValue,
	registry: TypeFiles,
): MessageShape<Schema> {
	const copies = new Map<DescFile, DescFile>();
	const copy = findType(copyFile(schema.file, copies), schema.typeName);
	assert(copy?.kind === 'message', 'a copy of a file has what the file has');
	return fromJson(copy, json, { registry: registry.copy(copies) }) as MessageShape<Schema>;
}
