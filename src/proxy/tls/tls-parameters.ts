// Envoy's `TlsParameters`, checked and brought into the form that handshakes take.

import {
	type TlsParameters as Config,
	TlsParameters_TlsProtocol as Protocol,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import type { TlsParameters, TlsVersion } from '../../net/network.ts';
import {
	CIPHER_SUITES_DEFAULT,
	curveError,
	signatureAlgorithmError,
	unknownCipherSuite,
} from '../../net/tls-parameters.ts';
import { ConfigError } from '../../std/errors.ts';

const VERSIONS: Readonly<Partial<Record<Protocol, TlsVersion>>> = {
	[Protocol.TLSv1_2]: 'TLSv1.2',
	[Protocol.TLSv1_3]: 'TLSv1.3',
};

/** @throws ConfigError naming the field and what in it is not known */
export function compileTlsParameters(config: Config | undefined, object: string, field: string): TlsParameters {
	if (config === undefined) return { cipherSuites: CIPHER_SUITES_DEFAULT };
	const minVersion = versionOf(config.tlsMinimumProtocolVersion, object, `${field}.tls_minimum_protocol_version`);
	const maxVersion = versionOf(config.tlsMaximumProtocolVersion, object, `${field}.tls_maximum_protocol_version`);
	if (minVersion === 'TLSv1.3' && maxVersion === 'TLSv1.2') {
		throw new ConfigError({
			object,
			field: `${field}.tls_maximum_protocol_version`,
			found: 'TLSv1_2',
			expected: 'at least tls_minimum_protocol_version',
		});
	}
	config.cipherSuites.forEach((entry, i) => {
		const unknown = unknownCipherSuite(entry);
		if (unknown === null) return;
		const expected = 'a cipher suite of TLS 1.2, by name, or several of equal preference: [A|B]';
		throw new ConfigError({ object, field: `${field}.cipher_suites[${i}]`, found: shortened(unknown), expected });
	});
	check(config.ecdhCurves, curveError, 'the name of a group, like X25519 or P-256', object, `${field}.ecdh_curves`);
	check(
		config.signatureAlgorithms,
		signatureAlgorithmError,
		'the name of a signature algorithm, like ecdsa_secp256r1_sha256',
		object,
		`${field}.signature_algorithms`,
	);
	return {
		...(minVersion === undefined ? {} : { minVersion }),
		...(maxVersion === undefined ? {} : { maxVersion }),
		cipherSuites: config.cipherSuites.length === 0 ? CIPHER_SUITES_DEFAULT : config.cipherSuites.join(':'),
		...(config.ecdhCurves.length === 0 ? {} : { curves: config.ecdhCurves.join(':') }),
		...(config.signatureAlgorithms.length === 0 ? {} : { signatureAlgorithms: config.signatureAlgorithms.join(':') }),
	};
}

function versionOf(protocol: Protocol, object: string, field: string): TlsVersion | undefined {
	if (protocol === Protocol.TLS_AUTO) return undefined;
	const version = VERSIONS[protocol];
	if (version !== undefined) return version;
	throw new ConfigError({
		object,
		field,
		found: Protocol[protocol] ?? String(protocol),
		expected: 'TLSv1_2 or TLSv1_3: older versions are broken (RFC 8996)',
	});
}

function check(
	names: readonly string[],
	errorOf: (name: string) => string | null,
	expected: string,
	object: string,
	field: string,
): void {
	names.forEach((name, i) => {
		const error = errorOf(name);
		if (error === null) return;
		throw new ConfigError({
			object,
			field: `${field}[${i}]`,
			found: shortened(name),
			expected: `${expected} (${error})`,
		});
	});
}

function shortened(text: string): string {
	return JSON.stringify(text.slice(0, 100));
}
