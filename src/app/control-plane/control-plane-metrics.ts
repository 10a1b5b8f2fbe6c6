// `/metrics` of the control plane: what its parts count, and how it and its sidecars are at this moment.

import type { Mount } from '../../control/api/api-server.ts';
import type { ProxyView } from '../../control/mesh-view.ts';
import type { Clock } from '../../std/clock.ts';
import { PROMETHEUS_CONTENT_TYPE, renderPrometheusText } from '../../telemetry/prometheus-text.ts';
import type { MetricRegistry } from '../../telemetry/registry.ts';

const AGENTS = ['weft', 'envoy'];

export interface ControlPlaneMetricsOptions {
	readonly registry: MetricRegistry;
	readonly clock: Clock;
	/** Of weft. */
	readonly version: string;
	readonly proxies: () => Iterable<ProxyView>;
	readonly storeRevision: () => number;
	/** Milliseconds since the Unix epoch. */
	readonly rootNotAfterMs: number;
}

export function controlPlaneMetricsMount(options: ControlPlaneMetricsOptions): Mount {
	const { registry, clock, version, proxies, storeRevision, rootNotAfterMs } = options;
	const startedAtMs = clock.wallMs();
	registry.gauge('weft_build_info', 'Always 1; the version of weft is its label.', ['version']).with(version).set(1);
	const gauge = (name: string, help: string) => registry.gauge(name, help).with();
	gauge('process_start_time_seconds', 'When the process started, seconds since the Unix epoch.').set(
		startedAtMs / 1000,
	);
	gauge('weft_root_certificate_expiry_timestamp_seconds', 'Until when the root of the mesh holds.').set(
		rootNotAfterMs / 1000,
	);
	const cpu = registry.counter('process_cpu_seconds_total', 'User and system time of the process.').with();
	const resident = gauge('process_resident_memory_bytes', 'Resident memory of the process.');
	const revision = gauge('weft_store_revision', 'Last revision of the store.');
	const connected = registry.gauge('weft_sidecars_connected', 'Sidecars that are connected, by what they are.', [
		'agent',
	]);
	const behind = gauge('weft_sidecars_behind', 'Connected sidecars that have not acknowledged all that was sent.');
	const refusing = gauge('weft_sidecars_refusing', 'Connected sidecars that refused something they were sent.');
	const update = () => {
		const { user, system } = process.cpuUsage();
		cpu.value = (user + system) / 1e6;
		resident.set(process.memoryUsage.rss());
		revision.set(storeRevision());
		for (const { instrument } of connected.series()) instrument.set(0);
		connected.with('weft').set(0);
		behind.set(0);
		refusing.set(0);
		for (const { node, connected: isConnected, inSync, types } of proxies()) {
			if (!isConnected) continue;
			// What a client calls itself is not for a label; weft's own and Envoy are what there is.
			connected.with(AGENTS.includes(node.agent) ? node.agent : 'other').inc();
			if (!inSync) behind.inc();
			if ([...types.values()].some((type) => type.rejected !== null)) refusing.inc();
		}
	};
	return {
		prefix: '/metrics',
		handle: () => {
			update();
			return new Response(renderPrometheusText(registry), { headers: { 'content-type': PROMETHEUS_CONTENT_TYPE } });
		},
	};
}
