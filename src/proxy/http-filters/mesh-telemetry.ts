// Reports each HTTP request in Istio's standard metrics, and tells the other sidecar who calls:
// outbound, it sets `x-weft-peer`; inbound, it takes that header away and believes it as far as
// the peer's certificate bears it out.
//
// A series is found by what its labels depend on (host or peer, cluster, status, flags), compared
// by identity in a short list; its labels are only made when it is new.

import type { HeaderList } from '../../http/headers.ts';
import { getHeader, removeHeader, setHeader } from '../../http/headers.ts';
import type { Connection } from '../../net/network.ts';
import { IstioMetrics, type IstioRequestSeries } from '../../telemetry/istio-metrics.ts';
import { type MeshTelemetryConfig, readMeshTelemetryConfig } from '../mesh-telemetry/config.ts';
import { istioLabels } from '../mesh-telemetry/labels.ts';
import type { OwnWorkload } from '../mesh-telemetry/own-workload.ts';
import {
	formatPeerHeader,
	peerPrincipal,
	UNKNOWN_WORKLOAD,
	verifyPeer,
	type Workload,
} from '../mesh-telemetry/workload.ts';
import type { Cluster } from '../upstream.ts';
import type { Exchange } from './exchange.ts';
import type { FilterStatus, HttpFilter, HttpFilterFactory } from './filter.ts';

export const MESH_TELEMETRY_TYPE = 'type.googleapis.com/weft.telemetry.v1.MeshTelemetry';

export const PEER_HEADER = 'x-weft-peer';

/** `own`: what the configuration may leave out. Compiling throws ConfigError (`mesh-telemetry/config.ts`). */
export function meshTelemetryFactory(own: OwnWorkload): HttpFilterFactory {
	return {
		typeUrl: MESH_TELEMETRY_TYPE,
		compile(config, context) {
			const telemetry = readMeshTelemetryConfig(config.struct(), own, config.object, config.field);
			return new MeshTelemetryFilter(context.name, context.slot, telemetry, new IstioMetrics(context.registry));
		},
	};
}

interface CachedSeries {
	readonly cluster: Cluster | null;
	readonly status: number;
	readonly flags: number;
	readonly grpc: boolean;
	readonly grpcStatus: string;
	/** SPIFFE ID of the other end. */
	readonly principal: string;
	readonly series: IstioRequestSeries;
}

interface ConnectionPeer {
	readonly header: string | undefined;
	readonly peer: Workload;
}

/** Series kept for one host or peer; further ones are looked up by their labels each time. */
const SERIES_PER_KEY_MAX = 64;
/** Five names of up to 253 characters. */
const PEER_HEADER_LENGTH_MAX = 1269;
/** Peers known by header and certificate. */
const PEERS_MAX = 4096;

class MeshTelemetryFilter implements HttpFilter {
	private readonly outbound: boolean;
	private readonly ownPeerHeader: string;
	/** By host or cluster (outbound), by peer (inbound). */
	private readonly cache = new WeakMap<object, CachedSeries[]>();
	private readonly connectionPeers = new WeakMap<Connection, ConnectionPeer>();
	private readonly peers = new Map<string, Workload>();

	constructor(
		readonly name: string,
		private readonly slot: number,
		private readonly config: MeshTelemetryConfig,
		private readonly metrics: IstioMetrics,
	) {
		this.outbound = config.reporter === 'source';
		this.ownPeerHeader = formatPeerHeader(config.self, config.serviceAccount);
	}

	onRequestHead(exchange: Exchange): FilterStatus {
		const { headers } = exchange.requestHead;
		if (this.outbound) {
			setHeader(headers, PEER_HEADER, this.ownPeerHeader);
			return 'continue';
		}
		const header = getHeader(headers, PEER_HEADER);
		if (header !== undefined) removeHeader(headers, PEER_HEADER);
		exchange.filterState[this.slot] = this.peerOf(exchange.connection, header);
		return 'continue';
	}

	onComplete(exchange: Exchange): void {
		const series = this.seriesOf(exchange);
		series.requests.inc();
		series.durationMs.observe(exchange.endMs - exchange.startMs);
		series.requestBytes.observe(exchange.bytesReceived);
		series.responseBytes.observe(exchange.bytesSent);
	}

	private peerOf(connection: Connection, header: string | undefined): Workload {
		const known = this.connectionPeers.get(connection);
		if (known !== undefined && known.header === header) return known.peer;
		const principal = peerPrincipal(connection.tls);
		if (principal === '' || (header !== undefined && header.length > PEER_HEADER_LENGTH_MAX)) return UNKNOWN_WORKLOAD;
		const key = `${principal}\n${header ?? ''}`;
		let peer = this.peers.get(key);
		if (peer === undefined) {
			if (this.peers.size >= PEERS_MAX) this.peers.clear();
			// An object of its own, since it is a key of the cache.
			peer = { ...verifyPeer(header, principal, this.config.trustDomain, this.config.self.cluster) };
			this.peers.set(key, peer);
		}
		this.connectionPeers.set(connection, { header, peer });
		return peer;
	}

	private seriesOf(exchange: Exchange): IstioRequestSeries {
		const peer = (exchange.filterState[this.slot] as Workload | undefined) ?? UNKNOWN_WORKLOAD;
		const key = this.outbound ? (exchange.host ?? exchange.cluster ?? this) : peer;
		const principal = peerPrincipal(this.outbound ? exchange.upstreamTls : exchange.connection.tls);
		const contentType = getHeader(exchange.requestHead.headers, 'content-type');
		const grpc =
			contentType?.startsWith('application/grpc') === true && !contentType.startsWith('application/grpc-web');
		const grpcStatus = grpc ? statusOfGrpc(exchange) : '';
		const { cluster, status, responseFlags: flags } = exchange;

		let list = this.cache.get(key);
		if (list === undefined) {
			list = [];
			this.cache.set(key, list);
		}
		for (let i = 0; i < list.length; i++) {
			const one = list[i]!;
			if (
				one.status === status &&
				one.flags === flags &&
				one.cluster === cluster &&
				one.grpc === grpc &&
				one.grpcStatus === grpcStatus &&
				one.principal === principal
			) {
				return one.series;
			}
		}
		const series = this.metrics.request({
			...istioLabels(this.config, exchange, peer, grpc ? 'grpc' : 'http'),
			response_code: String(status),
			grpc_response_status: grpcStatus,
		});
		if (list.length < SERIES_PER_KEY_MAX) list.push({ cluster, status, flags, grpc, grpcStatus, principal, series });
		return series;
	}
}

/** Empty: none came. Anything but one or two digits is not a status, and must not become a label. */
function statusOfGrpc(exchange: Exchange): string {
	const status = inTrailers(exchange.responseTrailers) ?? inTrailers(exchange.responseHead?.headers ?? null);
	if (status === undefined) return '';
	return /^\d{1,2}$/.test(status) ? status : '2';
}

function inTrailers(headers: HeaderList | null): string | undefined {
	return headers === null ? undefined : getHeader(headers, 'grpc-status');
}
