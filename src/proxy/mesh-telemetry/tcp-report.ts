// Istio's TCP metrics of one proxied connection, for the TCP proxy: opened when the upstream is
// known, bytes as they add up, closed at the end.

import { IstioMetrics, type IstioTcpSeries } from '../../telemetry/istio-metrics.ts';
import type { MetricRegistry } from '../../telemetry/registry.ts';
import type { StreamInfo } from '../stream-info.ts';
import type { MeshTelemetryConfig } from './config.ts';
import { istioLabels } from './labels.ts';
import { peerPrincipal, UNKNOWN_WORKLOAD, verifyPeer } from './workload.ts';

/** One per filter chain. */
export class TcpMeshTelemetry {
	private readonly metrics: IstioMetrics;

	constructor(
		private readonly config: MeshTelemetryConfig,
		registry: MetricRegistry,
	) {
		this.metrics = new IstioMetrics(registry);
	}

	/** The connection goes to `info.host`, or is given up; counts it as opened. */
	open(info: StreamInfo): TcpReport {
		const { config } = this;
		const peer =
			config.reporter === 'source'
				? UNKNOWN_WORKLOAD
				: verifyPeer(undefined, peerPrincipal(info.connection.tls), config.trustDomain, config.self.cluster);
		const report = new TcpReport(this.metrics.tcp(istioLabels(config, info, peer, 'tcp')));
		report.series.opened.inc();
		return report;
	}
}

export class TcpReport {
	private sentBytes = 0;
	private receivedBytes = 0;
	private closed = false;

	constructor(readonly series: IstioTcpSeries) {}

	/** Adds what came since the last call; for connections that last. */
	update(info: StreamInfo): void {
		this.series.sentBytes.inc(info.bytesSent - this.sentBytes);
		this.series.receivedBytes.inc(info.bytesReceived - this.receivedBytes);
		this.sentBytes = info.bytesSent;
		this.receivedBytes = info.bytesReceived;
	}

	/** Idempotent. */
	close(info: StreamInfo): void {
		if (this.closed) return;
		this.closed = true;
		this.update(info);
		this.series.closed.inc();
	}
}
