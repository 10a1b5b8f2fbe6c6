// `weft up`: the control plane of one machine in one process. Puts together, on one data directory,
// the store, the authority, the gRPC door, the join door, the API and the dashboard.
//
//   data locked ─▶ store, authority ─▶ gRPC door ─▶ join door ─▶ API ─▶ ready
//
// What was started is stopped in the opposite order, also when a later step fails.

import { ObjectStore } from '../../config/object-store.ts';
import type { TcpAddress } from '../../control/api/api-server.ts';
import { startApiServer } from '../../control/api/api-server.ts';
import { ControlPlane } from '../../control/control-plane.ts';
import { MeshStream } from '../../control/mesh-stream.ts';
import { buildMeshSnapshot } from '../../control/mesh-view.ts';
import { Traffic } from '../../control/traffic.ts';
import { dashboardMount } from '../../dashboard/serve.ts';
import { CertificateAuthority } from '../../identity/certificate-authority.ts';
import { JoinTokens } from '../../identity/join-tokens.ts';
import type { Network } from '../../net/network.ts';
import { WeftError } from '../../std/errors.ts';
import { SqliteStore } from '../../store/sqlite-store.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import type { DataPaths } from '../data-directory.ts';
import { controlPlaneMetricsMount } from './control-plane-metrics.ts';
import { lockData } from './data-lock.ts';
import { InstanceIndexes } from './instance-indexes.ts';
import { openJoinDoor } from './join-door.ts';
import { apiToken, writeKubeconfig } from './kubeconfig.ts';
import { sidecarMetricsMounts } from './sidecar-metrics.ts';

export interface LocalControlPlaneOptions {
	readonly network: Network;
	readonly paths: DataPaths;
	/** Port 0: any free one. */
	readonly api: TcpAddress;
	/** For clients that send a token over TLS only, as kubectl. Port 0: any free one. */
	readonly apiTls: TcpAddress & {
		/** Another port is taken when that one is in use. */
		readonly mayMove: boolean;
	};
	readonly xds: TcpAddress;
	readonly trustDomain: string;
	/** Of weft. */
	readonly version: string;
}

export interface LocalControlPlane {
	readonly apiPort: number;
	readonly apiTlsPort: number;
	readonly xdsPort: number;
	/** In order; what sidecars have stays with them, and what they registered stays in the store. */
	stop(): Promise<void>;
}

type Undo = () => void | Promise<void>;

/** @throws ExitError, WeftError `address_in_use` and others: one line says what is in the way; nothing is left running */
export async function startLocalControlPlane(options: LocalControlPlaneOptions): Promise<LocalControlPlane> {
	const started: Undo[] = [];
	const stop = async () => {
		for (let undo = started.pop(); undo !== undefined; undo = started.pop()) await undo();
	};
	try {
		return { ...(await start(options, started)), stop };
	} catch (error) {
		await stop();
		throw error;
	}
}

async function start(options: LocalControlPlaneOptions, started: Undo[]): Promise<Omit<LocalControlPlane, 'stop'>> {
	const { network, paths, trustDomain, version } = options;
	const { clock } = network;
	const startedAtMs = clock.wallMs();

	const lock = lockData(paths.lock);
	started.push(() => lock.release());
	const token = apiToken(paths.token);
	const authority = await CertificateAuthority.open({ directory: paths.authority, trustDomain, clock });
	const store = SqliteStore.open(paths.store);
	started.push(() => store.close());
	const objects = await ObjectStore.open(store);
	const tokens = new JoinTokens(clock);

	const registry = new MetricRegistry();
	const traffic = new Traffic({ clock, registry });
	const controlPlane = new ControlPlane({
		store,
		objects,
		clock,
		authority,
		tokens,
		grants: { find: (namespace, instance) => indexes.find(namespace, instance) },
		listen: { address: options.xds.hostname, port: options.xds.port },
		metrics: {
			onMetrics: (node, families) => traffic.report(node, families),
			onEnd: (node) => traffic.forget(node),
		},
	});
	const { model } = controlPlane;
	// Before sidecars come back, which are held against what they joined as.
	const indexes = await InstanceIndexes.open(store, (instance) => {
		for (const key of model.workloadEntries.keys()) if (key.endsWith(`/${instance}`)) return true;
		return false;
	});
	const { port: xdsPort } = await naming('--xds-address', () => controlPlane.start());
	started.push(() => controlPlane.stop());

	const joinDoor = openJoinDoor({
		network,
		socketPath: paths.joinSocket,
		objects,
		authority,
		tokens,
		indexes,
		xds: { address: options.xds.hostname, port: xdsPort },
	});
	started.push(() => joinDoor.close());

	const meshStream = new MeshStream({
		clock,
		snapshot: () =>
			buildMeshSnapshot({
				nowMs: clock.wallMs(),
				trustDomain,
				controlPlane: { version, startedAtMs, rootNotAfterMs: authority.rootNotAfterMs },
				model,
				proxies: controlPlane.connectedProxies(),
				traffic: traffic.read(),
				acknowledgedOf: (routeKey) => controlPlane.acknowledgedOf(routeKey),
			}),
	});
	started.push(() => meshStream.close());
	const metrics = controlPlaneMetricsMount({
		registry,
		clock,
		version,
		proxies: () => controlPlane.connectedProxies(),
		storeRevision: () => model.revision,
		rootNotAfterMs: authority.rootNotAfterMs,
	});
	const certificate = await authority.issueControlPlaneCertificate([options.apiTls.hostname]);
	const serve = (tlsPort: number) =>
		startApiServer({
			objects,
			clock,
			version,
			unixPath: paths.apiSocket,
			tcp: options.api,
			tls: { hostname: options.apiTls.hostname, port: tlsPort, ...certificate },
			token,
			mounts: [meshStream.mount, metrics, ...sidecarMetricsMounts(paths.sidecars), dashboardMount],
		});
	const api = await naming('--api-address or --api-tls-address', () => {
		try {
			return serve(options.apiTls.port);
		} catch (error) {
			if (!options.apiTls.mayMove || !isAddressInUse(error)) throw error;
			return serve(0);
		}
	});
	started.push(() => api.close());

	const apiTlsPort = api.tlsPort ?? 0;
	const server = `https://${options.apiTls.hostname}:${apiTlsPort}`;
	writeKubeconfig(paths.kubeconfig, { server, rootsPem: authority.rootsPem, token });
	return { apiPort: api.port ?? 0, apiTlsPort, xdsPort };
}

/** Says which option would get out of the way of what is in use. */
async function naming<T>(option: string, listen: () => T | Promise<T>): Promise<T> {
	try {
		return await listen();
	} catch (error) {
		if (!isAddressInUse(error)) throw error;
		const { message } = error as WeftError;
		throw new WeftError('address_in_use', `${message} (choose another by ${option})`, { cause: error });
	}
}

function isAddressInUse(error: unknown): boolean {
	return error instanceof WeftError && error.code === 'address_in_use';
}
