// The kinds of HTTP and TCP filters that this proxy knows, and how a list of them becomes a chain.

import { create } from '@bufbuild/protobuf';
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt';
import { FilterConfigSchema } from '../../generated/envoy/config/route/v3/route_components_pb.ts';
import type { HttpFilter as HttpFilterConfig } from '../../generated/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import type { SupportedFields } from '../field-check.ts';
import type { RouteFilterConfigCompiler } from '../route/route-compiler.ts';
import { TypedConfig } from '../typed-config.ts';
import { type FilterContext, type HttpFilter, HttpFilterChain, type HttpFilterFactory } from './filter.ts';
import { ROUTER_TYPE, Router } from './router.ts';

const FILTER_CONFIG_TYPE = 'type.googleapis.com/envoy.config.route.v3.FilterConfig';

export const FILTER_CONFIG_FIELDS: SupportedFields = { 'envoy.config.route.v3.FilterConfig': ['config'] };

export class HttpFilterRegistry {
	private readonly factories = new Map<string, HttpFilterFactory>();
	private readonly byRouteType = new Map<string, HttpFilterFactory>();

	constructor(factories: readonly HttpFilterFactory[]) {
		for (const factory of factories) {
			this.factories.set(factory.typeUrl, factory);
			this.byRouteType.set(factory.routeTypeUrl ?? factory.typeUrl, factory);
		}
	}

	/** Type URLs that are known, the router's included. */
	types(): string[] {
		return [...this.factories.keys(), ROUTER_TYPE].sort();
	}

	/** @throws ConfigError; the last filter must be the router, and only the last */
	compileChain(
		configs: readonly HttpFilterConfig[],
		context: Omit<FilterContext, 'name' | 'slot'>,
		object: string,
		field: string,
	): { chain: HttpFilterChain; router: Router } {
		const filters: HttpFilter[] = [];
		let router: Router | null = null;
		configs.forEach((config, index) => {
			const at = `${field}[${index}]`;
			if (router !== null) throw new ConfigError({ object, field: at, expected: 'nothing after the router' });
			if (config.disabled) return;
			if (config.configType.case !== 'typedConfig') {
				throw new ConfigError({ object, field: at, expected: 'a typed_config' });
			}
			const typed = TypedConfig.read(config.configType.value, object, `${at}.typed_config`);
			if (typed.typeUrl === ROUTER_TYPE) {
				router = Router.compile(typed, context.clusters);
				return;
			}
			const factory = this.factories.get(typed.typeUrl);
			if (factory === undefined) {
				if (config.isOptional) return;
				throw typed.error('', typed.typeUrl, `one of: ${this.types().join(', ')}`);
			}
			filters.push(factory.compile(typed, { ...context, name: config.name, slot: filters.length }));
		});
		if (router === null) {
			throw new ConfigError({ object, field, expected: `a last filter of type ${ROUTER_TYPE}` });
		}
		return { chain: new HttpFilterChain(filters), router };
	}

	/** For `typed_per_filter_config`: a filter's own configuration, or one within Envoy's `FilterConfig`. */
	readonly compileRouteConfig: RouteFilterConfigCompiler = (name, config: Any, object, field) => {
		const typed = TypedConfig.read(config, object, field);
		if (typed.typeUrl === FILTER_CONFIG_TYPE) {
			const inner = typed.message(FilterConfigSchema, FILTER_CONFIG_FIELDS);
			return this.compileRouteConfig(name, inner.config ?? create(AnySchema), object, `${field}.config`);
		}
		const factory = this.byRouteType.get(typed.typeUrl);
		if (factory?.compileRouteConfig === undefined) {
			throw typed.error('', typed.typeUrl, `a configuration that the filter ${JSON.stringify(name)} takes on a route`);
		}
		return factory.compileRouteConfig(typed);
	};
}
