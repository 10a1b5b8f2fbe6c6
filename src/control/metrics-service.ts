// envoy.service.metrics.v3.MetricsService: sidecars stream their metrics here. A stream speaks for
// the node that its first message names, checked against the certificate of its connection.

import { create } from '@bufbuild/protobuf';
import { type Server, type ServerReadableStream, type sendUnaryData, status } from '@grpc/grpc-js';
import {
	MetricsService as MetricsServiceDescription,
	type StreamMetricsMessage,
	type StreamMetricsResponse,
	StreamMetricsResponseSchema,
} from '../generated/envoy/service/metrics/v3/metrics_service_pb.ts';
import type { MetricFamily } from '../generated/io/prometheus/client/metrics_pb.ts';
import { serviceDefinition } from '../grpc/protobuf-methods.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import type { StreamPeer } from '../xds/resource-view.ts';
import type { AuthenticatedCall } from './peer.ts';
import { readSidecarNode, type SidecarNode } from './sidecar-node.ts';

const log = new Logger('metrics-service');

export interface MetricsSink {
	onMetrics(node: SidecarNode, families: readonly MetricFamily[]): void;
	/** The node's stream has ended. */
	onEnd(node: SidecarNode): void;
}

const STATUS_OF_CODE: Readonly<Record<string, status>> = {
	unauthenticated: status.UNAUTHENTICATED,
	permission_denied: status.PERMISSION_DENIED,
};

type MetricsCall = ServerReadableStream<StreamMetricsMessage, StreamMetricsResponse>;

/** `authenticate` throws WeftError `unauthenticated`, `check` `permission_denied` for a node that is not what it says. */
export function registerMetricsService(
	server: Server,
	authenticate: (call: AuthenticatedCall) => StreamPeer,
	sink: MetricsSink,
	check: (node: SidecarNode, peer: StreamPeer) => void = () => {},
): void {
	server.addService(serviceDefinition(MetricsServiceDescription), {
		streamMetrics: (call: MetricsCall, callback: sendUnaryData<StreamMetricsResponse>) => {
			let node: SidecarNode | null = null;
			let over = false;
			const end = () => {
				if (over) return;
				over = true;
				if (node !== null) sink.onEnd(node);
			};
			const refuse = (error: unknown) => {
				end();
				const known = error instanceof WeftError;
				const code = known ? (STATUS_OF_CODE[error.code] ?? status.INVALID_ARGUMENT) : status.INTERNAL;
				log.warning('metrics refused', { peer: call.getPeer(), reason: errorMessage(error) });
				callback({
					code,
					details: known ? errorMessage(error) : 'internal error',
				});
			};
			let peer: StreamPeer;
			try {
				peer = authenticate(call);
			} catch (error) {
				refuse(error);
				return;
			}
			call.on('data', (message: StreamMetricsMessage) => {
				if (over) return;
				try {
					if (node === null) {
						const named = message.identifier?.node;
						if (named === undefined)
							throw new WeftError('invalid_node', 'the first message must carry identifier.node');
						const read = readSidecarNode(named, peer);
						check(read, peer);
						node = read;
					}
					sink.onMetrics(node, message.envoyMetrics);
				} catch (error) {
					refuse(error);
				}
			});
			call.on('end', () => {
				if (over) return;
				end();
				callback(null, create(StreamMetricsResponseSchema));
			});
			call.on('cancelled', end);
			call.on('error', end);
		},
	});
}
