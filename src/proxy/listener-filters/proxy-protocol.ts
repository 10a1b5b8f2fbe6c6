// Envoy's listener filter `proxy_protocol`: a load balancer before us says for whom it speaks.

import {
	type ProxyProtocol,
	ProxyProtocolSchema,
} from '../../generated/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.ts';
import type { Connection } from '../../net/network.ts';
import { Logger } from '../../std/log.ts';
import type { Counter, MetricRegistry } from '../../telemetry/registry.ts';
import type { TypedConfig } from '../typed-config.ts';
import type { Findings, Inspector, ListenerFilter, Verdict } from './listener-filter.ts';
import { readProxyHeader } from './proxy-protocol-header.ts';

export const PROXY_PROTOCOL_TYPE =
	'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol';

export const PROXY_PROTOCOL_FIELDS = {
	'envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol': [
		'allow_requests_without_proxy_protocol',
		'disallowed_versions',
		'stat_prefix',
	],
} as const;

const log = new Logger('listener');

interface VersionStats {
	readonly found: Counter;
	readonly disallowed: Counter;
	readonly error: Counter;
}

interface Settings {
	readonly optional: boolean;
	readonly allowed: Readonly<Record<1 | 2, boolean>>;
	readonly absentAllowed: Counter;
	readonly absentDisallowed: Counter;
	readonly stats: Readonly<Record<1 | 2, VersionStats>>;
}

/** @throws ConfigError */
export function compileProxyProtocol(config: TypedConfig, registry: MetricRegistry): ListenerFilter {
	const message: ProxyProtocol = config.message(ProxyProtocolSchema, PROXY_PROTOCOL_FIELDS);
	const prefix = message.statPrefix;
	const counter = (name: string, help: string): Counter =>
		registry.counter(`envoy_proxy_proto_${name}`, help, ['envoy_proxy_protocol_prefix']).with(prefix);
	const versionStats = (version: 1 | 2): VersionStats => {
		const labels = ['envoy_proxy_protocol_prefix', 'envoy_proxy_protocol_version'];
		const of = (name: string, help: string): Counter =>
			registry.counter(`envoy_proxy_proto_${name}`, help, labels).with(prefix, String(version));
		return {
			found: of('found', 'Connections that began with a PROXY header'),
			disallowed: of('disallowed', 'Connections closed since their version is not allowed'),
			error: of('error', 'Connections closed since their header is none'),
		};
	};
	const disallowed = new Set(message.disallowedVersions.map((version) => version + 1));
	const settings: Settings = {
		optional: message.allowRequestsWithoutProxyProtocol,
		allowed: { 1: !disallowed.has(1), 2: !disallowed.has(2) },
		absentAllowed: counter('not_found_allowed', 'Connections without a PROXY header'),
		absentDisallowed: counter('not_found_disallowed', 'Connections closed since they had no PROXY header'),
		stats: { 1: versionStats(1), 2: versionStats(2) },
	};
	return { begin: (connection: Connection, found: Findings) => new ProxyInspector(settings, connection, found) };
}

class ProxyInspector implements Inspector {
	takenBytes = 0;

	constructor(
		private readonly settings: Settings,
		private readonly connection: Connection,
		private readonly found: Findings,
	) {}

	inspect(bytes: Uint8Array): Verdict {
		const { optional, allowed, absentAllowed, absentDisallowed, stats } = this.settings;
		const header = readProxyHeader(bytes);
		if (header === 'incomplete') return 'more';
		if (header === 'absent') {
			(optional ? absentAllowed : absentDisallowed).inc();
			return optional ? 'done' : 'close';
		}
		if (!allowed[header.version]) {
			stats[header.version].found.inc();
			stats[header.version].disallowed.inc();
			return 'close';
		}
		if ('error' in header) {
			stats[header.version].error.inc();
			if (log.enabled('debug')) log.debug('a PROXY header was refused', { reason: header.error });
			return 'close';
		}
		stats[header.version].found.inc();
		this.takenBytes = header.byteLength;
		const { endpoints } = header;
		if (endpoints === null) return 'done';
		this.connection.speakFor({ kind: 'ip', host: endpoints.sourceHost, port: endpoints.sourcePort });
		const { local } = this.connection;
		const { destinationHost: host, destinationPort: port } = endpoints;
		if (local.kind !== 'ip' || local.host !== host || local.port !== port) {
			this.found.destination = { kind: 'ip', host, port };
		}
		return 'done';
	}
}
