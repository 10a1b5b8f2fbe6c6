// Matchers on a peer's subject alternative names, Envoy `SubjectAltNameMatcher`: URI (SPIFFE IDs),
// DNS, e-mail and IP addresses. A peer passes when one matcher accepts one of its names.

import {
	SubjectAltNameMatcher_SanType as Kind,
	type SubjectAltNameMatcher,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { parseCertificate } from '../../net/certificate.ts';
import type { PeerCertificate } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';
import { compileStringMatcher } from '../string-matcher.ts';

type SanType = 'uri' | 'dns' | 'email' | 'ip';

const TYPES: Readonly<Partial<Record<Kind, SanType>>> = {
	[Kind.URI]: 'uri',
	[Kind.DNS]: 'dns',
	[Kind.EMAIL]: 'email',
	[Kind.IP_ADDRESS]: 'ip',
};

export interface SanMatcher {
	readonly type: SanType;
	/** `uri exact spiffe://…`, for messages and the admin interface. */
	readonly text: string;
	matches(name: string): boolean;
}

/** @throws ConfigError for a kind of name or pattern that is not supported */
export function compileSanMatcher(config: SubjectAltNameMatcher, object: string, field: string): SanMatcher {
	const type = TYPES[config.sanType];
	if (type === undefined) {
		const found = Kind[config.sanType] ?? String(config.sanType);
		throw new ConfigError({ object, field: `${field}.san_type`, found, expected: 'URI, DNS, EMAIL or IP_ADDRESS' });
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
		for (const name of namesOf(peer, matcher.type)) if (matcher.matches(name)) return null;
	}
	const names = [...peer.uriSans, ...peer.dnsSans].slice(0, 4).join(', ') || 'none';
	return `no subject alternative name is accepted (peer has: ${names})`;
}

/** The last two are read when somebody asks for them. */
function namesOf(peer: PeerCertificate, type: SanType): readonly string[] {
	if (type === 'uri') return peer.uriSans;
	if (type === 'dns') return peer.dnsSans;
	const der = peer.chainDer[0];
	if (der === undefined) return [];
	const certificate = parseCertificate(der);
	return type === 'ip' ? certificate.ipSans : certificate.emailSans;
}

/** RFC 6125 §6.4.3: a wildcard is the whole leftmost label and stands for one label. */
function dnsNameCovers(certified: string, wanted: string): boolean {
	const name = certified.toLowerCase();
	const host = wanted.toLowerCase();
	if (!name.startsWith('*.')) return name === host;
	const dot = host.indexOf('.');
	return dot > 0 && host.slice(dot) === name.slice(1) && name.indexOf('.', 2) > 0;
}
