// Where sidecars listen for what their programs send to services: all that an outbound listener
// depends on besides its service, so that sidecars with an equal profile share their listeners.

import { type ServicePort, serviceIndex } from '../../config/service.ts';
import type { CaptureMode } from '../../xds/node-metadata.ts';
import type { SidecarNode } from '../sidecar-node.ts';
import type { MeshService } from './mesh-service.ts';
import type { Dialect } from './route.ts';

/** A block of loopback addresses of an instance, docs/architecture.md "Addresses on one machine". */
const LOOPBACK_BLOCK = 2048;
/** `explicit`: service n has this local port + n, on the instance's address. */
export const LOCAL_PORT_BASE = 20_000;

export interface OutboundProfile {
	readonly dialect: Dialect;
	readonly capture: CaptureMode;
	/** An instance's own address, where listeners are on one; empty in `transparent` capture and without one. */
	readonly address: string;
	/** In `loopback` capture: the lowest port that it may listen on, which without privileges is not 1. */
	readonly portMin: number;
}

export interface ListenAddress {
	readonly host: string;
	readonly port: number;
	/** False: only reached through the capture listener. */
	readonly bound: boolean;
}

/** Null: it has no outbound listeners, being no sidecar of ours. */
export function outboundProfile({ dialect, weft }: SidecarNode): OutboundProfile | null {
	if (weft === null) return null;
	switch (weft.capture) {
		case 'transparent':
			return { dialect, capture: 'transparent', address: '', portMin: 1 };
		case 'loopback':
			return {
				dialect,
				capture: 'loopback',
				address: weft.outboundBase ?? '',
				portMin: weft.outboundPortMin ?? 1,
			};
		case 'explicit':
			return { dialect, capture: 'explicit', address: weft.address, portMin: 1 };
	}
}

/** Equal for equal profiles only. */
export function profileKey({ dialect, capture, address, portMin }: OutboundProfile): string {
	return `${dialect} ${capture} ${address} ${portMin}`;
}

/** Null: there is none for this service. */
export function outboundAddress(
	service: MeshService,
	port: ServicePort,
	{ capture, address, portMin }: OutboundProfile,
): ListenAddress | null {
	if (service.address === '') return null;
	if (capture === 'transparent') return { host: service.address, port: port.port, bound: false };
	const index = serviceIndex(service.address);
	if (index === null || address === '') return null;
	if (capture === 'loopback') {
		return index >= LOOPBACK_BLOCK || port.port < portMin
			? null
			: { host: addToAddress(address, index), port: port.port, bound: true };
	}
	const local = explicitLocalPort(service.address, service.ports.indexOf(port));
	return local === null ? null : { host: address, port: local, bound: true };
}

/**
 * `explicit`: the local port of a service's n-th port, on the instance's address. Null when there is none:
 * the HTTP proxy's port reaches it all the same.
 */
export function explicitLocalPort(serviceAddress: string, portIndex: number): number | null {
	const index = serviceIndex(serviceAddress);
	if (index === null || index >= 10_000) return null;
	const port = LOCAL_PORT_BASE + index + portIndex * 10_000;
	return port > 65_535 ? null : port;
}

function addToAddress(base: string, offset: number): string {
	const [a, b, c, d] = base.split('.').map(Number);
	const sum = (((a! << 24) | (b! << 16) | (c! << 8) | d!) >>> 0) + offset;
	return [sum >>> 24, (sum >>> 16) & 255, (sum >>> 8) & 255, sum & 255].join('.');
}
