// Which transport a host is spoken to with: Envoy's `transport_socket_matches` choose by the
// endpoint's metadata, the first that fits wins; else the cluster's `transport_socket`; else plain.

import { anyUnpack } from '@bufbuild/protobuf/wkt';
import type { Cluster } from '../../generated/envoy/config/cluster/v3/cluster_pb.ts';
import type { TransportSocket } from '../../generated/envoy/config/core/v3/base_pb.ts';
import { RawBufferSchema } from '../../generated/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts';
import { UpstreamTlsContextSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import type { SecretManager } from '../tls/secret-manager.ts';
import { type CompiledUpstreamTls, compileUpstreamTls } from '../tls/tls-context.ts';
import type { HostMetadata } from './upstream-host.ts';

const MATCH_METADATA = 'envoy.transport_socket_match';
export const TLS_TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
const RAW_TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer';

interface Match {
	readonly name: string;
	readonly criteria: Readonly<Record<string, unknown>>;
	readonly tls: CompiledUpstreamTls | null;
}

export class TransportSockets {
	private readonly matches: Match[] = [];
	private readonly fallback: CompiledUpstreamTls | null = null;

	/** @throws ConfigError */
	constructor(message: Cluster, secrets: SecretManager) {
		const object = `cluster ${JSON.stringify(message.name)}`;
		try {
			for (const [i, entry] of message.transportSocketMatches.entries()) {
				const field = `transport_socket_matches[${i}]`;
				if (entry.transportSocket === undefined) {
					throw new ConfigError({ object, field: `${field}.transport_socket`, expected: 'a transport socket' });
				}
				const tls = compileSocket(entry.transportSocket, secrets, object, `${field}.transport_socket`);
				this.matches.push({ name: entry.name, criteria: entry.match ?? {}, tls });
			}
			if (message.transportSocket !== undefined) {
				this.fallback = compileSocket(message.transportSocket, secrets, object, 'transport_socket');
			}
		} catch (error) {
			this.close();
			throw error;
		}
	}

	/** Null: plain text. */
	forEndpoint(metadata: HostMetadata): CompiledUpstreamTls | null {
		const given = metadata[MATCH_METADATA] ?? {};
		for (const { criteria, tls } of this.matches) if (fits(criteria, given)) return tls;
		return this.fallback;
	}

	/** Every context, with the name of its match; empty for the cluster's own. */
	*contexts(): IterableIterator<{ readonly name: string; readonly tls: CompiledUpstreamTls }> {
		for (const { name, tls } of this.matches) if (tls !== null) yield { name, tls };
		if (this.fallback !== null) yield { name: '', tls: this.fallback };
	}

	close(): void {
		for (const { tls } of this.matches) tls?.close();
		this.fallback?.close();
	}
}

/** Every criterion is there with an equal value. None: fits everything. */
function fits(criteria: Readonly<Record<string, unknown>>, given: Readonly<Record<string, unknown>>): boolean {
	for (const key in criteria) if (!Bun.deepEquals(criteria[key], given[key], true)) return false;
	return true;
}

function compileSocket(
	socket: TransportSocket,
	secrets: SecretManager,
	object: string,
	field: string,
): CompiledUpstreamTls | null {
	const config = socket.configType.value;
	if (config === undefined) {
		if (socket.name === 'envoy.transport_sockets.raw_buffer') return null;
		throw new ConfigError({ object, field: `${field}.typed_config`, expected: 'UpstreamTlsContext or RawBuffer' });
	}
	switch (config.typeUrl) {
		case TLS_TYPE:
			return compileUpstreamTls(anyUnpack(config, UpstreamTlsContextSchema)!, secrets, object, `${field}.typed_config`);
		case RAW_TYPE:
			anyUnpack(config, RawBufferSchema);
			return null;
		default:
			throw new ConfigError({
				object,
				field: `${field}.typed_config`,
				found: config.typeUrl,
				expected: 'UpstreamTlsContext or RawBuffer',
			});
	}
}
