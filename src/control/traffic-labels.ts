// What Istio's standard metric labels say of a series: who called whom, how it ended, and how
// secure the connection was. Labels come from sidecars, so their number and length are bounded.

import type { LabelPair } from '../generated/io/prometheus/client/metrics_pb.ts';
import type { EdgeEnd } from './mesh-snapshot.ts';
import type { ResponseClass, Security } from './traffic-figures.ts';

export const LABELS_MAX = 64;
export const LABEL_VALUE_LENGTH_MAX = 256;

export const UNKNOWN = 'unknown';

export interface SeriesLabels {
	readonly reporter: 'source' | 'destination';
	readonly source: EdgeEnd;
	/** When the request reached no workload, `service` is the name of the Service that was called and `version` is empty. */
	readonly destination: EdgeEnd;
	readonly responseClass: ResponseClass;
	readonly failed: boolean;
	readonly security: Security;
	/** Empty when unknown. */
	readonly sourcePrincipal: string;
	readonly destinationPrincipal: string;
}

/** Null when the labels are not those of an Istio request metric, or beyond the bounds. */
export function readSeriesLabels(pairs: readonly LabelPair[]): SeriesLabels | null {
	if (pairs.length > LABELS_MAX) return null;
	const labels = new Map<string, string>();
	for (const pair of pairs) {
		if (pair.value.length > LABEL_VALUE_LENGTH_MAX) return null;
		labels.set(pair.name, pair.value);
	}
	const reporter = labels.get('reporter');
	if (reporter !== 'source' && reporter !== 'destination') return null;
	const value = (name: string) => known(labels.get(name));
	const serviceNamespace = value('destination_service_namespace') || value('destination_workload_namespace');
	const serviceName = value('destination_service_name') || (value('destination_service').split('.')[0] ?? '');
	const code = labels.get('response_code') ?? '0';
	const responseClass = classOf(code);
	return {
		reporter,
		source: {
			namespace: value('source_workload_namespace') || value('source_canonical_namespace'),
			service: value('source_canonical_service') || value('source_app') || value('source_workload') || UNKNOWN,
			version: value('source_canonical_revision') || value('source_version'),
		},
		destination: {
			namespace: value('destination_workload_namespace') || serviceNamespace,
			service:
				value('destination_canonical_service') ||
				value('destination_app') ||
				value('destination_workload') ||
				serviceName ||
				UNKNOWN,
			version: value('destination_canonical_revision') || value('destination_version'),
		},
		responseClass,
		failed:
			responseClass === '5xx' ||
			responseClass === '0' ||
			failedByMesh(labels.get('response_flags') ?? '') ||
			grpcServerFault(labels.get('grpc_response_status') ?? ''),
		security: securityOf(
			labels.get('connection_security_policy'),
			value('source_principal') !== '' && value('destination_principal') !== '',
		),
		sourcePrincipal: value('source_principal'),
		destinationPrincipal: value('destination_principal'),
	};
}

function known(value: string | undefined): string {
	return value === undefined || value === UNKNOWN || value === '-' ? '' : value;
}

function classOf(code: string): ResponseClass {
	switch (code.length === 3 ? code[0] : '') {
		case '1':
			return '1xx';
		case '2':
			return '2xx';
		case '3':
			return '3xx';
		case '4':
			return '4xx';
		case '5':
			return '5xx';
		default:
			return '0';
	}
}

/** In Istio's metrics only the destination names the policy; a source that knows both principals knows as well. */
function securityOf(policy: string | undefined, bothProven: boolean): Security {
	if (policy === 'mutual_tls' || (policy !== 'none' && bothProven)) return 'mutual_tls';
	return policy === 'none' ? 'plain' : 'unknown';
}

// Envoy's response flags for what the proxy could not deliver. Not here: what it refused on purpose
// (RL, UAEX, FI, DI) and what the caller broke off (DC, DPE, IH).
const MESH_FAILURES = new Set('UH UF UO NR NC URX UC UR LH LR UT UPE UMSDR SI DT NFCF OM RLSE'.split(' '));

function failedByMesh(flags: string): boolean {
	if (flags === '' || flags === '-') return false;
	return flags.split(',').some((flag) => MESH_FAILURES.has(flag));
}

// gRPC statuses that are the server's fault, the ones OpenTelemetry's conventions call errors of a server.
const GRPC_FAULTS = new Set(['2', '4', '12', '13', '14', '15']);

function grpcServerFault(status: string): boolean {
	return GRPC_FAULTS.has(status);
}
