// Envoy's `envoy.filters.http.cors`: tells browsers which pages of other origins may call a route, and
// answers their preflight requests (https://fetch.spec.whatwg.org/#http-cors-protocol). The policy is
// that of the route, with what it leaves open taken from its virtual host, then from the whole
// configuration. It says nothing on redirects and direct responses, as in Envoy.

import {
	type CorsPolicy as CorsPolicyConfig,
	CorsPolicySchema,
	CorsSchema,
} from '../../generated/envoy/extensions/filters/http/cors/v3/cors_pb.ts';
import { getHeader, type HeaderList, setHeader } from '../../http/headers.ts';
import type { ResponseHead } from '../../http/stream.ts';
import type { Counter } from '../../telemetry/registry.ts';
import type { SupportedFields } from '../field-check.ts';
import { compileFraction } from '../fraction.ts';
import type { LayeredConfig } from '../route/route.ts';
import { ROUTE_FIELDS } from '../route/route-fields.ts';
import { compileStringMatcher, type StringTest } from '../string-matcher.ts';
import type { Exchange } from './exchange.ts';
import type { FilterConfig, FilterContext, FilterStatus, HttpFilter, HttpFilterFactory } from './filter.ts';

export const CORS_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors';
const CORS_POLICY_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy';

export const CORS_FIELDS: SupportedFields = {
	...ROUTE_FIELDS,
	'envoy.extensions.filters.http.cors.v3.Cors': [],
	'envoy.extensions.filters.http.cors.v3.CorsPolicy': '*',
};

/** Null or empty: as the level above says. */
interface CorsSettings {
	readonly origins: readonly StringTest[];
	readonly methods: string;
	readonly headers: string;
	readonly exposed: string;
	readonly maxAge: string;
	readonly credentials: boolean | null;
	readonly privateNetwork: boolean | null;
	readonly forwardsOthers: boolean | null;
	/** 0…1, of the most specific level alone. */
	readonly enabledShare: number;
	readonly shadowShare: number;
}

export class CorsPolicy implements LayeredConfig {
	constructor(readonly settings: CorsSettings) {}

	over(above: unknown): CorsPolicy {
		if (!(above instanceof CorsPolicy)) return this;
		const own = this.settings;
		const other = above.settings;
		return new CorsPolicy({
			...own,
			origins: own.origins.length > 0 ? own.origins : other.origins,
			methods: own.methods || other.methods,
			headers: own.headers || other.headers,
			exposed: own.exposed || other.exposed,
			maxAge: own.maxAge || other.maxAge,
			credentials: own.credentials ?? other.credentials,
			privateNetwork: own.privateNetwork ?? other.privateNetwork,
			forwardsOthers: own.forwardsOthers ?? other.forwardsOthers,
		});
	}

	allows(origin: string): boolean {
		return this.settings.origins.some((test) => test('*') || test(origin));
	}
}

/** Of a request from an origin that is allowed. */
interface CorsRequest {
	readonly origin: string;
	readonly policy: CorsPolicy;
}

class CorsFilter implements HttpFilter {
	readonly name: string;
	private readonly slot: number;
	private readonly valid: Counter;
	private readonly invalid: Counter;

	constructor(context: FilterContext) {
		this.name = context.name;
		this.slot = context.slot;
		const counter = (name: string, help: string): Counter =>
			context.registry
				.counter(`envoy_http_cors_${name}`, help, ['envoy_http_conn_manager_prefix'])
				.with(context.statPrefix);
		this.valid = counter('origin_valid', 'Requests from an origin that is allowed');
		this.invalid = counter('origin_invalid', 'Requests from an origin that is not');
	}

