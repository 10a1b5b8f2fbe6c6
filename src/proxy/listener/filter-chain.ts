// One filter chain of a listener, compiled: how its connections are secured, and the network filter
// that serves them. For which connections it is: filter-chain-match.ts.

import { create, toBinary } from '@bufbuild/protobuf';
import type { TransportSocket } from '../../generated/envoy/config/core/v3/base_pb.ts';
import {
	type FilterChain as FilterChainConfig,
	FilterChainMatchSchema,
	FilterChainSchema,
} from '../../generated/envoy/config/listener/v3/listener_components_pb.ts';
import { RawBufferSchema } from '../../generated/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts';
import { DownstreamTlsContextSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import { durationMs } from '../duration-ms.ts';
import {
	CONNECTION_LIMIT_TYPE,
	ConnectionLimitFilter,
	compileConnectionLimit,
} from '../network-filters/connection-limit.ts';
import { compileDirectResponse, DIRECT_RESPONSE_TYPE } from '../network-filters/direct-response.ts';
import { GatedFilter } from '../network-filters/gated-filter.ts';
import {
	compileHttpConnectionManager,
	HTTP_CONNECTION_MANAGER_TYPE,
} from '../network-filters/http-connection-manager.ts';
import type { NetworkFilter } from '../network-filters/network-filter.ts';
import type { NetworkFilterContext } from '../network-filters/network-filter-context.ts';
import { networkRbacFactory } from '../network-filters/rbac.ts';
import { sniClusterFactory } from '../network-filters/sni-cluster.ts';
import { compileTcpProxy, TCP_PROXY_TYPE } from '../network-filters/tcp-proxy.ts';
import type { TcpSessionFilter, TcpSessionFilterFactory } from '../network-filters/tcp-session-filter.ts';
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
	/** Equal for two versions that let in the same clients: transport socket, and rules on who may connect. */
	readonly admissionKey: string;
	/** Null: plain text. */
	readonly tls: CompiledDownstreamTls | null;
	readonly filter: NetworkFilter;
}

const DOWNSTREAM_TLS_TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
const RAW_BUFFER_TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer';

const TERMINAL_TYPES: ReadonlySet<string> = new Set([
	HTTP_CONNECTION_MANAGER_TYPE,
	TCP_PROXY_TYPE,
	DIRECT_RESPONSE_TYPE,
]);
const BUILT_IN_FILTERS: ReadonlyMap<string, TcpSessionFilterFactory> = new Map(
	[networkRbacFactory, sniClusterFactory].map((factory) => [factory.typeUrl, factory]),
);

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
	const handshakeTimeoutMs = durationMs(config.transportSocketConnectTimeout) ?? 0;
	const at = `${field}.transport_socket`;
	const tls = compileTransportSocket(config.transportSocket, handshakeTimeoutMs, secrets, object, at);
	try {
		return {
			contentKey,
			identityKey: identityKeyOf(config),
			admissionKey: admissionKeyOf(config),
			tls,
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

function admissionKeyOf({ transportSocket, filters }: FilterChainConfig): string {
	const rules = filters.filter(
		({ configType }) => configType.case === 'typedConfig' && configType.value.typeUrl === networkRbacFactory.typeUrl,
	);
	const bytes = toBinary(FilterChainSchema, create(FilterChainSchema, { transportSocket, filters: rules }));
	return Buffer.from(bytes).toString('base64');
}

function compileTransportSocket(
	config: TransportSocket | undefined,
	handshakeTimeoutMs: number,
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
			return compileDownstreamTls(message, secrets, object, typed.field, handshakeTimeoutMs);
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
	let before: TcpSessionFilter[] = [];
	const wrappers: ((inner: NetworkFilter) => NetworkFilter)[] = [];
	for (let index = 0; index < config.filters.length; index++) {
		const at = `${field}.filters[${index}]`;
		const filter = config.filters[index]!;
		if (filter.configType.case !== 'typedConfig') {
			throw new ConfigError({ object, field: at, expected: 'a typed_config' });
		}
		const typed = TypedConfig.read(filter.configType.value, object, `${at}.typed_config`);
		const last = index === config.filters.length - 1;
		const terminal = TERMINAL_TYPES.has(typed.typeUrl);
		if (terminal !== last) {
			const expected = terminal
				? 'nothing after it: it ends the chain'
				: 'a connection manager, a TCP proxy or a direct response last';
			throw new ConfigError({ object, field: at, found: filter.name, expected });
		}
		if (typed.typeUrl === TCP_PROXY_TYPE) return wrapped(compileTcpProxy(typed, before, context), wrappers);
		if (terminal) {
			const other = before.findIndex((one) => one.isGate !== true);
			if (other >= 0) {
				const found = config.filters[other]!.name;
				throw new ConfigError({ object, field: `${field}.filters[${other}]`, found, expected: 'a TCP proxy after it' });
			}
			const inner =
				typed.typeUrl === DIRECT_RESPONSE_TYPE
					? compileDirectResponse(typed, context)
					: compileHttpConnectionManager(typed, context);
			return wrapped(before.length === 0 ? inner : new GatedFilter(before, inner, context), wrappers);
		}
		if (typed.typeUrl === CONNECTION_LIMIT_TYPE) {
			const settings = compileConnectionLimit(typed, context);
			if (settings === null) continue;
			// Whom a filter before it turns away does not count.
			const gates = before.filter((one) => one.isGate === true);
			if (gates.length > 0) wrappers.push((inner) => new GatedFilter(gates, inner, context));
			before = before.filter((one) => one.isGate !== true);
			wrappers.push((inner) => new ConnectionLimitFilter(settings, inner, context.clock));
			continue;
		}
		const factory = BUILT_IN_FILTERS.get(typed.typeUrl) ?? context.tcpFilters.get(typed.typeUrl);
		if (factory === undefined) {
			const known = [
				...TERMINAL_TYPES,
				CONNECTION_LIMIT_TYPE,
				...BUILT_IN_FILTERS.keys(),
				...context.tcpFilters.keys(),
			];
			throw typed.error('', typed.typeUrl, `one of: ${known.join(', ')}`);
		}
		before.push(factory.compile(typed, { ...context, name: filter.name, statPrefix: filter.name }));
	}
	throw new ConfigError({ object, field: `${field}.filters`, expected: 'at least one filter' });
}

/** The first of `wrappers` is asked first. */
function wrapped(filter: NetworkFilter, wrappers: readonly ((inner: NetworkFilter) => NetworkFilter)[]): NetworkFilter {
	return wrappers.reduceRight((inner, wrap) => wrap(inner), filter);
}
