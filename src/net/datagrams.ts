// UDP sockets. Not part of `Network`: nothing that a proxy carries goes over them; only names do.

import { errorMessage, WeftError } from '../std/errors.ts';
import { inNetworkNamespace } from './linux.ts';
import type { IpAddress } from './network.ts';

export interface DatagramHandler {
	/** `bytes` are valid during the call. What is thrown closes nothing, and is the caller's bug. */
	onDatagram(bytes: Uint8Array, from: IpAddress): void;
	/** For a connected socket: nobody listens there. */
	onError(): void;
}

export interface Datagrams {
	readonly local: IpAddress;
	/** `to` for a bound socket, null for a connected one. What the kernel has no room for is lost, as datagrams are. */
	send(bytes: Uint8Array, to: IpAddress | null): void;
	/** Idempotent; no callback after it. */
	close(): void;
}

/** @throws WeftError `address_in_use` when the address cannot be had */
export function bindDatagrams(address: IpAddress, handler: DatagramHandler): Promise<Datagrams> {
	const { host, port, networkNamespace } = address;
	const make = () => open({ hostname: host, port }, handler);
	return wrap(networkNamespace === undefined ? make() : inNetworkNamespace(networkNamespace, make), address);
}

/** From a random port; hears of that peer only. */
export function connectDatagrams(peer: IpAddress, handler: DatagramHandler): Promise<Datagrams> {
	return wrap(open({ connect: { hostname: peer.host, port: peer.port } }, handler), peer);
}

interface NativeDatagrams {
	readonly port: number;
	readonly hostname: string;
	send(bytes: Uint8Array, port?: number, host?: string): boolean;
	close(): void;
}

interface OpenOptions {
	readonly hostname?: string;
	readonly port?: number;
	readonly connect?: { readonly hostname: string; readonly port: number };
}

/** The socket is made within this call, so that it belongs to the network namespace of the moment. */
function open(options: OpenOptions, handler: DatagramHandler): Promise<NativeDatagrams> {
	const socket = {
		data: (_socket: unknown, bytes: Buffer, port: number, host: string) =>
			// As plain bytes: a Buffer's `slice` would not copy.
			handler.onDatagram(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length), { kind: 'ip', host, port }),
		error: () => handler.onError(),
	};
	return Bun.udpSocket({ ...options, socket } as never) as unknown as Promise<NativeDatagrams>;
}

async function wrap(opening: Promise<NativeDatagrams>, address: IpAddress): Promise<Datagrams> {
	let native: NativeDatagrams;
	try {
		native = await opening;
	} catch (error) {
		throw new WeftError('address_in_use', `UDP ${address.host}:${address.port}: ${errorMessage(error)}`, {
			cause: error,
		});
	}
	let closed = false;
	return {
		local: { kind: 'ip', host: native.hostname, port: native.port },
		send(bytes, to) {
			if (closed) return;
			try {
				if (to === null) native.send(bytes);
				else native.send(bytes, to.port, to.host);
			} catch {
				// A destination that cannot be reached at all: lost, like any datagram.
			}
		},
		close() {
			if (closed) return;
			closed = true;
			native.close();
		},
	};
}
