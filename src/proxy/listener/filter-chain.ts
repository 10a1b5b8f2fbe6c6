// One filter chain of a listener, compiled: for which connections it is, how they are secured, and
// the network filter that serves them.

import { isIP } from 'node:net';
import { toBinary } from '@bufbuild/protobuf';
import type { TransportSocket } from '../../generated/envoy/config/core/v3/base_pb.ts';
import {
	type FilterChain as FilterChainConfig,
	FilterChainMatchSchema,
	FilterChainSchema,
} from '../../generated/envoy/config/listener/v3/listener_components_pb.ts';
import { RawBufferSchema } from '../../generated/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts';
import { DownstreamTlsContextSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import { compileCidrRanges } from '../cidr.ts';
import { durationMs } from '../duration-ms.ts';
import {
	CONNECTION_LIMIT_TYPE,
	ConnectionLimitFilter,
	compileConnectionLimit,
	type LimitSettings,
} from '../network-filters/connection-limit.ts';
import {
	compileHttpConnectionManager,
	HTTP_CONNECTION_MANAGER_TYPE,
} from '../network-filters/http-connection-manager.ts';
import type { NetworkFilter } from '../network-filters/network-filter.ts';
import type { NetworkFilterContext } from '../network-filters/network-filter-context.ts';
import { compileTcpProxy, TCP_PROXY_TYPE } from '../network-filters/tcp-proxy.ts';
import type { TcpSessionFilter } from '../network-filters/tcp-session-filter.ts';
import { NO_OVERLOAD } from '../overload/overload-state.ts';
import type { SecretManager } from '../tls/secret-manager.ts';
import { type CompiledDownstreamTls, compileDownstreamTls } from '../tls/tls-context.ts';
import { TLS_FIELDS } from '../tls/tls-fields.ts';
import { TypedConfig } from '../typed-config.ts';

export interface FilterChain {
	/** Equal for two chains that are the same in every respect. */
	readonly contentKey: string;
	/** Equal for two versions of one chain: name and match. */
	readonly identityKey: string;
	/** Null: any. */
	readonly destinationPort: number | null;
	/** Of the longest prefix range; -1: any address. */
	readonly prefixLength: number;
	readonly matchesAddress: (host: string) => boolean;
	/** Null: plain text. */
	readonly tls: CompiledDownstreamTls | null;
	/** 0: the network's default. */
	readonly handshakeTimeoutMs: number;
	readonly filter: NetworkFilter;
}

const DOWNSTREAM_TLS_TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
const RAW_BUFFER_TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer';

/** `known`: chains of the version before, which are taken over where nothing changed. @throws ConfigError */
export function compileFilterChain(
	config: FilterChainConfig,
	context: NetworkFilterContext,
	secrets: SecretManager,
	known: ReadonlyMap<string, FilterChain>,
	object: string,
	field: string,
): FilterChain {
	const contentKey = contentKeyOf(config, context);
	const same = known.get(contentKey);
	if (same !== undefined) return same;
	const match = config.filterChainMatch;
	const ranges = match?.prefixRanges ?? [];
	const contains = compileCidrRanges(ranges, object, `${field}.filter_chain_match.prefix_ranges`);
	const tls = compileTransportSocket(config.transportSocket, secrets, object, `${field}.transport_socket`);
	try {
		return {
			contentKey,
			identityKey: identityKeyOf(config),
			destinationPort: match?.destinationPort ?? null,
			prefixLength: ranges.reduce((longest, range) => Math.max(longest, range.prefixLen ?? 0), -1),
			matchesAddress: ranges.length === 0 ? () => true : (host) => isIP(host) !== 0 && contains(host),
			tls,
			handshakeTimeoutMs: durationMs(config.transportSocketConnectTimeout) ?? 0,
			filter: compileFilters(config, context, object, field),
		};
	} catch (error) {
		tls?.close();
		throw error;
	}
}

export function releaseFilterChain(chain: FilterChain): void {
	chain.filter.release();
	chain.tls?.close();
}

/** Destination port first, then the longest prefix, as Envoy orders its criteria. */
export function selectFilterChain(
	chains: readonly FilterChain[],
	fallback: FilterChain | null,
	host: string,
	port: number,
): FilterChain | null {
	let best: FilterChain | null = null;
	for (let i = 0; i < chains.length; i++) {
		const chain = chains[i]!;
		if (chain.destinationPort !== null && chain.destinationPort !== port) continue;
		if (!chain.matchesAddress(host)) continue;
		if (best === null || moreSpecific(chain, best)) best = chain;
	}
	return best ?? fallback;
}

function moreSpecific(a: FilterChain, b: FilterChain): boolean {
	if ((a.destinationPort === null) !== (b.destinationPort === null)) return a.destinationPort !== null;
	return a.prefixLength > b.prefixLength;
}

function contentKeyOf(config: FilterChainConfig, context: NetworkFilterContext): string {
	const bytes = Buffer.from(toBinary(FilterChainSchema, config)).toString('base64');
	const bypass = context.overload === NO_OVERLOAD;
	return `${context.listenerName}\n${context.direction}\n${context.bufferLimitBytes}\n${bypass}\n${bytes}`;
}

function identityKeyOf(config: FilterChainConfig): string {
	const match = config.filterChainMatch;
	const bytes = match === undefined ? '' : Buffer.from(toBinary(FilterChainMatchSchema, match)).toString('base64');
	return `${config.name}\n${bytes}`;
}

function compileTransportSocket(
	config: TransportSocket | undefined,
	secrets: SecretManager,
	object: string,
	field: string,
): CompiledDownstreamTls | null {
	if (config === undefined) return null;
	const any = config.configType.case === 'typedConfig' ? config.configType.value : undefined;
	if (any === undefined && config.name === 'envoy.transport_sockets.raw_buffer') return null;
	const typed = TypedConfig.read(any, object, `${field}.typed_config`);
	switch (typed.typeUrl) {
		case RAW_BUFFER_TYPE:
			typed.message(RawBufferSchema, {});
			return null;
		case DOWNSTREAM_TLS_TYPE: {
			const message = typed.message(DownstreamTlsContextSchema, TLS_FIELDS);
			return compileDownstreamTls(message, secrets, object, typed.field);
		}
		default:
			throw typed.error('', typed.typeUrl, `one of: ${DOWNSTREAM_TLS_TYPE}, ${RAW_BUFFER_TYPE}`);
	}
}

function compileFilters(
	config: FilterChainConfig,
	context: NetworkFilterContext,
	object: string,
	field: string,
): NetworkFilter {
	const before: TcpSessionFilter[] = [];
	const limits: LimitSettings[] = [];
	for (let index = 0; index < config.filters.length; index++) {
		const at = `${field}.filters[${index}]`;
		const filter = config.filters[index]!;
		if (filter.configType.case !== 'typedConfig') {
			throw new ConfigError({ object, field: at, expected: 'a typed_config' });
		}
		const typed = TypedConfig.read(filter.configType.value, object, `${at}.typed_config`);
		const last = index === config.filters.length - 1;
		const terminal = typed.typeUrl === HTTP_CONNECTION_MANAGER_TYPE || typed.typeUrl === TCP_PROXY_TYPE;
		if (terminal !== last) {
			const expected = terminal ? 'nothing after it: it ends the chain' : 'a connection manager or a TCP proxy last';
			throw new ConfigError({ object, field: at, found: filter.name, expected });
		}
		if (typed.typeUrl === TCP_PROXY_TYPE) return limited(compileTcpProxy(typed, before, context), limits, context);
		if (typed.typeUrl === HTTP_CONNECTION_MANAGER_TYPE) {
			if (before.length > 0) throw new ConfigError({ object, field: at, expected: 'no filter before it' });
			return limited(compileHttpConnectionManager(typed, context), limits, context);
		}
		if (typed.typeUrl === CONNECTION_LIMIT_TYPE) {
			const settings = compileConnectionLimit(typed, context);
			if (settings !== null) limits.push(settings);
			continue;
		}
		const factory = context.tcpFilters.get(typed.typeUrl);
		if (factory === undefined) {
			const known = [HTTP_CONNECTION_MANAGER_TYPE, TCP_PROXY_TYPE, CONNECTION_LIMIT_TYPE, ...context.tcpFilters.keys()];
			throw typed.error('', typed.typeUrl, `one of: ${known.join(', ')}`);
		}
		before.push(factory.compile(typed, { ...context, name: filter.name, statPrefix: filter.name }));
	}
	throw new ConfigError({ object, field: `${field}.filters`, expected: 'at least one filter' });
}

/** The first of `limits` is asked first. */
function limited(
	filter: NetworkFilter,
	limits: readonly LimitSettings[],
	{ clock }: NetworkFilterContext,
): NetworkFilter {
	return limits.reduceRight(
		(next: NetworkFilter, settings) => new ConnectionLimitFilter(settings, next, clock),
		filter,
	);
}
