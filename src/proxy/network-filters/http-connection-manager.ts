// Envoy's `HttpConnectionManager`, compiled: from its message to settings, and from a connection to
// an HttpConnection that reads them.

import { isIPv4, isIPv6 } from 'node:net';
import { HttpProtocolOptions_HeadersWithUnderscoresAction as Underscores } from '../../generated/envoy/config/core/v3/protocol_pb.ts';
import {
	HttpConnectionManager_CodecType as CodecType,
	HttpConnectionManager_ForwardClientCertDetails as ForwardDetails,
	type HttpConnectionManager,
	HttpConnectionManagerSchema,
	HttpConnectionManager_ServerHeaderTransformation as ServerHeader,
	HttpConnectionManager_PathWithEscapedSlashesAction as SlashesAction,
} from '../../generated/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts';
import { compileAccessLogs } from '../access-log/compile-access-log.ts';
import { compileCidrRanges } from '../cidr.ts';
import { durationMs } from '../duration-ms.ts';
import { compileHttp2Options } from '../http2-options.ts';
import { compileRouteConfiguration } from '../route/route-compiler.ts';
import { type RouteSource, staticRouteSource } from '../route/route-source.ts';
import type { TypedConfig } from '../typed-config.ts';
import { HttpConnection, type SettingsSlot } from './http-connection.ts';
import { HTTP_FIELDS } from './http-fields.ts';
import type { ForwardClientCert, HttpSettings } from './http-settings.ts';
import { HttpStats } from './http-stats.ts';
import { LocalReplyMap } from './local-reply-config.ts';
import type { ConnectionInfo, NetworkFilter, ServedConnection } from './network-filter.ts';
import type { NetworkFilterContext } from './network-filter-context.ts';

export const HTTP_CONNECTION_MANAGER_TYPE =
	'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';

const HEADER_KIB_DEFAULT = 60;
const HEADERS_DEFAULT = 100;
const IDLE_TIMEOUT_MS_DEFAULT = 3_600_000;
const STREAM_IDLE_TIMEOUT_MS_DEFAULT = 300_000;
const DRAIN_TIMEOUT_MS_DEFAULT = 5000;
const DELAYED_CLOSE_MS_DEFAULT = 1000;
/** Envoy's is its second for a close of any kind; one without bytes of ours in hand is the kernel's matter there. */
const FLUSH_LINGER_MS_DEFAULT = 30_000;

/** @throws ConfigError */
export function compileHttpConnectionManager(config: TypedConfig, context: NetworkFilterContext): NetworkFilter {
	const message = config.message(HttpConnectionManagerSchema, HTTP_FIELDS);
	if (message.codecType === CodecType.HTTP3) throw config.error('codec_type', 'HTTP3', 'AUTO, HTTP1 or HTTP2');
	if (message.streamErrorOnInvalidHttpMessage === true) {
		throw config.error(
			'stream_error_on_invalid_http_message',
			'true',
			'false: a malformed message closes its connection (HTTP/1.1)',
		);
	}
	if (message.httpProtocolOptions?.allowAbsoluteUrl === false) {
		throw config.error('http_protocol_options.allow_absolute_url', 'false', 'true: absolute targets are always taken');
	}
	if (message.statPrefix === '') throw config.error('stat_prefix', undefined, 'a name for its statistics');
	const routes = routeSource(message, config, context);
	try {
		return new HttpConnectionManagerFilter(settingsOf(message, routes, config, context), context);
	} catch (error) {
		routes.release();
		throw error;
	}
}

class HttpConnectionManagerFilter implements NetworkFilter {
	readonly kind = 'http';
	readonly ready: Promise<void>;
	private slot: SettingsSlot;
	private readonly settings: HttpSettings;

	constructor(
		settings: HttpSettings,
		private readonly context: NetworkFilterContext,
	) {
		this.settings = settings;
		this.slot = { current: settings };
		this.ready = settings.routes.ready;
	}

	serve(info: ConnectionInfo): ServedConnection {
		return new HttpConnection(this.slot, info, this.context);
	}

	handOver(next: NetworkFilter): boolean {
		if (!(next instanceof HttpConnectionManagerFilter)) return false;
		// All generations of a chain share one slot, which its connections read at each request.
		this.slot.current = next.settings;
		next.slot = this.slot;
		return true;
	}

