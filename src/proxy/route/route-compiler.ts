// From a RouteConfiguration message to a RouteTable. Everything is checked here, so that the hot
// path asks nothing twice; all errors of a configuration are reported together.

import type { Any } from '@bufbuild/protobuf/wkt';
import {
	RouteAction_ClusterNotFoundResponseCode as NotFoundCode,
	type RouteAction,
	type Route as RouteConfig,
	VirtualHost_TlsRequirementType as TlsRequirement,
	type VirtualHost as VirtualHostConfig,
	type WeightedCluster,
} from '../../generated/envoy/config/route/v3/route_components_pb.ts';
import { type RouteConfiguration, RouteConfigurationSchema } from '../../generated/envoy/config/route/v3/route_pb.ts';
import { ConfigError, type ConfigErrorDetail } from '../../std/errors.ts';
import { durationMs } from '../duration-ms.ts';
import { unsupportedFields } from '../field-check.ts';
import { compileHeaderMutations, type HeaderMutations, joinHeaderMutations } from '../format/header-mutations.ts';
import { readDataSource } from '../tls/data-source.ts';
import { compileRegexRewrite, type PathRewrite } from './path-rewrite.ts';
import { compileRedirect } from './redirect.ts';
import { compileRetryPolicy, type RetryPolicy } from './retry-policy.ts';
import type {
	DirectResponseAction,
	ForwardAction,
	GrpcTimeout,
	LayeredConfig,
	Route,
	VirtualHostSettings,
} from './route.ts';
import { ROUTE_FIELDS } from './route-fields.ts';
import { compileRouteMatch } from './route-match.ts';
import { type RouteEntry, RouteTable, type VirtualHost, type WeightedRoute } from './route-table.ts';

/** Compiles one `typed_per_filter_config` value. @throws ConfigError */
export type RouteFilterConfigCompiler = (name: string, config: Any, object: string, field: string) => unknown;

const TIMEOUT_MS_DEFAULT = 15_000;
const DIRECT_BODY_BYTES_DEFAULT = 4096;
const WEIGHT_SUM_MAX = 0xffff_ffff;

interface Level {
	readonly requestHeaders: HeaderMutations;
	readonly responseHeaders: HeaderMutations;
	readonly filterConfigs: Readonly<Record<string, Any>>;
	/** Where the filter configs stand. */
	readonly field: string;
}

/** @throws ConfigError that names each field that is wrong or not supported */
export function compileRouteConfiguration(
	config: RouteConfiguration,
	compileFilterConfig: RouteFilterConfigCompiler,
	object = `route configuration ${JSON.stringify(config.name)}`,
): RouteTable {
	const details: ConfigErrorDetail[] = unsupportedFields(RouteConfigurationSchema, config, ROUTE_FIELDS, object);
	if (details.length > 0) throw new ConfigError(details);
	return new Compiler(config, compileFilterConfig, object).compile();
}

class Compiler {
	private readonly details: ConfigErrorDetail[] = [];

	constructor(
		private readonly config: RouteConfiguration,
		private readonly compileFilterConfig: RouteFilterConfigCompiler,
		private readonly object: string,
	) {}

	compile(): RouteTable {
		const config = this.config;
		if (config.validateClusters === true) {
			this.wrong('validate_clusters', 'true', 'false or nothing: a cluster is looked up when a request comes');
		}
		const level = this.level(config, '');
		const seen = new Map<string, string>();
		const names = new Set<string>();
		const hosts: VirtualHost[] = [];
		config.virtualHosts.forEach((host, index) => {
			const field = `virtual_hosts[${index}]`;
			if (names.has(host.name)) this.wrong(`${field}.name`, JSON.stringify(host.name), 'a name of its own');
			names.add(host.name);
			if (host.domains.length === 0) this.wrong(`${field}.domains`, undefined, 'at least one domain, for example *');
			host.domains.forEach((domain, at) => {
				const lower = domain.toLowerCase();
				const other = seen.get(lower);
				if (other !== undefined) {
					const expected = `a domain that no other virtual host has (it is in ${JSON.stringify(other)})`;
					this.wrong(`${field}.domains[${at}]`, domain, expected);
				} else if (domain === '' || (domain !== '*' && domain.slice(1, -1).includes('*')) || /^\*.*\*$/.test(domain)) {
					this.wrong(`${field}.domains[${at}]`, JSON.stringify(domain), 'a host name, *.suffix, prefix.* or *');
				}
				seen.set(lower, host.name);
			});
			hosts.push(this.virtualHost(host, level, field));
		});
		if (this.details.length > 0) throw new ConfigError(this.details);
		return new RouteTable(config.name, hosts, config.ignorePortInHostMatching);
	}

