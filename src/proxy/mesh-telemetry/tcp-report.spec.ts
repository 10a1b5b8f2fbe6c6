import { expect, test } from 'bun:test';
import type { Connection } from '../../net/network.ts';
import { renderPrometheusText } from '../../telemetry/prometheus-text.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import { StreamInfo } from '../stream-info.ts';
import { readMeshTelemetryConfig } from './config.ts';
import { TcpMeshTelemetry } from './tcp-report.ts';

const CONFIG = {
	workload: 'db-v1',
	namespace: 'shop',
	app: 'db',
	version: 'v1',
	serviceAccount: 'db',
	trustDomain: 'td',
};

function info(uriSans: string[] | null): StreamInfo {
	const peerCertificate =
		uriSans === null ? null : { chainDer: [], subject: '', uriSans, dnsSans: [], serialNumber: '', notAfterMs: 0 };
	const tls = { version: 'TLSv1.3', cipher: 'x', alpn: null, serverName: null, peerCertificate };
	return new StreamInfo({ tls } as unknown as Connection, 'inbound|5432', 0, 0);
}

function totals(registry: MetricRegistry): Record<string, number> {
	const found: Record<string, number> = {};
	for (const line of renderPrometheusText(registry).split('\n')) {
		const match = /^(istio_tcp_\w+)\{.*\} (\d+)$/.exec(line);
		if (match !== null) found[match[1]!] = Number(match[2]);
	}
	return found;
}

test('a connection is counted once as opened and closed, and each byte once', () => {
	const registry = new MetricRegistry();
	const telemetry = new TcpMeshTelemetry(
		readMeshTelemetryConfig({ ...CONFIG, reporter: 'destination' }, {}, 'x'),
		registry,
	);
	const connection = info(['spiffe://td/ns/shop/sa/front']);
	const report = telemetry.open(connection);
	Object.assign(connection, { bytesSent: 10, bytesReceived: 1 });
	report.update(connection);
	Object.assign(connection, { bytesSent: 30, bytesReceived: 2 });
	report.close(connection);
	report.close(connection);
	expect(totals(registry)).toEqual({
		istio_tcp_sent_bytes_total: 30,
		istio_tcp_received_bytes_total: 2,
		istio_tcp_connections_opened_total: 1,
		istio_tcp_connections_closed_total: 1,
	});
	const text = renderPrometheusText(registry);
	expect(text).toContain('request_protocol="tcp"');
	expect(text).toContain('connection_security_policy="mutual_tls"');
	expect(text).toContain('source_principal="spiffe://td/ns/shop/sa/front"');
	expect(text).toContain('source_workload_namespace="shop"');
	expect(text).toContain('destination_service="db.shop.svc.cluster.local"');
});

test('without a certificate the source is unknown', () => {
	const registry = new MetricRegistry();
	new TcpMeshTelemetry(readMeshTelemetryConfig({ ...CONFIG, reporter: 'destination' }, {}, 'x'), registry).open(
		info(null),
	);
	const text = renderPrometheusText(registry);
	expect(text).toContain('connection_security_policy="none"');
	expect(text).toContain('source_principal="unknown"');
});
