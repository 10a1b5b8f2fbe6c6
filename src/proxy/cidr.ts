// Envoy's `CidrRange`, compiled: is this address in one of these ranges?

import { BlockList, isIPv4, isIPv6 } from 'node:net';
import type { CidrRange } from '../generated/envoy/config/core/v3/address_pb.ts';
import { ConfigError } from '../std/errors.ts';

/** Takes an IPv4 or IPv6 literal. @throws ConfigError */
export function compileCidrRanges(
	ranges: readonly CidrRange[],
	object: string,
	field: string,
): (host: string) => boolean {
	const list = new BlockList();
	ranges.forEach((range, index) => {
		const address = range.addressPrefix;
		const length = range.prefixLen ?? 0;
		const family = isIPv4(address) ? 'ipv4' : isIPv6(address) ? 'ipv6' : null;
		if (family === null || length > (family === 'ipv4' ? 32 : 128)) {
			throw new ConfigError({
				object,
				field: `${field}[${index}]`,
				found: `${address}/${length}`,
				expected: 'an IP address and a prefix length that fits it',
			});
		}
		list.addSubnet(address, length, family);
	});
	return (host) => list.check(host, isIPv4(host) ? 'ipv4' : 'ipv6');
}
