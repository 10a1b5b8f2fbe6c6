// envoy.service.health.v3.HealthDiscoveryService: tells a sidecar how to check its own program, and
// hears what came of it. What is checked is what `weft run` asked for in the node's metadata.

import { create } from '@bufbuild/protobuf';
import { type Server, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { HealthStatus } from '../generated/envoy/config/core/v3/health_check_pb.ts';
import {
	type EndpointHealth,
	type EndpointHealthResponse,
	type HealthCheckRequestOrEndpointHealthResponse,
	type HealthCheckSpecifier,
	HealthCheckSpecifierSchema,
	HealthDiscoveryService,
} from '../generated/envoy/service/health/v3/hds_pb.ts';
import { serviceDefinition } from '../grpc/protobuf-methods.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import type { WorkloadHealthCheck } from '../xds/node-metadata.ts';
import type { StreamPeer } from '../xds/resource-view.ts';
import { duration, socketAddress } from './compile/messages.ts';
import { inboundClusterName } from './compile/names.ts';
import type { AuthenticatedCall } from './peer.ts';
import { programAddress, readSidecarNode, type SidecarNode } from './sidecar-node.ts';

const log = new Logger('health-service');

const INTERVAL_MS_DEFAULT = 2000;
const TIMEOUT_MS_MAX = 1000;
const UNHEALTHY_AFTER = 2;
const HEALTHY_AFTER = 1;

type HealthCall = ServerDuplexStream<HealthCheckRequestOrEndpointHealthResponse, HealthCheckSpecifier>;
export type HealthSink = (node: SidecarNode, healthy: boolean, detail: string) => void;

/** `authenticate` throws WeftError `unauthenticated`, `check` `permission_denied` for a node that is not what it says. */
export function registerHealthService(
	server: Server,
	authenticate: (call: AuthenticatedCall) => StreamPeer,
	onHealth: HealthSink,
	check: (node: SidecarNode, peer: StreamPeer) => void = () => {},
): void {
	server.addService(serviceDefinition(HealthDiscoveryService), {
		streamHealthCheck: (call: HealthCall) => serve(call, authenticate, onHealth, check),
		fetchHealthCheck: (_call: unknown, callback: (error: { code: status; details: string }) => void) => {
			callback({ code: status.UNIMPLEMENTED, details: 'health checks are streamed' });
		},
	});
}

function serve(
	call: HealthCall,
	authenticate: (call: AuthenticatedCall) => StreamPeer,
	onHealth: HealthSink,
	check: (node: SidecarNode, peer: StreamPeer) => void,
): void {
	let node: SidecarNode | null = null;
	let over = false;
	const fail = (error: unknown) => {
		over = true;
		log.warning('health stream refused', { peer: call.getPeer(), reason: errorMessage(error) });
		const known = error instanceof WeftError;
		const code = known && error.code === 'unauthenticated' ? status.UNAUTHENTICATED : status.INVALID_ARGUMENT;
		call.emit('error', {
			code: known ? code : status.INTERNAL,
			details: known ? errorMessage(error) : 'internal error',
		});
	};
	let peer: StreamPeer;
	try {
		peer = authenticate(call);
	} catch (error) {
		fail(error);
		return;
	}
	call.on('data', (message: HealthCheckRequestOrEndpointHealthResponse) => {
		if (over) return;
		try {
			if (message.requestType.case === 'healthCheckRequest') {
				const named = message.requestType.value.node;
				if (named === undefined) throw new WeftError('invalid_node', 'the first message must carry a node');
				const read = readSidecarNode(named, peer);
				check(read, peer);
				node = read;
				call.write(healthCheckSpecifier(node));
			} else if (message.requestType.case === 'endpointHealthResponse') {
				if (node === null) throw new WeftError('invalid_node', 'the first message must carry a node');
				report(node, message.requestType.value, onHealth);
			}
		} catch (error) {
			fail(error);
		}
	});
	call.on('end', () => call.end());
	call.on('cancelled', () => {
		over = true;
	});
	call.on('error', () => {
		over = true;
	});
}

function report(node: SidecarNode, response: EndpointHealthResponse, onHealth: HealthSink): void {
	const check = node.weft?.healthCheck;
	if (check === undefined) return;
	const wanted = inboundClusterName(check.port);
	const cluster = response.clusterEndpointsHealth.find(({ clusterName }) => clusterName === wanted);
	const endpoints: EndpointHealth[] =
		cluster?.localityEndpointsHealth.flatMap((one) => one.endpointsHealth) ?? response.endpointsHealth;
	const [endpoint] = endpoints;
	if (endpoint === undefined || endpoint.healthStatus === HealthStatus.UNKNOWN) return;
	const healthy = endpoint.healthStatus === HealthStatus.HEALTHY || endpoint.healthStatus === HealthStatus.DEGRADED;
	onHealth(node, healthy, `${describeCheck(check)} ${healthy ? 'passes' : 'fails'}`);
}

/** `http GET :9080/healthz`, `tcp :5432`. */
function describeCheck(check: WorkloadHealthCheck): string {
	return check.kind === 'tcp' ? `tcp :${check.port}` : `http GET :${check.port}${check.path ?? '/'}`;
}

/** No check was asked for: nothing to do. */
export function healthCheckSpecifier(node: SidecarNode): HealthCheckSpecifier {
	const weft = node.weft;
	const check = weft?.healthCheck;
	const intervalMs = check?.intervalMs ?? INTERVAL_MS_DEFAULT;
	const interval = duration(intervalMs);
	if (!weft || check === undefined) return create(HealthCheckSpecifierSchema, { interval });
	return create(HealthCheckSpecifierSchema, {
		interval,
		clusterHealthChecks: [
			{
				clusterName: inboundClusterName(check.port),
				healthChecks: [
					{
						timeout: duration(Math.min(intervalMs, TIMEOUT_MS_MAX)),
						interval,
						unhealthyThreshold: UNHEALTHY_AFTER,
						healthyThreshold: HEALTHY_AFTER,
						healthChecker:
							check.kind === 'http'
								? { case: 'httpHealthCheck', value: { path: check.path ?? '/' } }
								: { case: 'tcpHealthCheck', value: {} },
					},
				],
				localityEndpoints: [
					{
						endpoints: [{ address: socketAddress(programAddress(weft), check.port, weft.networkNamespace) }],
					},
				],
			},
		],
	});
}