	onRequestHead(exchange: Exchange): FilterStatus {
		const { route } = exchange;
		const policy = route?.filterConfigs?.get(this.name);
		if (!(policy instanceof CorsPolicy) || route?.action.kind !== 'forward') return 'continue';
		const { enabledShare, shadowShare } = policy.settings;
		const enabled = happens(enabledShare, exchange);
		if (!enabled && !happens(shadowShare, exchange)) return 'continue';
		const { headers, method } = exchange.requestHead;
		const origin = getHeader(headers, 'origin');
		if (origin === undefined || origin === '') return 'continue';
		const allowed = policy.allows(origin);
		(allowed ? this.valid : this.invalid).inc();
		if (!enabled) return 'continue';
		if (allowed) {
			const request: CorsRequest = { origin, policy };
			exchange.filterState[this.slot] = request;
		}
		if (method !== 'OPTIONS' || !getHeader(headers, 'access-control-request-method')) return 'continue';
		if (!allowed && (policy.settings.forwardsOthers ?? true)) return 'continue';
		exchange.responseCodeDetails = 'cors_response';
		exchange.sendResponseHead({ status: 200, headers: preflightAnswer(policy.settings, headers) }, true);
		return 'stop';
	}

	onResponseHead(exchange: Exchange, head: ResponseHead): void {
		const request = exchange.filterState[this.slot] as CorsRequest | undefined;
		if (request === undefined) return;
		const { credentials, exposed } = request.policy.settings;
		setHeader(head.headers, 'access-control-allow-origin', request.origin);
		if (credentials === true) setHeader(head.headers, 'access-control-allow-credentials', 'true');
		if (exposed !== '') setHeader(head.headers, 'access-control-expose-headers', exposed);
	}
}

export const corsFilterFactory: HttpFilterFactory = {
	typeUrl: CORS_TYPE,
	routeTypeUrl: CORS_POLICY_TYPE,
	compile: (config, context) => {
		config.message(CorsSchema, CORS_FIELDS);
		return new CorsFilter(context);
	},
	compileRouteConfig: (config) => compilePolicy(config),
};

/** What does not depend on the origin; that is added as to every answer. */
function preflightAnswer(settings: CorsSettings, request: HeaderList): HeaderList {
	const headers: HeaderList = [];
	if (settings.credentials === true) headers.push('access-control-allow-credentials', 'true');
	const { methods, headers: fields, maxAge } = settings;
	const asked = (name: string): string => getHeader(request, name) ?? '';
	if (methods !== '') {
		headers.push('access-control-allow-methods', methods === '*' ? asked('access-control-request-method') : methods);
	}
	if (fields !== '') {
		headers.push('access-control-allow-headers', fields === '*' ? asked('access-control-request-headers') : fields);
	}
	if (maxAge !== '') headers.push('access-control-max-age', maxAge);
	if (settings.privateNetwork === true && asked('access-control-request-private-network') === 'true') {
		headers.push('access-control-allow-private-network', 'true');
	}
	return headers;
}

function happens(share: number, exchange: Exchange): boolean {
	return share === 1 || (share > 0 && exchange.random.next() < share);
}

function compilePolicy(config: FilterConfig): CorsPolicy {
	const message: CorsPolicyConfig = config.message(CorsPolicySchema, CORS_FIELDS);
	const { filterEnabled, shadowEnabled } = message;
	for (const name of ['allowMethods', 'allowHeaders', 'exposeHeaders', 'maxAge'] as const) {
		if (/^[\t\x20-\x7e]*$/.test(message[name])) continue;
		const field = name.replace(/[A-Z]/, (letter) => `_${letter.toLowerCase()}`);
		throw config.error(field, JSON.stringify(message[name]), 'what a header field may hold: printable ASCII');
	}
	return new CorsPolicy({
		origins: message.allowOriginStringMatch.map((matcher, index) =>
			compileStringMatcher(matcher, config.object, `${config.field}.allow_origin_string_match[${index}]`),
		),
		methods: message.allowMethods,
		headers: message.allowHeaders,
		exposed: message.exposeHeaders,
		maxAge: message.maxAge,
		credentials: message.allowCredentials ?? null,
		privateNetwork: message.allowPrivateNetworkAccess ?? null,
		forwardsOthers: message.forwardNotMatchingPreflights ?? null,
		enabledShare: filterEnabled?.defaultValue === undefined ? 1 : compileFraction(filterEnabled.defaultValue),
		shadowShare: shadowEnabled?.defaultValue === undefined ? 0 : compileFraction(shadowEnabled.defaultValue),
	});
}
