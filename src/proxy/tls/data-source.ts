// Envoy's `DataSource`: text inline, from a file, or from the environment. Read once, when
// configuration is compiled.

import { readFileSync, statSync } from 'node:fs';
import type { DataSource } from '../../generated/envoy/config/core/v3/base_pb.ts';
import { ConfigError, errorMessage } from '../../std/errors.ts';

/** Certificates, keys and bodies are far smaller; a path to something endless must not fill the memory. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;

/** @throws ConfigError when nothing is given or the file cannot be read */
export function readDataSource(source: DataSource | undefined, object: string, field: string): string {
	switch (source?.specifier.case) {
		case 'inlineString':
			return source.specifier.value;
		case 'inlineBytes':
			return new TextDecoder().decode(source.specifier.value);
		case 'filename':
			return readTextFile(source.specifier.value, object, `${field}.filename`);
		case 'environmentVariable': {
			const value = process.env[source.specifier.value];
			if (value !== undefined) return value;
			throw new ConfigError({
				object,
				field: `${field}.environment_variable`,
				found: source.specifier.value,
				expected: 'an environment variable that is set',
			});
		}
		default:
			throw new ConfigError({
				object,
				field,
				expected: 'filename, inline_string, inline_bytes or environment_variable',
			});
	}
}

/** @throws ConfigError when it cannot be read or is too large */
export function readTextFile(path: string, object: string, field: string): string {
	try {
		if (statSync(path).size > FILE_BYTES_MAX) {
			throw new ConfigError({ object, field, found: path, expected: `a file of at most ${FILE_BYTES_MAX} bytes` });
		}
		return readFileSync(path, 'utf8');
	} catch (error) {
		if (error instanceof ConfigError) throw error;
		throw new ConfigError({ object, field, found: path, expected: `a file that can be read (${errorMessage(error)})` });
	}
}
