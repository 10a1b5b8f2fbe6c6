// Names on the wire, as docs/architecture.md lists them.

import type { MeshObject } from '../../config/object.ts';

export const HOST_SUFFIX = 'svc.cluster.local';
export const BLACK_HOLE_CLUSTER = 'BlackHoleCluster';
export const PASSTHROUGH_CLUSTER = 'PassthroughCluster';
export const CAPTURE_LISTENER = 'virtualOutbound';
export const HTTP_PROXY_ROUTES = 'http_proxy';

/** `reviews.default.svc.cluster.local` */
export function serviceHost(service: Pick<MeshObject, 'metadata'>): string {
	return hostOf(service.metadata.namespace ?? '', service.metadata.name);
}

export function hostOf(namespace: string, name: string): string {
	return `${name}.${namespace}.${HOST_SUFFIX}`;
}

/** Cluster, its EDS name, route configuration and listener of a service port: `outbound|9080||HOST`. */
export function outboundName(port: number, host: string): string {
	return `outbound|${port}||${host}`;
}

/** Istio's SNI between sidecars: `outbound_.9080_._.HOST`. */
export function outboundServerName(port: number, host: string): string {
	return `outbound_.${port}_._.${host}`;
}

export function inboundClusterName(port: number): string {
	return `inbound|${port}||`;
}

export function inboundListenerName(port: number): string {
	return `inbound|${port}`;
}

export function publishListenerName(address: string, port: number): string {
	return `publish|${address}|${port}`;
}
