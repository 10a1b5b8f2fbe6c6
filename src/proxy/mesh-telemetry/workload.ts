// Who is on either end of a mesh request, for telemetry: this proxy's own workload from its
// configuration, the destination from an endpoint's metadata, the source from `x-weft-peer` as far
// as its certificate bears it out.

import type { TlsInfo } from '../../net/network.ts';
import type { Cluster, Host } from '../upstream.ts';

/** `unknown` where nothing is known. */
export interface Workload {
	readonly workload: string;
	readonly namespace: string;
	readonly app: string;
	readonly version: string;
	readonly cluster: string;
}

export interface MeshService {
	/** `reviews.shop.svc.cluster.local` */
	readonly host: string;
	readonly name: string;
	readonly namespace: string;
}

export const UNKNOWN = 'unknown';

export const UNKNOWN_WORKLOAD: Workload = {
	workload: UNKNOWN,
	namespace: UNKNOWN,
	app: UNKNOWN,
	version: UNKNOWN,
	cluster: UNKNOWN,
};

export const UNKNOWN_SERVICE: MeshService = { host: UNKNOWN, name: UNKNOWN, namespace: UNKNOWN };

/** Longest name that is taken from elsewhere. */
const NAME_LENGTH_MAX = 253;

/** Endpoint metadata `istio.workload`: `WORKLOAD;NAMESPACE;CANONICAL_SERVICE;CANONICAL_REVISION;CLUSTER`. */
export function workloadOfHost(host: Host | null): Workload {
	const text = host?.metadata.istio?.workload;
	if (typeof text !== 'string') return UNKNOWN_WORKLOAD;
	const [workload, namespace, app, version, cluster] = text.split(';');
	return {
		workload: orUnknown(workload),
		namespace: orUnknown(namespace),
		app: orUnknown(app),
		version: orUnknown(version),
		cluster: orUnknown(cluster),
	};
}

/** Cluster metadata `istio.services[0]`; null when there is none. */
export function serviceOfCluster(cluster: Cluster | null): MeshService | null {
	const services = cluster?.metadata.istio?.services;
	if (!Array.isArray(services)) return null;
	const first: unknown = services[0];
	if (typeof first !== 'object' || first === null) return null;
	const { host, name, namespace } = first as Readonly<Record<string, unknown>>;
	return { host: textOrUnknown(host), name: textOrUnknown(name), namespace: textOrUnknown(namespace) };
}

/** The SPIFFE ID that the peer proved in the handshake; empty when it did not. */
export function peerPrincipal(tls: TlsInfo | null): string {
	// Who was let in unchecked says of itself what it likes.
	if (tls?.peerValidated === false) return '';
	for (const uri of tls?.peerCertificate?.uriSans ?? []) if (uri.startsWith('spiffe://')) return uri;
	return '';
}

/** Value of `x-weft-peer`: `workload;namespace;app;version;service-account`. */
export function formatPeerHeader(workload: Workload, serviceAccount: string): string {
	return [workload.workload, workload.namespace, workload.app, workload.version, serviceAccount].join(';');
}

/**
 * The peer that `header` describes, when `principal` is a workload of the trust domain in the namespace and with
 * the service account that the header names. Otherwise what the principal alone says.
 */
export function verifyPeer(
	header: string | undefined,
	principal: string,
	trustDomain: string,
	cluster: string,
): Workload {
	if (principal === '') return UNKNOWN_WORKLOAD;
	const identity = readPrincipal(principal);
	if (identity === null) return UNKNOWN_WORKLOAD;
	const byPrincipal = { ...UNKNOWN_WORKLOAD, namespace: identity.namespace };
	if (header === undefined || identity.trustDomain !== trustDomain) return byPrincipal;
	const parts = header.split(';');
	if (parts.length !== 5 || parts.some((part) => part.length > NAME_LENGTH_MAX)) return byPrincipal;
	const [workload, namespace, app, version, serviceAccount] = parts;
	if (namespace !== identity.namespace || serviceAccount !== identity.serviceAccount) return byPrincipal;
	return {
		workload: orUnknown(workload),
		namespace: identity.namespace,
		app: orUnknown(app),
		version: orUnknown(version),
		cluster,
	};
}

/** `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`; null for any other. */
function readPrincipal(principal: string) {
	const parts = principal.split('/');
	if (parts.length !== 7 || parts[3] !== 'ns' || parts[5] !== 'sa') return null;
	const [, , trustDomain, , namespace, , serviceAccount] = parts;
	if (!trustDomain || !namespace || !serviceAccount) return null;
	return { trustDomain, namespace, serviceAccount };
}

function orUnknown(text: string | undefined): string {
	return text === undefined || text === '' || text.length > NAME_LENGTH_MAX ? UNKNOWN : text;
}

function textOrUnknown(value: unknown): string {
	return typeof value === 'string' ? orUnknown(value) : UNKNOWN;
}
