// Envoy's `Listener.listener_filters`, compiled.

import type {
	ListenerFilter as ListenerFilterConfig,
	ListenerFilterChainMatchPredicate as Predicate,
} from '../../generated/envoy/config/listener/v3/listener_components_pb.ts';
import { OriginalDstSchema } from '../../generated/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.ts';
import type { Connection } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';
import type { MetricRegistry } from '../../telemetry/registry.ts';
import type { SupportedFields } from '../field-check.ts';
import { TypedConfig } from '../typed-config.ts';
import { compileHttpInspector, HTTP_INSPECTOR_TYPE } from './http-inspector.ts';
import type { Findings, ListenerFilter } from './listener-filter.ts';
import { compileProxyProtocol, PROXY_PROTOCOL_FIELDS, PROXY_PROTOCOL_TYPE } from './proxy-protocol.ts';
import { compileTlsInspector, TLS_INSPECTOR_FIELDS, TLS_INSPECTOR_TYPE } from './tls-inspector.ts';

const ORIGINAL_DST_TYPE = 'type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst';

/** An empty list: the message has no field. */
export const LISTENER_FILTER_FIELDS: SupportedFields = {
	...TLS_INSPECTOR_FIELDS,
	'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector': [],
	'envoy.extensions.filters.listener.original_dst.v3.OriginalDst': [],
	...PROXY_PROTOCOL_FIELDS,
};

const ORIGINAL_DESTINATION: ListenerFilter = {
	begin(connection, found) {
		found.destination ??= connection.originalDestination();
		return null;
	},
};

const FILTERS: ReadonlyMap<string, (config: TypedConfig, registry: MetricRegistry) => ListenerFilter> = new Map([
	[
		ORIGINAL_DST_TYPE,
		(config: TypedConfig) => {
			config.message(OriginalDstSchema, LISTENER_FILTER_FIELDS);
			return ORIGINAL_DESTINATION;
		},
	],
	[PROXY_PROTOCOL_TYPE, compileProxyProtocol],
	[TLS_INSPECTOR_TYPE, compileTlsInspector],
	[HTTP_INSPECTOR_TYPE, compileHttpInspector],
]);
/** A predicate in a predicate in a … */
const PREDICATE_DEPTH_MAX = 16;

/** `useOriginalDestination`: Envoy's `use_original_dst` stands for the filter of that name. @throws ConfigError */
export function compileListenerFilters(
	configs: readonly ListenerFilterConfig[],
	useOriginalDestination: boolean,
	registry: MetricRegistry,
	object: string,
): readonly ListenerFilter[] {
	const filters = configs.map((config, index) => {
		const field = `listener_filters[${index}]`;
		if (config.configType.case !== 'typedConfig') {
			throw new ConfigError({ object, field, found: config.name, expected: 'a typed_config' });
		}
		const typed = TypedConfig.read(config.configType.value, object, `${field}.typed_config`);
		const compile = FILTERS.get(typed.typeUrl);
		if (compile === undefined) throw typed.error('', typed.typeUrl, `one of: ${[...FILTERS.keys()].join(', ')}`);
		const filter = compile(typed, registry);
		if (config.filterDisabled === undefined) return filter;
		return new SwitchedFilter(filter, compilePredicate(config.filterDisabled, object, `${field}.filter_disabled`, 0));
	});
	return useOriginalDestination ? [ORIGINAL_DESTINATION, ...filters] : filters;
}

type PortTest = (destinationPort: number) => boolean;

class SwitchedFilter implements ListenerFilter {
	constructor(
		private readonly filter: ListenerFilter,
		private readonly isDisabled: PortTest,
	) {}

	begin(connection: Connection, found: Findings) {
		const address = found.destination ?? connection.local;
		return this.isDisabled(address.kind === 'ip' ? address.port : -1) ? null : this.filter.begin(connection, found);
	}
}

function compilePredicate(config: Predicate, object: string, field: string, depth: number): PortTest {
	if (depth > PREDICATE_DEPTH_MAX) {
		throw new ConfigError({ object, field, expected: `at most ${PREDICATE_DEPTH_MAX} predicates in each other` });
	}
	const { rule } = config;
	switch (rule.case) {
		case 'anyMatch':
			return () => true;
		case 'notMatch': {
			const test = compilePredicate(rule.value, object, `${field}.not_match`, depth + 1);
			return (port) => !test(port);
		}
		case 'destinationPortRange': {
			const { start, end } = rule.value;
			return (port) => port >= start && port < end;
		}
		case 'orMatch':
		case 'andMatch': {
			const at = `${field}.${rule.case === 'orMatch' ? 'or_match' : 'and_match'}.rules`;
			const tests = rule.value.rules.map((one, index) => compilePredicate(one, object, `${at}[${index}]`, depth + 1));
			if (tests.length < 2) throw new ConfigError({ object, field: at, expected: 'at least two predicates' });
			return rule.case === 'orMatch'
				? (port) => tests.some((test) => test(port))
				: (port) => tests.every((test) => test(port));
		}
		default:
			throw new ConfigError({
				object,
				field,
				expected: 'one of or_match, and_match, not_match, any_match, destination_port_range',
			});
	}
}