	release(): void {
		this.settings.routes.release();
	}
}

function routeSource(message: HttpConnectionManager, config: TypedConfig, context: NetworkFilterContext): RouteSource {
	const specifier = message.routeSpecifier;
	switch (specifier.case) {
		case 'routeConfig': {
			const at = `${config.object}: ${config.field}.route_config`;
			return staticRouteSource(compileRouteConfiguration(specifier.value, context.filters.compileRouteConfig, at));
		}
		case 'rds': {
			const { configSource, routeConfigName } = specifier.value;
			if (routeConfigName === '') throw config.error('rds.route_config_name', undefined, 'a name');
			if (configSource === undefined) throw config.error('rds.config_source', undefined, 'a source');
			return context.routeConfigs.subscribe(
				routeConfigName,
				configSource,
				config.object,
				`${config.field}.rds.config_source`,
			);
		}
		default:
			throw config.error('', undefined, 'one of route_config, rds');
	}
}

function settingsOf(
	message: HttpConnectionManager,
	routes: RouteSource,
	config: TypedConfig,
	context: NetworkFilterContext,
): HttpSettings {
	const { chain, router } = context.filters.compileChain(
		message.httpFilters,
		{
			statPrefix: message.statPrefix,
			registry: context.registry,
			clock: context.clock,
			random: context.random,
			clusters: context.clusters,
			listenerName: context.listenerName,
			direction: context.direction,
		},
		config.object,
		`${config.field}.http_filters`,
	);
	const common = message.commonHttpProtocolOptions;
	const http1 = message.httpProtocolOptions;
	const delayedCloseMs = durationMs(message.delayedCloseTimeout);
	const headerKib = message.maxRequestHeadersKb ?? HEADER_KIB_DEFAULT;
	if (headerKib < 1 || headerKib > 8192) throw config.error('max_request_headers_kb', String(headerKib), '1 to 8192');
	const upgrades = new Set<string>();
	message.upgradeConfigs.forEach((upgrade) => {
		const type = upgrade.upgradeType.toLowerCase();
		if (upgrade.enabled ?? true) upgrades.add(type);
	});
	return {
		statPrefix: message.statPrefix,
		listenerName: context.listenerName,
		routes,
		filters: chain,
		router,
		accessLogs: compileAccessLogs(
			message.accessLog,
			context.logFiles,
			context.random,
			config.object,
			`${config.field}.access_log`,
		),
		logsNewRequests: message.accessLogOptions?.flushAccessLogOnNewRequest ?? message.flushAccessLogOnNewRequest,
		logIntervalMs: durationMs(message.accessLogOptions?.accessLogFlushInterval ?? message.accessLogFlushInterval) ?? 0,
		localReplies:
			message.localReplyConfig === undefined
				? null
				: LocalReplyMap.compile(
						message.localReplyConfig,
						context.random,
						config.object,
						`${config.field}.local_reply_config`,
					),
		stats: new HttpStats(context.registry, message.statPrefix),
		overload: context.overload,
		serverName: message.serverName === '' ? 'weft' : message.serverName,
		serverHeader: serverHeader(message.serverHeaderTransformation),
		requestHeadersTimeoutMs: durationMs(message.requestHeadersTimeout) ?? 0,
		requestTimeoutMs: durationMs(message.requestTimeout) ?? 0,
		streamIdleTimeoutMs: durationMs(message.streamIdleTimeout) ?? STREAM_IDLE_TIMEOUT_MS_DEFAULT,
		idleTimeoutMs: durationMs(common?.idleTimeout) ?? IDLE_TIMEOUT_MS_DEFAULT,
		maxConnectionDurationMs: durationMs(common?.maxConnectionDuration) ?? 0,
		drainTimeoutMs: durationMs(message.drainTimeout) ?? DRAIN_TIMEOUT_MS_DEFAULT,
		// Our side is ended at once; less would take the answer from a client that is slow to read it.
		delayedCloseMs: Math.max(delayedCloseMs ?? 0, DELAYED_CLOSE_MS_DEFAULT),
		// 0 bounds nothing in Envoy; a client that takes nothing would hold its connection for ever.
		flushLingerMs: delayedCloseMs === null || delayedCloseMs === 0 ? FLUSH_LINGER_MS_DEFAULT : delayedCloseMs,
		maxStreamDurationMs: durationMs(common?.maxStreamDuration) ?? 0,
		requestsPerConnectionMax: common?.maxRequestsPerConnection ?? 0,
		requestHeaderBytesMax: headerKib * 1024,
		requestHeadersMax: common?.maxHeadersCount ?? HEADERS_DEFAULT,
		codec: codecOf(message.codecType),
		http2: compileHttp2Options(message.http2ProtocolOptions, config.object, `${config.field}.http2_protocol_options`),
		acceptHttp10: http1?.acceptHttp10 ?? false,
		defaultHostForHttp10: http1?.defaultHostForHttp10 ?? '',
		bufferLimitBytes: context.bufferLimitBytes,
		useRemoteAddress: message.useRemoteAddress ?? false,
		trustedHops: message.xffNumTrustedHops,
		skipForwardedForAppend: message.skipXffAppend,
		isInternalAddress: internalAddresses(message, config),
		via: message.via,
		generateRequestId: message.generateRequestId ?? true,
		preserveExternalRequestId: message.preserveExternalRequestId,
		requestIdInResponse: message.alwaysSetRequestIdInResponse,
		forwardClientCert: forwardClientCert(message.forwardClientCertDetails),
		clientCertFields: {
			cert: message.setCurrentClientCertDetails?.cert ?? false,
			subject: message.setCurrentClientCertDetails?.subject ?? false,
			uri: message.setCurrentClientCertDetails?.uri ?? false,
			dns: message.setCurrentClientCertDetails?.dns ?? false,
		},
		normalizePath: message.normalizePath ?? false,
		mergeSlashes: message.mergeSlashes,
		escapedSlashes: escapedSlashes(message),
		stripPort:
			message.stripPortMode.case === 'stripAnyHostPort' && message.stripPortMode.value
				? 'any'
				: message.stripMatchingHostPort
					? 'matching'
					: 'no',
		stripTrailingHostDot: message.stripTrailingHostDot,
		appendForwardedPort: message.appendXForwardedPort,
		mapsIpv4: message.representIpv4RemoteAddressAsIpv4MappedIpv6,
		upgrades,
		underscores: underscores(common?.headersWithUnderscoresAction ?? Underscores.ALLOW),
	};
}

