// Envoy's `Address` as the network's own.

import { isIP } from 'node:net';
import type { Address as AddressConfig } from '../generated/envoy/config/core/v3/address_pb.ts';
import { SocketAddress_Protocol as Protocol } from '../generated/envoy/config/core/v3/address_pb.ts';
import type { Address } from '../net/network.ts';
import { ConfigError } from '../std/errors.ts';

/** An address to listen on: an IP literal and a port, or the path of a socket. @throws ConfigError */
export function compileListenAddress(config: AddressConfig | undefined, object: string, field: string): Address {
	const specifier = config?.address;
	switch (specifier?.case) {
		case 'pipe':
			return { kind: 'pipe', path: specifier.value.path };
		case 'socketAddress': {
			const socket = specifier.value;
			if (socket.protocol !== Protocol.TCP) {
				throw new ConfigError({ object, field: `${field}.socket_address.protocol`, found: 'UDP', expected: 'TCP' });
			}
			if (isIP(socket.address) === 0) {
				const expected = 'an IPv4 or IPv6 address';
				throw new ConfigError({
					object,
					field: `${field}.socket_address.address`,
					found: JSON.stringify(socket.address),
					expected,
				});
			}
			const port = socket.portSpecifier;
			if (port.case !== 'portValue' || port.value > 65535) {
				throw new ConfigError({
					object,
					field: `${field}.socket_address.port_value`,
					found: String(port.value ?? 'nothing'),
					expected: 'a port from 0 to 65535',
				});
			}
			const networkNamespace = socket.networkNamespaceFilepath;
			const address = { kind: 'ip', host: socket.address, port: port.value } as const;
			return networkNamespace === '' ? address : { ...address, networkNamespace };
		}
		default:
			throw new ConfigError({ object, field, expected: 'a socket_address or a pipe' });
	}
}
