// Matchers on a peer's subject alternative names, Envoy `SubjectAltNameMatcher`: URI (SPIFFE IDs)
// and DNS. A peer passes when one matcher accepts one of its names.

import {
	SubjectAltNameMatcher_SanType as SanType,
	type SubjectAltNameMatcher,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import type { PeerCertificate } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';
import { compileStringMatcher } from '../string-matcher.ts';

export interface SanMatcher {
	readonly type: 'uri' | 'dns';
	/** `uri exact spiffe://…`, for messages and the admin interface. */
	readonly text: string;
	matches(name: string): boolean;
}

/** @throws ConfigError for a kind of name or pattern that is not supported */
export function compileSanMatcher(config: SubjectAltNameMatcher, object: string, field: string): SanMatcher {
	const type = config.sanType === SanType.URI ? 'uri' : config.sanType === SanType.DNS ? 'dns' : null;
	if (type === null) {
		const found = SanType[config.sanType] ?? String(config.sanType);
		throw new ConfigError({ object, field: `${field}.san_type`, found, expected: 'URI or DNS' });
	}
	const test = compileStringMatcher(config.matcher, object, `${field}.matcher`);
	const pattern = config.matcher!.matchPattern;
	const wanted = pattern.case === 'safeRegex' ? pattern.value.regex : String(pattern.value);
	return {
		type,
		text: `${type} ${pattern.case} ${wanted}`,
		// As in Envoy, a certificate for `*.a.example` stands for `b.a.example`.
		matches: type === 'dns' && pattern.case === 'exact' ? (name) => dnsNameCovers(name, wanted) : test,
	};
}

/** Why the peer is refused, or null. No matchers: everyone whose chain held. */
export function verifySans(matchers: readonly SanMatcher[], peer: PeerCertificate): string | null {
	if (matchers.length === 0) return null;
	for (const matcher of matchers) {
		for (const name of matcher.type === 'uri' ? peer.uriSans : peer.dnsSans) if (matcher.matches(name)) return null;
	}
	const names = [...peer.uriSans, ...peer.dnsSans].slice(0, 4).join(', ') || 'none';
	return `no subject alternative name is accepted (peer has: ${names})`;
}

/** RFC 6125 §6.4.3: a wildcard is the whole leftmost label and stands for one label. */
function dnsNameCovers(certified: string, wanted: string): boolean {
	const name = certified.toLowerCase();
	const host = wanted.toLowerCase();
	if (!name.startsWith('*.')) return name === host;
	const dot = host.indexOf('.');
	return dot > 0 && host.slice(dot) === name.slice(1) && name.indexOf('.', 2) > 0;
}
