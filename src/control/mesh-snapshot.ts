// What the dashboard, `weft status` and `weft top` show: one JSON value that says how the mesh is
// now. `GET /weft/v1/mesh` answers it once, `GET /weft/v1/mesh/stream` as server-sent events
// (`event: mesh`) each second. Rates and latencies are over the last 10 seconds, seen by the source.

export interface TrafficFigures {
	/** Requests per second. */
	readonly requestRate: number;
	/** 0…1; responses below 500 (gRPC: and no server's status), and not failed by the mesh itself. 1 when there was no request. */
	readonly successRate: number;
	/** Milliseconds; null when there was no request. */
	readonly p50Ms: number | null;
	readonly p90Ms: number | null;
	readonly p99Ms: number | null;
	/** Requests per second by class: `2xx`, `3xx`, `4xx`, `5xx`, `0` for no response. */
	readonly byClass: Readonly<Record<string, number>>;
}

export interface ServiceVersionSummary {
	readonly version: string;
	readonly instances: number;
	readonly healthy: number;
}

export interface ServiceSummary {
	readonly namespace: string;
	readonly name: string;
	/** The address that clients reach it by. */
	readonly address: string;
	readonly ports: readonly number[];
	/** Apps (canonical services) of its instances, by which edges name them; empty when it has none. */
	readonly apps: readonly string[];
	/** Instances that its selector matches. */
	readonly instances: number;
	readonly healthy: number;
	readonly versions: readonly ServiceVersionSummary[];
	/** What its instances received, and what was sent to it but reached no instance. */
	readonly traffic: TrafficFigures;
}

export interface EdgeEnd {
	readonly namespace: string;
	/** The app (canonical service): `products`, or `unknown` from outside the mesh. */
	readonly service: string;
	readonly version: string;
}

export interface EdgeSummary {
	readonly source: EdgeEnd;
	readonly destination: EdgeEnd;
	readonly traffic: TrafficFigures;
	/** True: all of it was mutual TLS; false: some was plain text; null: nobody has said yet. */
	readonly mtls: boolean | null;
	/** SPIFFE IDs; empty when unknown. */
	readonly sourcePrincipal: string;
	readonly destinationPrincipal: string;
}

export interface SidecarSummary {
	/** xDS node id. */
	readonly id: string;
	readonly namespace: string;
	/** Name of the WorkloadEntry: `reviews-v2-7f3a`. */
	readonly instance: string;
	readonly service: string;
	readonly version: string;
	readonly address: string;
	/** `weft` or `envoy`. */
	readonly agent: string;
	readonly agentVersion: string;
	readonly connected: boolean;
	/** RFC 3339. */
	readonly connectedSince: string | null;
	/** By xDS type, short (`listener`, `cluster`, `route`, `endpoint`): resources sent, and how many of them at their last version are acknowledged. */
	readonly resources: Readonly<Record<string, { readonly sent: number; readonly acknowledged: number }>>;
	/** The newest configuration version that it has acknowledged in full. */
	readonly acknowledgedVersion: string;
	/** Everything that was sent is acknowledged. */
	readonly inSync: boolean;
	/** Last NACK of each type that stands. */
	readonly rejected: readonly { readonly type: string; readonly detail: string }[];
	readonly certificate: { readonly spiffeId: string /** RFC 3339. */; readonly notAfter: string } | null;
	readonly health: 'healthy' | 'unhealthy' | 'unknown' | 'draining';
}

export interface RouteBackend {
	readonly service: string;
	readonly port: number | null;
	readonly weight: number;
	/** 0…1 of the rule. */
	readonly share: number;
	/** False: the Service is not there; its share is answered 500. */
	readonly resolved: boolean;
}

export interface RouteSummary {
	readonly kind: 'HTTPRoute' | 'GRPCRoute';
	readonly namespace: string;
	readonly name: string;
	readonly parents: readonly string[];
	readonly rules: readonly {
		/** `path prefix /reviews, header x-user = beta`; `all` when there is no condition. */
		readonly matches: readonly string[];
		/** `rewrite path to /`, `set header …`, `redirect to …`. */
		readonly filters: readonly string[];
		readonly backends: readonly RouteBackend[];
	}[];
	readonly accepted: boolean;
	readonly resolvedRefs: boolean;
	/** Why not, where one of the two is false. */
	readonly message: string;
	/** Sidecars that have acknowledged the present generation, of those that get it. */
	readonly acknowledged: { readonly count: number; readonly of: number };
}

export interface MeshSnapshot {
	/** RFC 3339. */
	readonly time: string;
	readonly trustDomain: string;
	readonly controlPlane: {
		readonly version: string;
		readonly uptimeSeconds: number;
		/** What was written up to this revision is compiled: acknowledgements are of it, or newer. */
		readonly storeRevision: number;
		readonly rootNotAfter: string;
	};
	/** All requests between services and from outside, each hop counted once. */
	readonly traffic: TrafficFigures;
	readonly services: readonly ServiceSummary[];
	/** By version on both ends. One without requests for a minute is left out. */
	readonly edges: readonly EdgeSummary[];
	/** The same with the versions of both ends taken together; `version` is empty. */
	readonly links: readonly EdgeSummary[];
	readonly sidecars: readonly SidecarSummary[];
	readonly routes: readonly RouteSummary[];
}
