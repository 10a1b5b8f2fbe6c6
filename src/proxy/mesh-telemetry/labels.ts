// Istio's labels of one stream, from what is known of both its ends.

import type { IstioLabels } from '../../telemetry/istio-metrics.ts';
import { formatResponseFlags, type StreamInfo } from '../stream-info.ts';
import type { MeshTelemetryConfig } from './config.ts';
import {
	type MeshService,
	peerPrincipal,
	serviceOfCluster,
	UNKNOWN,
	UNKNOWN_SERVICE,
	type Workload,
	workloadOfHost,
} from './workload.ts';

/** `peer`: the source, where this proxy is the destination; not looked at otherwise. */
export function istioLabels(
	config: MeshTelemetryConfig,
	info: StreamInfo,
	peer: Workload,
	requestProtocol: 'http' | 'grpc' | 'tcp',
): IstioLabels {
	const outbound = config.reporter === 'source';
	const source = outbound ? config.self : peer;
	const destination = outbound ? workloadOfHost(info.host) : config.self;
	const service = serviceOf(config, info);
	const tls = outbound ? info.upstreamTls : info.connection.tls;
	const mutual = tls?.peerCertificate != null;
	const other = peerPrincipal(tls) || UNKNOWN;
	const own = mutual ? config.principal : UNKNOWN;
	return {
		reporter: config.reporter,
		source_workload: source.workload,
		source_canonical_service: source.app,
		source_canonical_revision: source.version,
		source_workload_namespace: source.namespace,
		source_principal: outbound ? own : other,
		source_app: source.app,
		source_version: source.version,
		source_cluster: source.cluster,
		destination_workload: destination.workload,
		destination_workload_namespace: destination.namespace,
		destination_principal: outbound ? other : own,
		destination_app: destination.app,
		destination_version: destination.version,
		destination_service: service.host,
		destination_canonical_service: destination.app,
		destination_canonical_revision: destination.version,
		destination_service_name: service.name,
		destination_service_namespace: service.namespace,
		destination_cluster: destination.cluster,
		request_protocol: requestProtocol,
		response_flags: formatResponseFlags(info.responseFlags),
		// Istio: only the destination can say it.
		connection_security_policy: outbound ? UNKNOWN : mutual ? 'mutual_tls' : 'none',
	};
}

/**
 * The Service that was called. An inbound cluster that names none stands for the workload's own app; an outbound
 * one is known by its own name (`PassthroughCluster`, `BlackHoleCluster`: Istio's).
 */
function serviceOf(config: MeshTelemetryConfig, info: StreamInfo): MeshService {
	const service = serviceOfCluster(info.cluster);
	if (service !== null) return service;
	if (config.reporter === 'source') {
		return info.cluster === null ? UNKNOWN_SERVICE : { ...UNKNOWN_SERVICE, name: info.cluster.name };
	}
	const { app, namespace } = config.self;
	return { host: `${app}.${namespace}.svc.cluster.local`, name: app, namespace };
}
