// The endpoints of a service port: every instance that its selector matches and that is healthy.

import { create, toBinary } from '@bufbuild/protobuf';
import { isManaged } from '../../config/object.ts';
import type { ServicePort } from '../../config/service.ts';
import { type LbEndpoint, LbEndpointSchema } from '../../generated/envoy/config/endpoint/v3/endpoint_components_pb.ts';
import { ClusterLoadAssignmentSchema } from '../../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import { canonicalRevision, canonicalService } from '../../xds/node-metadata.ts';
import { type EncodedResource, encodeResource } from '../../xds/resource-view.ts';
import { ENDPOINT_TYPE } from '../../xds/type-urls.ts';
import type { WorkloadEntry } from '../mesh-kinds.ts';
import { hasMutualTls, type MeshService, TLS_MODE_ISTIO } from './mesh-service.ts';
import { socketAddress } from './messages.ts';
import { outboundName } from './names.ts';

/** Annotation of a registered entry: the workload that it is an instance of. */
export const WORKLOAD_ANNOTATION = 'weft.dev/workload';
/** Annotation of a registered entry: its sidecar checks its health and reports it. */
export const HEALTH_CHECK_ANNOTATION = 'weft.dev/health-check';
/** Name of the one cluster (in Istio's sense) of the mesh, in endpoint metadata. */
const CLUSTER_ID = 'weft';

export function compileEndpoints(
	service: MeshService,
	port: ServicePort,
	entries: readonly WorkloadEntry[],
): EncodedResource {
	const name = outboundName(port.port, service.host);
	const byLocality = new Map<string, LbEndpoint[]>();
	for (const entry of entries) {
		if (!isHealthy(entry)) continue;
		const number = instancePort(entry, port);
		if (number === null) continue;
		const locality = entry.spec.locality ?? '';
		const list = byLocality.get(locality);
		const endpoint = lbEndpoint(entry, number);
		if (list === undefined) byLocality.set(locality, [endpoint]);
		else list.push(endpoint);
	}
	const assignment = create(ClusterLoadAssignmentSchema, {
		clusterName: name,
		endpoints: [...byLocality].map(([locality, lbEndpoints]) => {
			const [region, zone, subZone] = locality.split('/');
			return {
				locality: locality === '' ? undefined : { region: region ?? '', zone: zone ?? '', subZone: subZone ?? '' },
				lbEndpoints,
			};
		}),
	});
	return encodeResource(ENDPOINT_TYPE, name, toBinary(ClusterLoadAssignmentSchema, assignment));
}

/** An instance with a check is healthy once the check has said so; one without, as long as it is there. */
export function isHealthy(entry: WorkloadEntry): boolean {
	const condition = entry.status?.conditions?.find(({ type }) => type === 'Healthy');
	if (entry.metadata.annotations?.[HEALTH_CHECK_ANNOTATION] === 'true') return condition?.status === 'True';
	return condition?.status !== 'False';
}

/**
 * By the Service port's name, its target port's name or number, else that number itself. A registered entry
 * lists all its ports, so that what it does not list it does not have: null.
 */
export function instancePort(entry: WorkloadEntry, port: ServicePort): number | null {
	const { ports } = entry.spec;
	const target = port.targetPort ?? port.port;
	const named = port.name === undefined ? undefined : ports[port.name];
	if (typeof target === 'string') return ports[target] ?? named ?? null;
	const listed = ports[String(target)] ?? named;
	if (listed !== undefined) return listed;
	return isManaged(entry) ? null : target;
}

function lbEndpoint(entry: WorkloadEntry, port: number): LbEndpoint {
	const { metadata, spec } = entry;
	const workload = metadata.annotations?.[WORKLOAD_ANNOTATION] ?? metadata.name;
	const app = canonicalService(spec.labels, workload);
	const revision = canonicalRevision(spec.labels);
	return create(LbEndpointSchema, {
		hostIdentifier: { case: 'endpoint', value: { address: socketAddress(spec.address, port) } },
		loadBalancingWeight: spec.weight,
		metadata: {
			filterMetadata: {
				istio: { workload: [workload, metadata.namespace ?? '', app, revision, CLUSTER_ID].join(';') },
				...(hasMutualTls(entry) ? { 'envoy.transport_socket_match': { tlsMode: TLS_MODE_ISTIO } } : {}),
			},
		},
	});
}