	private virtualHost(host: VirtualHostConfig, above: Level, field: string): VirtualHost {
		const settings: VirtualHostSettings = {
			name: host.name,
			includeRequestAttemptCount: host.includeRequestAttemptCount,
			includeAttemptCountInResponse: host.includeAttemptCountInResponse,
			requireTls: host.requireTls !== TlsRequirement.NONE,
		};
		const level = this.level(host, `${field}.`);
		const retry = this.attempt(() =>
			host.retryPolicy === undefined
				? null
				: compileRetryPolicy(host.retryPolicy, this.object, `${field}.retry_policy`),
		);
		const routes: RouteEntry[] = [];
		host.routes.forEach((route, index) => {
			const at = `${field}.routes[${index}]`;
			const entry = this.attempt(() => this.route(route, host, settings, retry, [level, above], at));
			if (entry !== null) routes.push(entry);
		});
		return { settings, domains: host.domains, routes };
	}

	private route(
		config: RouteConfig,
		host: VirtualHostConfig,
		virtualHost: VirtualHostSettings,
		hostRetry: RetryPolicy | null,
		above: readonly Level[],
		field: string,
	): RouteEntry {
		if (config.match === undefined) throw this.error(`${field}.match`, undefined, 'a match');
		const match = compileRouteMatch(config.match, this.object, `${field}.match`);
		const levels = [this.level(config, `${field}.`), ...above];
		const made = (action: Route['action'], own: readonly Level[]): Route => ({
			name: config.name,
			virtualHost,
			action,
			requestHeaders: joinHeaderMutations(...own.map((level) => level.requestHeaders)),
			responseHeaders: joinHeaderMutations(...own.map((level) => level.responseHeaders)),
			filterConfigs: this.filterConfigs(own),
		});
		const one = (route: Route, clusters: readonly string[]): RouteEntry => ({
			match,
			choices: [{ route, weight: 1 }],
			totalWeight: 1,
			clusters,
		});
		switch (config.action.case) {
			case 'redirect': {
				const redirect = compileRedirect(
					config.action.value,
					match.matchedLength ?? 0,
					this.object,
					`${field}.redirect`,
				);
				if (redirect.pathRewrite?.kind === 'prefix' && match.matchedLength === null) {
					throw this.error(`${field}.redirect.prefix_rewrite`, undefined, 'a match by path or prefix');
				}
				return one(made(redirect, levels), []);
			}
			case 'directResponse':
				return one(made(this.directResponse(config.action.value, `${field}.direct_response`), levels), []);
			case 'route': {
				const at = `${field}.route`;
				const action = config.action.value;
				const limit = config.perRequestBufferLimitBytes ?? host.perRequestBufferLimitBytes ?? null;
				const forward = this.forward(action, match.matchedLength, hostRetry, limit, at);
				if (action.clusterSpecifier.case !== 'weightedClusters') {
					return one(made(forward, levels), forward.cluster === '' ? [] : [forward.cluster]);
				}
				const choices = this.weighted(action.clusterSpecifier.value, forward, made, levels, `${at}.weighted_clusters`);
				return {
					match,
					choices,
					totalWeight: choices.reduce((sum, choice) => sum + choice.weight, 0),
					clusters: action.clusterSpecifier.value.clusters.map((cluster) => cluster.name),
				};
			}
			default:
				throw this.error(field, undefined, 'one of route, redirect, direct_response');
		}
	}

