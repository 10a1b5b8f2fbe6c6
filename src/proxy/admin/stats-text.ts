// The registry under Envoy's dotted names (`cluster.NAME.upstream_cx_total: 3`), for `/stats`.

import { Histogram, type Instrument, type MetricRegistry } from '../../telemetry/registry.ts';

export interface NamedStat {
	readonly name: string;
	readonly instrument: Instrument;
}

/** Prometheus prefix, the label that becomes part of the name, and the first part of the dotted name. */
const SCOPES: readonly (readonly [prefix: string, label: string, scope: string])[] = [
	['envoy_cluster_', 'envoy_cluster_name', 'cluster'],
	['envoy_http_', 'envoy_http_conn_manager_prefix', 'http'],
	['envoy_tcp_', 'envoy_tcp_prefix', 'tcp'],
	['envoy_listener_', 'envoy_listener_address', 'listener'],
	['envoy_connection_limit_', 'envoy_connection_limit_prefix', 'connection_limit'],
];

/** Names of monitors, actions and points have dots of their own. */
const OVERLOAD_STAT =
	/^envoy_overload_envoy_(resource_monitors|overload_actions|load_shed_points)_(\w+)_(pressure|failed_updates|active|scale_percent|shed_load_count|shrink_count)$/;

/** In the order of their names. */
export function namedStats(registry: MetricRegistry): NamedStat[] {
	const stats: NamedStat[] = [];
	for (const family of registry.all()) {
		for (const { labels, instrument } of family.series()) {
			stats.push({ name: dottedName(family.name, family.labelNames, labels), instrument });
		}
	}
	return stats.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** Null for one that was never used, when only used ones are wanted. */
export function statValue(instrument: Instrument): string {
	if (!(instrument instanceof Histogram)) return String(instrument.value);
	if (instrument.count === 0) return 'No recorded values';
	const quantiles = [0.5, 0.9, 0.95, 0.99].map((q) => `P${q * 100}(${quantile(instrument, q)})`);
	return `count(${instrument.count}) sum(${instrument.sum}) ${quantiles.join(' ')}`;
}

export function isUsed(instrument: Instrument): boolean {
	return instrument instanceof Histogram ? instrument.count > 0 : instrument.value !== 0;
}

function dottedName(family: string, labelNames: readonly string[], labels: readonly string[]): string {
	const label = (name: string) => labels[labelNames.indexOf(name)];
	for (const [prefix, scopeLabel, scope] of SCOPES) {
		const owner = label(scopeLabel);
		if (owner === undefined || !family.startsWith(prefix)) continue;
		let rest = family.slice(prefix.length);
		const digit = label('envoy_response_code_class');
		const status = label('envoy_response_code');
		if (digit !== undefined) rest = rest.replace(/_xx$/, `_${digit}xx`);
		else if (status !== undefined) rest += `_${status}`;
		const service = label('envoy_grpc_bridge_service');
		if (service !== undefined) {
			const names = service === '' ? '' : `${service}.${label('envoy_grpc_bridge_method')}.`;
			rest = rest.replace(/^grpc_(web_)?/, (_, web?: string) => `grpc${web === undefined ? '' : '-web'}.${names}`);
		}
		const certificate = label('envoy_tls_certificate');
		if (certificate !== undefined) rest = rest.replace(/^ssl_certificate_/, () => `ssl.certificate.${certificate}.`);
		return `${scope}.${owner}.${rest}`;
	}
	const overload = OVERLOAD_STAT.exec(family);
	if (overload !== null) return `overload.envoy.${overload[1]}.${overload[2]}.${overload[3]}`;
	const plain = family.startsWith('envoy_')
		? family.slice('envoy_'.length).replace(/^(cluster_manager|server|control_plane|listener_manager|overload)_/, '$1.')
		: family;
	return labels.length === 0 ? plain : `${plain}{${labelNames.map((name, i) => `${name}=${labels[i]}`).join(',')}}`;
}

/** The upper bound of the bucket that holds the quantile; `>BOUND` past the last. */
function quantile(histogram: Histogram, q: number): string {
	let seen = 0;
	for (let i = 0; i < histogram.bounds.length; i++) {
		seen += histogram.counts[i]!;
		if (seen >= q * histogram.count) return `<=${histogram.bounds[i]}`;
	}
	return `>${histogram.bounds[histogram.bounds.length - 1]}`;
}
