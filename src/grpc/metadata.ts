// Metadata: header fields that go with a call, both ways, in a flat list as everywhere. Names in
// lower case; a value is printable ASCII, save where the name ends in `-bin`: there it is bytes, in
// base64 on the wire.

import type { HeaderList } from '../http/headers.ts';
import { WeftError } from '../std/errors.ts';

/** What the call itself says. */
const RESERVED: ReadonlySet<string> = new Set(['content-type', 'te', 'user-agent', 'host', 'connection']);

/** @throws WeftError `grpc_bad_metadata` when gRPC has no such name or value */
export function addMetadata(list: HeaderList, name: string, value: string): void {
	if (name.endsWith('-bin') || !isName(name) || !/^[\x20-\x7e]*$/.test(value)) throw refused(name);
	list.push(name, value.trim());
}

/** @throws WeftError `grpc_bad_metadata` when the name does not end in `-bin` */
export function addBinaryMetadata(list: HeaderList, name: string, value: Uint8Array): void {
	if (!name.endsWith('-bin') || !isName(name)) throw refused(name);
	// Without padding, as the specification asks of senders.
	list.push(name, base64(value).replace(/=+$/, ''));
}

/** All values of a `-bin` name, in order: several fields, and several in one field. What is not base64 is left out. */
export function binaryMetadata(list: HeaderList, name: string): Uint8Array[] {
	const values: Uint8Array[] = [];
	for (let i = 0; i < list.length; i += 2) {
		if (list[i] !== name) continue;
		for (const part of list[i + 1]!.split(',')) {
			const text = part.trim();
			if (/^[A-Za-z0-9+/]*={0,2}$/.test(text)) values.push(new Uint8Array(Buffer.from(text, 'base64')));
		}
	}
	return values;
}

function isName(name: string): boolean {
	return /^[0-9a-z_.-]+$/.test(name) && !name.startsWith('grpc-') && !RESERVED.has(name);
}

function base64(bytes: Uint8Array): string {
	return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

function refused(name: string): WeftError {
	// The value may be a secret.
	return new WeftError('grpc_bad_metadata', `metadata ${JSON.stringify(name.slice(0, 64))} cannot be sent`);
}
