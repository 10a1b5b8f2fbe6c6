// Reports each proxied TCP connection in Istio's TCP metrics: opened when its upstream is up, its
// bytes every few seconds while it lasts, closed at its end. The same configuration as for HTTP.

import type { Clock, Timer } from '../../std/clock.ts';
import { MESH_TELEMETRY_TYPE } from '../http-filters/mesh-telemetry.ts';
import { readMeshTelemetryConfig } from '../mesh-telemetry/config.ts';
import type { OwnWorkload } from '../mesh-telemetry/own-workload.ts';
import { TcpMeshTelemetry, type TcpReport } from '../mesh-telemetry/tcp-report.ts';
import type { StreamInfo } from '../stream-info.ts';
import type { TcpSessionFilter, TcpSessionFilterFactory } from './tcp-session-filter.ts';

/** How often bytes of connections that last are added up (Istio's default). */
const REPORT_INTERVAL_MS = 5000;

/** `own`: what the configuration may leave out. Compiling throws ConfigError (`mesh-telemetry/config.ts`). */
export function tcpMeshTelemetryFactory(own: OwnWorkload): TcpSessionFilterFactory {
	return {
		typeUrl: MESH_TELEMETRY_TYPE,
		compile(config, context) {
			const telemetry = readMeshTelemetryConfig(config.struct(), own, config.object, config.field);
			return new TcpMeshTelemetryFilter(context.name, new TcpMeshTelemetry(telemetry, context.registry), context.clock);
		},
	};
}

class TcpMeshTelemetryFilter implements TcpSessionFilter {
	private readonly open = new Map<StreamInfo, TcpReport>();
	/** Runs only while connections are open, so that a removed filter chain leaves nothing behind. */
	private readonly timer: Timer;

	constructor(
		readonly name: string,
		private readonly telemetry: TcpMeshTelemetry,
		clock: Clock,
	) {
		this.timer = clock.after(0, () => this.updateAll());
		this.timer.cancel();
	}

	onUpstream(info: StreamInfo): void {
		this.open.set(info, this.telemetry.open(info));
		if (!this.timer.active) this.timer.restart(REPORT_INTERVAL_MS);
	}

	onComplete(info: StreamInfo): void {
		// One that got nowhere counts too, with the flags that say why.
		const report = this.open.get(info) ?? this.telemetry.open(info);
		this.open.delete(info);
		report.close(info);
		if (this.open.size === 0) this.timer.cancel();
	}

	private updateAll(): void {
		for (const [info, report] of this.open) report.update(info);
		if (this.open.size > 0) this.timer.restart(REPORT_INTERVAL_MS);
	}
}