	private weighted(
		config: WeightedCluster,
		forward: ForwardAction,
		made: (action: ForwardAction, levels: readonly Level[]) => Route,
		levels: readonly Level[],
		field: string,
	): readonly WeightedRoute[] {
		const choices: WeightedRoute[] = [];
		let sum = 0;
		config.clusters.forEach((cluster, index) => {
			const at = `${field}.clusters[${index}]`;
			const weight = cluster.weight ?? 0;
			sum += weight;
			if (cluster.name === '' && cluster.clusterHeader === '') throw this.error(`${at}.name`, undefined, 'a cluster');
			const level = this.level(cluster, `${at}.`);
			const hostRewrite = cluster.hostRewriteSpecifier.value ?? forward.hostRewrite;
			const action = {
				...forward,
				cluster: cluster.name,
				clusterHeader: cluster.clusterHeader.toLowerCase(),
				hostRewrite,
				autoHostRewrite: cluster.hostRewriteSpecifier.case === undefined && forward.autoHostRewrite,
			};
			if (weight > 0) choices.push({ route: made(action, [level, ...levels]), weight });
		});
		if (sum === 0 || sum > WEIGHT_SUM_MAX) {
			throw this.error(`${field}.clusters`, `weights that sum to ${sum}`, `a sum of 1 to ${WEIGHT_SUM_MAX}`);
		}
		if (config.totalWeight !== undefined && config.totalWeight !== sum) {
			throw this.error(`${field}.total_weight`, String(config.totalWeight), `the sum of the weights, ${sum}`);
		}
		return choices;
	}

	private forward(
		action: RouteAction,
		matchedLength: number | null,
		hostRetry: RetryPolicy | null,
		bufferLimitBytes: number | null,
		field: string,
	): ForwardAction {
		const specifier = action.clusterSpecifier;
		if (specifier.case === undefined || (typeof specifier.value === 'string' && specifier.value === '')) {
			throw this.error(field, undefined, 'one of cluster, cluster_header, weighted_clusters');
		}
		let pathRewrite: PathRewrite | null = null;
		if (action.prefixRewrite !== '') {
			if (matchedLength === null) throw this.error(`${field}.prefix_rewrite`, undefined, 'a match by path or prefix');
			pathRewrite = { kind: 'prefix', matchedLength, replacement: action.prefixRewrite };
		}
		if (action.regexRewrite !== undefined) {
			if (pathRewrite !== null) throw this.error(`${field}.regex_rewrite`, undefined, 'no prefix_rewrite beside it');
			const rewrite = compileRegexRewrite(action.regexRewrite, this.object, `${field}.regex_rewrite`);
			pathRewrite = { kind: 'regex', rewrite };
		}
		const host = action.hostRewriteSpecifier;
		return {
			kind: 'forward',
			cluster: specifier.case === 'cluster' ? specifier.value : '',
			clusterHeader: specifier.case === 'clusterHeader' ? specifier.value.toLowerCase() : '',
			clusterNotFoundStatus: notFoundStatus(action.clusterNotFoundResponseCode),
			timeoutMs: timeoutMs(action),
			idleTimeoutMs: durationMs(action.idleTimeout),
			maxStreamDurationMs: durationMs(action.maxStreamDuration?.maxStreamDuration),
			grpcTimeout: this.grpcTimeout(action, field),
			pathRewrite,
			hostRewrite: host.case === 'hostRewriteLiteral' ? host.value : '',
			autoHostRewrite: host.case === 'autoHostRewrite' && host.value.value,
			hostRewriteHeader: host.case === 'hostRewriteHeader' ? host.value.toLowerCase() : '',
			appendForwardedHost: action.appendXForwardedHost,
			retryPolicy:
				action.retryPolicy === undefined
					? hostRetry
					: compileRetryPolicy(action.retryPolicy, this.object, `${field}.retry_policy`),
			bufferLimitBytes,
			upgrades:
				action.upgradeConfigs.length === 0
					? null
					: new Map(action.upgradeConfigs.map((item) => [item.upgradeType.toLowerCase(), item.enabled ?? true])),
			endsConnect: this.endsConnect(action, field),
		};
	}

	private grpcTimeout(action: RouteAction, field: string): GrpcTimeout | null {
		const duration = action.maxStreamDuration;
		const offsetMs = durationMs(duration?.grpcTimeoutHeaderOffset);
		if (duration !== undefined) {
			const maxMs = durationMs(duration.grpcTimeoutHeaderMax);
			if (maxMs !== null) return { as: 'duration', maxMs, offsetMs: offsetMs ?? 0 };
			if (offsetMs === null) return { as: 'none', maxMs: 0, offsetMs: 0 };
			const at = `${field}.max_stream_duration.grpc_timeout_header_offset`;
			throw this.error(at, `${offsetMs} ms`, 'a grpc_timeout_header_max beside it: without one it has no effect');
		}
		const maxMs = durationMs(action.maxGrpcTimeout);
		const deprecatedOffsetMs = durationMs(action.grpcTimeoutOffset);
		if (maxMs !== null) return { as: 'timeout', maxMs, offsetMs: deprecatedOffsetMs ?? 0 };
		if (deprecatedOffsetMs === null) return null;
		const at = `${field}.grpc_timeout_offset`;
		throw this.error(at, `${deprecatedOffsetMs} ms`, 'a max_grpc_timeout beside it: without one it has no effect');
	}

