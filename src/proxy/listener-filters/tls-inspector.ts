// Envoy's `tls_inspector`: does the client speak TLS, and if so, whom does it ask for?

import {
	type TlsInspector as TlsInspectorConfig,
	TlsInspectorSchema,
} from '../../generated/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts';
import { readClientHello } from '../../net/client-hello.ts';
import type { Connection } from '../../net/network.ts';
import type { Counter, Histogram, MetricRegistry } from '../../telemetry/registry.ts';
import type { TypedConfig } from '../typed-config.ts';
import type { Findings, Inspector, ListenerFilter, Verdict } from './listener-filter.ts';

export const TLS_INSPECTOR_TYPE = 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector';

export const TLS_INSPECTOR_FIELDS = {
	'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector': [
		'initial_read_buffer_size',
		'close_connection_on_client_hello_parsing_errors',
		'max_client_hello_size',
	],
} as const;

const CLIENT_HELLO_BYTES_MAX = 16 * 1024;

interface Settings {
	readonly bytesMax: number;
	readonly closesOnErrors: boolean;
	readonly stats: TlsInspectorStats;
}

interface TlsInspectorStats {
	readonly found: Counter;
	readonly notFound: Counter;
	readonly tooLarge: Counter;
	readonly nameFound: Counter;
	readonly nameNotFound: Counter;
	readonly alpnFound: Counter;
	readonly alpnNotFound: Counter;
	readonly bytes: Histogram;
}

/** @throws ConfigError */
export function compileTlsInspector(config: TypedConfig, registry: MetricRegistry): ListenerFilter {
	const message: TlsInspectorConfig = config.message(TlsInspectorSchema, TLS_INSPECTOR_FIELDS);
	const bytesMax = message.maxClientHelloSize ?? CLIENT_HELLO_BYTES_MAX;
	if (bytesMax < 256 || bytesMax > CLIENT_HELLO_BYTES_MAX) {
		throw config.error('max_client_hello_size', String(bytesMax), `256 to ${CLIENT_HELLO_BYTES_MAX}`);
	}
	const counter = (name: string, help: string): Counter => registry.counter(`envoy_tls_inspector_${name}`, help).with();
	const settings: Settings = {
		bytesMax,
		closesOnErrors: message.closeConnectionOnClientHelloParsingErrors,
		stats: {
			found: counter('tls_found', 'Connections that began with a ClientHello'),
			notFound: counter('tls_not_found', 'Connections that did not'),
			tooLarge: counter('client_hello_too_large', 'Connections closed because of the size of their ClientHello'),
			nameFound: counter('sni_found', 'ClientHellos with a server name'),
			nameNotFound: counter('sni_not_found', 'ClientHellos without one'),
			alpnFound: counter('alpn_found', 'ClientHellos with application protocols'),
			alpnNotFound: counter('alpn_not_found', 'ClientHellos without'),
			bytes: registry
				.histogram('envoy_tls_inspector_bytes_processed', 'Bytes that were looked at', [], CLIENT_HELLO_BUCKETS)
				.with(),
		},
	};
	return { begin: (_connection: Connection, found: Findings) => new TlsInspector(settings, found) };
}

const CLIENT_HELLO_BUCKETS = [5, 64, 128, 256, 512, 1024, 1536, 2048, 4096, 8192, 16384];

class TlsInspector implements Inspector {
	readonly takenBytes = 0;

	constructor(
		private readonly settings: Settings,
		private readonly found: Findings,
	) {}

	inspect(bytes: Uint8Array): Verdict {
		const { stats, bytesMax, closesOnErrors } = this.settings;
		const hello = readClientHello(bytes.length > bytesMax ? bytes.subarray(0, bytesMax) : bytes);
		if (hello === 'incomplete') {
			if (bytes.length < bytesMax) return 'more';
			stats.tooLarge.inc();
			stats.bytes.observe(bytesMax);
			return 'close';
		}
		stats.bytes.observe(Math.min(bytes.length, bytesMax));
		if (hello === 'not_tls') {
			if (closesOnErrors) return 'close';
			stats.notFound.inc();
			return 'done';
		}
		stats.found.inc();
		this.found.transportProtocol = 'tls';
		(hello.serverName === '' ? stats.nameNotFound : stats.nameFound).inc();
		(hello.alpn.length === 0 ? stats.alpnNotFound : stats.alpnFound).inc();
		this.found.serverName = hello.serverName;
		this.found.applicationProtocols = hello.alpn;
		return 'done';
	}
}
