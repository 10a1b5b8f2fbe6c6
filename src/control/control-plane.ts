// The control plane without its API: the model of the mesh, its compilation, the xDS server, the
// registry, certificates, health and route statuses, over one gRPC door. Composes the parts of this
// folder; whoever runs it hands in the store, the clock and the authority.

import type { ObjectStore } from '../config/object-store.ts';
import type { JoinTokens } from '../identity/join-tokens.ts';
import type { Clock, Timer } from '../std/clock.ts';
import { Logger } from '../std/log.ts';
import type { Store } from '../store/store.ts';
import type { StreamPeer } from '../xds/resource-view.ts';
import { DiscoveryServer } from '../xds/server.ts';
import { ROUTE_TYPE, shortTypeName } from '../xds/type-urls.ts';
import { CertificateService, type SigningAuthority } from './certificates.ts';
import { ConnectedProxies } from './connected-proxies.ts';
import { GrpcServer } from './grpc-server.ts';
import { type HealthSink, registerHealthService } from './health-service.ts';
import { checkOwnCertificate, type InstanceGrants } from './instance-grants.ts';
import { MeshResources } from './mesh-resources.ts';
import type { ProxyView } from './mesh-view.ts';
import { type MetricsSink, registerMetricsService } from './metrics-service.ts';
import { type MeshChange, MeshModel } from './model.ts';
import { Registry } from './registry.ts';
import { RouteStatusWriter } from './route-status.ts';
import type { SidecarNode } from './sidecar-node.ts';

const log = new Logger('control-plane');

/** Acknowledgements come in bursts, one from each sidecar; statuses are counted once per burst. */
export const STATUS_DELAY_MS = 50;

export interface ControlPlaneOptions {
	readonly store: Store;
	/** Over the same store. */
	readonly objects: ObjectStore;
	readonly clock: Clock;
	readonly authority: SigningAuthority;
	readonly tokens: Pick<JoinTokens, 'redeem'>;
	/** See `RegistryOptions.grants`. */
	readonly grants?: InstanceGrants;
	/** The gRPC door. Port 0: any free one. */
	readonly listen: { readonly address: string; readonly port: number };
	/** Takes what sidecars measure. Default: nobody, and the service is not there. */
	readonly metrics?: MetricsSink;
}

export class ControlPlane {
	readonly model: MeshModel;
	readonly certificates: CertificateService;
	readonly registry: Registry;
	private readonly resources: MeshResources;
	private readonly proxies: ConnectedProxies;
	private readonly discovery: DiscoveryServer;
	private readonly statuses: RouteStatusWriter;
	private readonly grpc: GrpcServer;
	private statusTimer: Timer | null = null;
	private stopped = false;

	constructor(private readonly options: ControlPlaneOptions) {
		const { store, objects, clock, authority, tokens, grants, listen, metrics } = options;
		this.model = new MeshModel(store, clock, (change) => this.onModelChange(change));
		this.resources = new MeshResources(this.model, authority.trustDomain);
		this.certificates = new CertificateService({ authority, tokens });
		this.registry = new Registry({ objects, model: this.model, clock, grants });
		this.proxies = new ConnectedProxies({
			model: this.model,
			resources: this.resources,
			clock,
			register: (node, peer) => {
				this.check(node, peer);
				return this.registry.connect(node);
			},
			renewedUntilMs: (sha256) => this.certificates.renewedUntilMs(sha256),
			onChange: () => this.statusesMayDiffer(),
			streams: () => this.discovery.streams(),
		});
		this.statuses = new RouteStatusWriter(this.model, objects, clock, (route) => this.proxies.progressOf(route));
		this.grpc = new GrpcServer({ authority, clock, ...listen });
		this.discovery = new DiscoveryServer({
			source: this.proxies,
			clock,
			authenticate: this.grpc.authenticate,
			observer: {
				onAcknowledged: (_stream, typeUrl) => {
					if (typeUrl === ROUTE_TYPE) this.statusesMayDiffer();
				},
				onRejected: (stream, typeUrl, detail) => {
					log.error('a proxy refused what it was sent; it stays at its last good state', {
						node: stream.node?.id,
						type: shortTypeName(typeUrl),
						detail,
					});
					this.statusesMayDiffer();
				},
			},
		});
		this.discovery.register(this.grpc.server);
		this.certificates.register(this.grpc.server);
		const check = (node: SidecarNode, peer: StreamPeer) => this.check(node, peer);
		const onHealth: HealthSink = (node, healthy, detail) => this.registry.reportHealth(node, healthy, detail);
		registerHealthService(this.grpc.server, this.grpc.authenticate, onHealth, check);
		if (metrics !== undefined) {
			registerMetricsService(this.grpc.server, this.grpc.authenticate, metrics, check);
		}
	}

	/** Returns where the gRPC door is. @throws WeftError `address_in_use`, `listen_failed` */
	async start(): Promise<{ readonly port: number }> {
		await this.model.start();
		this.registry.start();
		const port = await this.grpc.start();
		return { port };
	}

	/** Ends all streams. What sidecars registered stays in the store, for the next start. */
	async stop(): Promise<void> {
		this.stopped = true;
		this.statusTimer?.cancel();
		// Before the streams end, so that this does not look like all sidecars leaving.
		await this.registry.stop();
		await this.grpc.stop();
		this.model.stop();
		await this.statuses.idle();
	}

	/** Every proxy that is connected: versions sent and acknowledged, NACKs, certificate. */
	connectedProxies(): Iterable<ProxyView> {
		return this.proxies.views();
	}

	/** Of the sidecars that get the route (by `routeKey`), those that have it in force as it is now. */
	acknowledgedOf(key: string): { readonly count: number; readonly of: number } {
		const route = this.model.route(key);
		if (route === undefined) return { count: 0, of: 0 };
		const { acknowledged, of } = this.proxies.progressOf(route);
		return { count: acknowledged, of };
	}

	/** Whether a node is who it says, as far as its certificate, and what it joined as, tell. @throws WeftError `permission_denied` */
	private check(node: SidecarNode, peer: StreamPeer): void {
		const { certificateSha256: sha256 } = peer;
		checkOwnCertificate(node, sha256 === undefined ? null : this.certificates.instanceOf(sha256));
		this.registry.check(node);
	}

	private onModelChange(change: MeshChange): void {
		this.resources.apply(change);
		this.registry.onServicesRemoved(change.removedServices);
		// A new route says at once that it is accepted; who has it is counted when they have answered.
		this.statuses.mark(change.httpRoutes);
		if (change.services.size > 0 || change.routes.size > 0) this.statusesMayDiffer();
	}

	private statusesMayDiffer(): void {
		if (this.stopped || this.statusTimer?.active === true) return;
		this.statusTimer ??= this.options.clock.after(STATUS_DELAY_MS, () => {
			this.statuses.mark(this.model.routeKeys());
		});
		this.statusTimer.restart(STATUS_DELAY_MS);
	}
}