	private endsConnect(action: RouteAction, field: string): boolean {
		let ends = false;
		action.upgradeConfigs.forEach((upgrade, index) => {
			const at = `${field}.upgrade_configs[${index}]`;
			if (upgrade.connectConfig === undefined) return;
			if (upgrade.upgradeType.toLowerCase() !== 'connect') {
				throw this.error(`${at}.connect_config`, undefined, 'to be absent but for upgrade_type CONNECT');
			}
			ends = upgrade.enabled ?? true;
		});
		return ends;
	}

	private directResponse(
		config: { status: number; body?: Parameters<typeof readDataSource>[0] },
		field: string,
	): DirectResponseAction {
		if (config.status < 200 || config.status > 599) {
			throw this.error(`${field}.status`, String(config.status), 'a status from 200 to 599');
		}
		const body = config.body === undefined ? '' : readDataSource(config.body, this.object, `${field}.body`);
		const limit = this.config.maxDirectResponseBodySizeBytes ?? DIRECT_BODY_BYTES_DEFAULT;
		if (Buffer.byteLength(body) > limit) {
			throw this.error(`${field}.body`, `${Buffer.byteLength(body)} bytes`, `at most ${limit} bytes`);
		}
		return { kind: 'direct', status: config.status, body };
	}

	private level(
		config: {
			requestHeadersToAdd: RouteConfig['requestHeadersToAdd'];
			requestHeadersToRemove: string[];
			responseHeadersToAdd: RouteConfig['responseHeadersToAdd'];
			responseHeadersToRemove: string[];
			typedPerFilterConfig: { [key: string]: Any };
		},
		prefix: string,
	): Level {
		return {
			requestHeaders:
				this.attempt(() =>
					compileHeaderMutations(
						config.requestHeadersToAdd,
						config.requestHeadersToRemove,
						this.object,
						`${prefix}request_headers_to_add`,
						`${prefix}request_headers_to_remove`,
					),
				) ?? [],
			responseHeaders:
				this.attempt(() =>
					compileHeaderMutations(
						config.responseHeadersToAdd,
						config.responseHeadersToRemove,
						this.object,
						`${prefix}response_headers_to_add`,
						`${prefix}response_headers_to_remove`,
					),
				) ?? [],
			filterConfigs: config.typedPerFilterConfig,
			field: `${prefix}typed_per_filter_config`,
		};
	}

	/** Levels from the most specific; the first that names a filter holds. */
	private filterConfigs(levels: readonly Level[]): ReadonlyMap<string, unknown> | null {
		let configs: Map<string, unknown> | null = null;
		for (const level of levels) {
			for (const name in level.filterConfigs) {
				configs ??= new Map();
				const own = configs.get(name);
				if (own !== undefined && !isLayered(own)) continue;
				const field = `${level.field}[${JSON.stringify(name)}]`;
				const config = this.compileFilterConfig(name, level.filterConfigs[name]!, this.object, field);
				configs.set(name, own === undefined ? config : own.over(config));
			}
		}
		return configs;
	}

	/** Collects the error of one part, so that the rest is checked too. */
	private attempt<T>(compile: () => T): T | null {
		try {
			return compile();
		} catch (error) {
			if (!(error instanceof ConfigError)) throw error;
			this.details.push(...error.details);
			return null;
		}
	}

	private error(field: string, found: string | undefined, expected: string): ConfigError {
		return new ConfigError({ object: this.object, field, found, expected });
	}

	private wrong(field: string, found: string | undefined, expected: string): void {
		this.details.push({ object: this.object, field, found, expected });
	}
}

/** With a `max_stream_duration`, also one of 0, Envoy looks at no `timeout`. */
function timeoutMs(action: RouteAction): number {
	return action.maxStreamDuration === undefined ? (durationMs(action.timeout) ?? TIMEOUT_MS_DEFAULT) : 0;
}

function isLayered(config: unknown): config is LayeredConfig {
	return typeof config === 'object' && config !== null && 'over' in config;
}

function notFoundStatus(code: NotFoundCode): number {
	switch (code) {
		case NotFoundCode.NOT_FOUND:
			return 404;
		case NotFoundCode.INTERNAL_SERVER_ERROR:
			return 500;
		default:
			return 503;
	}
}