function codecOf(type: CodecType): HttpSettings['codec'] {
	if (type === CodecType.HTTP1) return 'http1';
	return type === CodecType.HTTP2 ? 'http2' : 'auto';
}

function serverHeader(transformation: ServerHeader): HttpSettings['serverHeader'] {
	switch (transformation) {
		case ServerHeader.APPEND_IF_ABSENT:
			return 'append_if_absent';
		case ServerHeader.PASS_THROUGH:
			return 'pass_through';
		default:
			return 'overwrite';
	}
}

function forwardClientCert(details: ForwardDetails): ForwardClientCert {
	switch (details) {
		case ForwardDetails.FORWARD_ONLY:
			return 'forward_only';
		case ForwardDetails.APPEND_FORWARD:
			return 'append_forward';
		case ForwardDetails.SANITIZE_SET:
			return 'sanitize_set';
		case ForwardDetails.ALWAYS_FORWARD_ONLY:
			return 'always_forward_only';
		default:
			return 'sanitize';
	}
}

function escapedSlashes(message: HttpConnectionManager): HttpSettings['escapedSlashes'] {
	switch (message.pathWithEscapedSlashesAction) {
		case SlashesAction.REJECT_REQUEST:
			return 'reject';
		case SlashesAction.UNESCAPE_AND_FORWARD:
			return 'unescape';
		case SlashesAction.UNESCAPE_AND_REDIRECT:
			return 'redirect';
		default:
			return 'keep';
	}
}

function underscores(action: Underscores): HttpSettings['underscores'] {
	if (action === Underscores.REJECT_REQUEST) return 'reject';
	return action === Underscores.DROP_HEADER ? 'drop' : 'allow';
}

/** Without a configuration no address is internal, as in Envoy since 1.35. */
function internalAddresses(message: HttpConnectionManager, config: TypedConfig): (host: string) => boolean {
	const ranges = message.internalAddressConfig?.cidrRanges ?? [];
	if (ranges.length === 0) return () => false;
	const contains = compileCidrRanges(ranges, config.object, `${config.field}.internal_address_config.cidr_ranges`);
	return (host) => (isIPv4(host) || isIPv6(host)) && contains(host);
}
