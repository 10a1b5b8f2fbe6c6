// What a sidecar says of itself in `node.metadata` when it connects: Istio's keys where Istio has
// them, weft's own under `WEFT`. The control plane registers the workload and compiles its view
// from this, and the sidecar's own telemetry says of itself what is here; the control plane checks all
// of it against the identity of the connection.

export type CaptureMode =
	/** A network namespace whose outbound connections are all redirected to the sidecar. */
	| 'transparent'
	/** One loopback address per service and instance; names resolve to them for the program only. */
	| 'loopback'
	/** One local port per service, and an HTTP proxy port. */
	| 'explicit';

/** `allow-any`: they go there, but never to loopback addresses of the machine, where sidecars and others listen. */
export type OutboundPolicy = 'allow-any' | 'registry-only';

/** What a program speaks on a port; `http` is HTTP/1.1, `http2` and `grpc` are HTTP/2 without TLS, by prior knowledge. */
export const PROGRAM_PROTOCOLS = ['http', 'http2', 'grpc', 'tcp'] as const;
export type ProgramProtocol = (typeof PROGRAM_PROTOCOLS)[number];

export interface ProgramPort {
	readonly port: number;
	readonly protocol: ProgramProtocol;
}

export interface WorkloadHealthCheck {
	readonly kind: 'http' | 'tcp';
	/** For http. */
	readonly path?: string;
	readonly port: number;
	/** Default 2000. */
	readonly intervalMs?: number;
}

export interface WeftNodeMetadata {
	/** Name of the WorkloadEntry that stands for this instance while it is connected: `reviews-v2-7f3a`. */
	readonly instance: string;
	/** Service that it is an instance of; empty for a client only. */
	readonly service: string;
	/** Ports that the program listens on. Empty for a client only. */
	readonly ports: readonly ProgramPort[];
	readonly capture: CaptureMode;
	/** Where the sidecar takes mesh traffic: an address of the host that other sidecars can reach. */
	readonly address: string;
	/** Mesh port for each program port, when they cannot be the same; absent: the same number. */
	readonly inboundPorts?: Readonly<Record<string, number>>;
	/** Where the program listens, unless in `transparent` capture; an IPv4 loopback address. Default 127.0.0.1. */
	readonly programAddress?: string;
	/** Path of the program's network namespace, for `transparent`. */
	readonly networkNamespace?: string;
	/** For `loopback`: service n (the low bits of its address) is listened for at this base + n. An IPv4 address. */
	readonly outboundBase?: string;
	/** For `loopback`: the lowest port that it may listen on; ports of services below have no listener. Default 1. */
	readonly outboundPortMin?: number;
	/** For `transparent`: the port to which outbound connections are redirected. Default 15001. */
	readonly capturePort?: number;
	/** For `explicit`: the HTTP proxy's port; a service's local port is made from its address by the control plane. */
	readonly httpProxyPort?: number;
	/**
	 * For `transparent`: what becomes of connections to where no service is. Default `registry-only`: they are refused.
	 * Istio's `outboundTrafficPolicy`.
	 */
	readonly outbound?: OutboundPolicy;
	/** Doors for people outside the mesh: a loopback address and port, plain text, to a port of the program. */
	readonly publish?: readonly { readonly address: string; readonly port: number; readonly targetPort: number }[];
	readonly healthCheck?: WorkloadHealthCheck;
}

export interface SidecarNodeMetadata {
	readonly NAMESPACE: string;
	readonly SERVICE_ACCOUNT: string;
	/** `reviews-v2` */
	readonly WORKLOAD_NAME: string;
	/** At least `app` and `version`. */
	readonly LABELS: Readonly<Record<string, string>>;
	readonly MESH_ID: string;
	readonly WEFT: WeftNodeMetadata;
}

/** Istio's canonical service of a workload: the `app` of telemetry. */
export function canonicalService(labels: Readonly<Record<string, string>>, workload: string): string {
	return labels['service.istio.io/canonical-name'] ?? labels.app ?? workload;
}

/** Istio's canonical revision of a workload: the `version` of telemetry. */
export function canonicalRevision(labels: Readonly<Record<string, string>>): string {
	return labels['service.istio.io/canonical-revision'] ?? labels.version ?? 'latest';
}

export const CAPTURE_PORT_DEFAULT = 15001;
