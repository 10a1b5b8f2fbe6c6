// Envoy's `per_connection_buffer_limit_bytes`, of listeners and clusters: how much a connection may have
// buffered before who writes to it has to wait. As in Envoy, what one write brings may go beyond.

import { ConfigError } from '../std/errors.ts';

/** Null: not given; connections then have the network's default, 65536. @throws ConfigError for 0, Envoy's "no limit" */
export function compileBufferLimit(bytes: number | undefined, object: string): number | null {
	if (bytes === undefined) return null;
	if (bytes > 0) return bytes;
	throw new ConfigError({
		object,
		field: 'per_connection_buffer_limit_bytes',
		found: '0',
		expected: 'at least 1: weft has no buffers without a limit',
	});
}
