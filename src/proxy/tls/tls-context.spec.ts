// Contexts and their secrets: what `current()` gives, and when it gives nothing.

import { beforeAll, describe, expect, test } from 'bun:test';
import { create, fromJson, type JsonValue, toBinary } from '@bufbuild/protobuf';
import { type Secret, SecretSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import {
	DownstreamTlsContextSchema,
	UpstreamTlsContextSchema,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import type { IdentitySource, WorkloadIdentity } from '../../net/identity-source.ts';
import type { PeerCertificate } from '../../net/network.ts';
import { TestAuthority, type TestCertificate } from '../../net/testing-certificates.ts';
import { ConfigError } from '../../std/errors.ts';
import type { DiscoveryClient, ResourceSubscriber } from '../../xds/discovery-client.ts';
import { ConfigSources } from '../config-source.ts';
import { SecretManager } from './secret-manager.ts';
import { compileDownstreamTls, compileUpstreamTls } from './tls-context.ts';

let authority: TestAuthority;
let pair: TestCertificate;
let otherPair: TestCertificate;

beforeAll(async () => {
	authority = await TestAuthority.create();
	pair = await authority.issue({ uris: ['spiffe://mesh/ns/a/sa/b'] });
	otherPair = await authority.issue({ uris: ['spiffe://mesh/ns/a/sa/c'] });
});

/** An ADS client whose answers the test gives. */
class FakeDiscovery implements DiscoveryClient {
	readonly subscribers = new Map<string, ResourceSubscriber>();

	subscribe(_typeUrl: string, names: readonly string[] | null, subscriber: ResourceSubscriber) {
		const name = names![0]!;
		this.subscribers.set(name, subscriber);
		return { setNames: () => {}, close: () => void this.subscribers.delete(name) };
	}

	give(secret: Secret, version = '1'): string | null {
		const value = toBinary(SecretSchema, secret);
		return this.subscribers
			.get(secret.name)!
			.onUpdate({ updated: [{ name: secret.name, version, value }], removed: [] });
	}
}

class FakeIdentity implements IdentitySource {
	private listener: ((identity: WorkloadIdentity) => void) | null = null;
	private identity: WorkloadIdentity | null = null;

	current() {
		return this.identity;
	}

	subscribe(onChange: (identity: WorkloadIdentity) => void) {
		this.listener = onChange;
		return () => {
			this.listener = null;
		};
	}

	give(certificate: TestCertificate, notBeforeMs: number): void {
		this.identity = {
			spiffeId: '',
			certificateChainPem: certificate.certificatePem,
			privateKeyPem: certificate.privateKeyPem,
			rootsPem: authority.certificatePem,
			notBeforeMs,
			notAfterMs: 0,
		};
		this.listener?.(this.identity);
	}
}

function setUp(identity: IdentitySource | null = null) {
	const ads = new FakeDiscovery();
	const sources = new ConfigSources(() => {
		throw new Error('no files here');
	});
	sources.useAds(ads);
	return { ads, secrets: new SecretManager(sources, identity, () => 0) };
}

const downstream = (json: JsonValue) => fromJson(DownstreamTlsContextSchema, json);
const upstream = (json: JsonValue) => fromJson(UpstreamTlsContextSchema, json);
const sds = (name: string): JsonValue => ({ name, sds_config: { ads: {} } });
const inline = (text: string): JsonValue => ({ inline_string: text });
const certificateJson = (of: TestCertificate): JsonValue => ({
	certificate_chain: inline(of.certificatePem),
	private_key: inline(of.privateKeyPem),
});
const secret = (json: JsonValue) => fromJson(SecretSchema, json);
const peer = (uris: readonly string[], dns: readonly string[] = []): PeerCertificate => ({
	chainDer: [],
	subject: '',
	uriSans: uris,
	dnsSans: dns,
	serialNumber: '',
	notAfterMs: 0,
});

describe('secrets in the context', () => {
	test('a downstream context with its own certificate is ready at once', () => {
		const { secrets } = setUp();
		const tls = compileDownstreamTls(
			downstream({
				common_tls_context: {
					tls_certificates: [certificateJson(pair)],
					validation_context: { trusted_ca: inline(authority.certificatePem) },
					alpn_protocols: ['http/1.1'],
					tls_params: { tls_minimum_protocol_version: 'TLSv1_3' },
				},
				require_client_certificate: true,
			}),
			secrets,
			'listener "l"',
			'tls',
		);
		expect(tls.current()).toMatchObject({
			certificateChainPem: pair.certificatePem,
			privateKeyPem: pair.privateKeyPem,
			rootsPem: authority.certificatePem,
			requireClientCertificate: true,
			alpn: ['http/1.1'],
			minVersion: 'TLSv1.3',
		});
		expect(tls.current()).toBe(tls.current()!);
	});

	test('a key of another certificate is refused by name of its field', () => {
		const { secrets } = setUp();
		const bad = { certificate_chain: inline(pair.certificatePem), private_key: inline(otherPair.privateKeyPem) };
		const compile = () =>
			compileDownstreamTls(downstream({ common_tls_context: { tls_certificates: [bad] } }), secrets, 'l', 'tls');
		expect(compile).toThrow('tls.common_tls_context.tls_certificates[0].private_key');
		expect(compile).toThrow(ConfigError);
	});

	test.each([
		['require_sni', { common_tls_context: {}, require_sni: true }],
		['crl', { common_tls_context: { validation_context: { crl: { inline_string: 'x' } } } }],
		['session_ticket_keys', { session_ticket_keys: { keys: [{ inline_bytes: '' }] } }],
		['pkcs12', { common_tls_context: { tls_certificates: [{ pkcs12: { inline_string: 'x' } }] } }],
		['ecdh_curves[1]', { common_tls_context: { tls_params: { ecdh_curves: ['X25519', 'X'] } } }],
		['signature_algorithms[0]', { common_tls_context: { tls_params: { signature_algorithms: ['X'] } } }],
		[
			'tls_minimum_protocol_version',
			{ common_tls_context: { tls_params: { tls_minimum_protocol_version: 'TLSv1_1' } } },
		],
		['verify_certificate_hash[0]', { common_tls_context: { validation_context: { verify_certificate_hash: ['x'] } } }],
		['verify_certificate_spki[0]', { common_tls_context: { validation_context: { verify_certificate_spki: ['x'] } } }],
		['trusted_ca', { common_tls_context: { validation_context: { max_verify_depth: 1 } } }],
		['cipher_suites', { common_tls_context: { tls_params: { cipher_suites: ['X'] } } }],
	])('what is not supported is refused: %s', (field, json) => {
		const { secrets } = setUp();
		expect(() => compileDownstreamTls(downstream(json as JsonValue), secrets, 'l', 'tls')).toThrow(field);
	});

	test('names without roots are refused: they would say nothing', () => {
		const { secrets } = setUp();
		const matcher = { san_type: 'URI', matcher: { exact: 'x' } };
		const json = { common_tls_context: { validation_context: { match_typed_subject_alt_names: [matcher] } } };
		expect(() => compileUpstreamTls(upstream(json), secrets, 'c', 'tls')).toThrow('trusted_ca');
	});

	test('without any validation a server is not verified, as in Envoy', () => {
		const { secrets } = setUp();
		const tls = compileUpstreamTls(upstream({ sni: 'a.b' }), secrets, 'c', 'tls');
		expect(tls.current()).toMatchObject({ serverName: 'a.b', rootsPem: '' });
		expect(tls.current()?.verifyPeer).toBeUndefined();
	});
});

describe('secrets over SDS', () => {
	test('nothing until all are there, then the newest good one', () => {
		const { ads, secrets } = setUp();
		const tls = compileUpstreamTls(
			upstream({
				common_tls_context: {
					tls_certificate_sds_secret_configs: [sds('cert')],
					combined_validation_context: {
						default_validation_context: {
							match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: 'spiffe://mesh/ns/a/' } }],
						},
						validation_context_sds_secret_config: sds('roots'),
					},
				},
			}),
			secrets,
			'c',
			'tls',
		);
		let changes = 0;
		tls.subscribe(() => changes++);
		expect(tls.current()).toBeNull();
		expect(ads.give(secret({ name: 'cert', tls_certificate: certificateJson(pair) }))).toBeNull();
		expect(tls.current()).toBeNull();
		expect(
			ads.give(secret({ name: 'roots', validation_context: { trusted_ca: inline(authority.certificatePem) } })),
		).toBeNull();
		const first = tls.current()!;
		expect(first).toMatchObject({ certificateChainPem: pair.certificatePem, rootsPem: authority.certificatePem });
		expect(first.verifyPeer!(peer(['spiffe://mesh/ns/a/sa/x']))).toBeNull();
		expect(first.verifyPeer!(peer(['spiffe://mesh/ns/b/sa/x']))).toContain('no subject alternative name');
		expect(changes).toBe(2);

		const bad = { certificate_chain: inline(pair.certificatePem), private_key: inline(otherPair.privateKeyPem) };
		expect(ads.give(secret({ name: 'cert', tls_certificate: bad }), '2')).toContain('private_key');
		expect(tls.current()).toBe(first);
		expect(secrets.all().find((entry) => entry.name === 'cert')).toMatchObject({ version: '1' });

		expect(ads.give(secret({ name: 'cert', tls_certificate: certificateJson(otherPair) }), '3')).toBeNull();
		expect(tls.current()).toMatchObject({ certificateChainPem: otherPair.certificatePem });

		tls.close();
		expect(ads.subscribers.size).toBe(0);
	});

	test('the certificates that are there are told with their names and ends, of roots the first to end', async () => {
		const { ads, secrets } = setUp();
		const soon = await TestAuthority.create('soon', undefined, { notAfterMs: 2_000_000_000_000 });
		const late = await TestAuthority.create('late', undefined, { notAfterMs: 2_100_000_000_000 });
		const leaf = await late.issue({ notAfterMs: 1_900_000_000_000 });
		const json = (own: object) => ({
			common_tls_context: {
				...own,
				combined_validation_context: {
					default_validation_context: { trusted_ca: inline(authority.certificatePem) },
					validation_context_sds_secret_config: sds('roots'),
				},
			},
		});
		const named = compileUpstreamTls(
			upstream(json({ tls_certificate_sds_secret_configs: [sds('cert')] })),
			secrets,
			'c',
			'tls',
		);
		const own = compileUpstreamTls(upstream(json({ tls_certificates: [certificateJson(leaf)] })), secrets, 'c', 'tls');
		expect(named.certificates()).toEqual([]);
		ads.give(secret({ name: 'cert', tls_certificate: certificateJson(leaf) }));
		const roots = inline(late.certificatePem + soon.certificatePem);
		ads.give(secret({ name: 'roots', validation_context: { trusted_ca: roots } }));
		const ofRoots = { name: 'roots', notAfterMs: 2_000_000_000_000 };
		expect(named.certificates()).toEqual([{ name: 'cert', notAfterMs: 1_900_000_000_000 }, ofRoots]);
		expect(own.certificates()).toEqual([{ name: 'unnamed_cert_e3b0c442', notAfterMs: 1_900_000_000_000 }, ofRoots]);
	});

	test('only the leaf is looked for in the lists of a secret when the default context says so', async () => {
		const { ads, secrets } = setUp();
		const json = {
			common_tls_context: {
				combined_validation_context: {
					default_validation_context: { only_verify_leaf_cert_crl: true, allow_expired_certificate: true },
					validation_context_sds_secret_config: sds('roots'),
				},
			},
		};
		const tls = compileUpstreamTls(upstream(json), secrets, 'c', 'tls');
		const crl = await authority.revoke([]);
		const validation = { trusted_ca: inline(authority.certificatePem), crl: inline(crl) };
		expect(ads.give(secret({ name: 'roots', validation_context: validation }))).toBeNull();
		const chainPolicy = { crlPem: `${crl}\n`, crlLeafOnly: true, allowExpired: true };
		expect(tls.current()?.chainPolicy).toEqual(chainPolicy);
	});

	test('a validation secret without roots does not turn the check off', () => {
		const { ads, secrets } = setUp();
		const json = { common_tls_context: { validation_context_sds_secret_config: sds('roots') } };
		const tls = compileUpstreamTls(upstream(json), secrets, 'c', 'tls');
		expect(ads.give(secret({ name: 'roots', validation_context: {} }))).toBeNull();
		expect(tls.current()).toBeNull();
	});

	test('the other kind of secret is refused', () => {
		const { ads, secrets } = setUp();
		const json = { common_tls_context: { validation_context_sds_secret_config: sds('roots') } };
		compileUpstreamTls(upstream(json), secrets, 'c', 'tls');
		expect(ads.give(secret({ name: 'roots', tls_certificate: certificateJson(pair) }))).toContain('validation secret');
	});

	test('default and ROOTCA are answered by the identity agent, and follow its renewals', () => {
		const identity = new FakeIdentity();
		const { ads, secrets } = setUp(identity);
		const tls = compileDownstreamTls(
			downstream({
				common_tls_context: {
					tls_certificate_sds_secret_configs: [sds('default')],
					validation_context_sds_secret_config: sds('ROOTCA'),
				},
				require_client_certificate: true,
			}),
			secrets,
			'l',
			'tls',
		);
		expect(ads.subscribers.size).toBe(0);
		expect(tls.current()).toBeNull();
		identity.give(pair, 1);
		expect(tls.current()).toMatchObject({ certificateChainPem: pair.certificatePem });
		identity.give(otherPair, 2);
		expect(tls.current()).toMatchObject({ certificateChainPem: otherPair.certificatePem });
	});

	test('a static secret is found by name, and a name that is not there is refused', () => {
		const { secrets } = setUp();
		secrets.addStatic(secret({ name: 's', tls_certificate: certificateJson(pair) }));
		const context = (name: string) =>
			downstream({ common_tls_context: { tls_certificate_sds_secret_configs: [{ name }] } });
		expect(compileDownstreamTls(context('s'), secrets, 'l', 'tls').current()).not.toBeNull();
		expect(() => compileDownstreamTls(context('t'), secrets, 'l', 'tls')).toThrow('static_resources.secrets');
	});
});

describe('subject alternative names', () => {
	function verifier(type: 'URI' | 'DNS', matcher: JsonValue) {
		const { secrets } = setUp();
		const tls = compileUpstreamTls(
			upstream({
				common_tls_context: {
					validation_context: {
						trusted_ca: inline(authority.certificatePem),
						match_typed_subject_alt_names: [{ san_type: type, matcher }],
					},
				},
			}),
			secrets,
			'c',
			'tls',
		);
		return (name: string) => tls.current()!.verifyPeer!(type === 'URI' ? peer([name]) : peer([], [name])) === null;
	}

	test.each([
		['URI', { exact: 'spiffe://m/a' }, 'spiffe://m/a', 'spiffe://m/a/b'],
		['URI', { prefix: 'spiffe://m/' }, 'spiffe://m/a', 'spiffe://n/a'],
		['URI', { suffix: '/a' }, 'spiffe://m/a', 'spiffe://m/b'],
		['URI', { contains: '/ns/x/' }, 'spiffe://m/ns/x/sa/y', 'spiffe://m/ns/y/sa/x'],
		['URI', { safe_regex: { regex: 'spiffe://m/[a-z]+' } }, 'spiffe://m/abc', 'spiffe://m/abc/d'],
		['DNS', { exact: 'b.a.example' }, '*.a.example', '*.example'],
		['DNS', { exact: 'B.a.example' }, 'b.A.example', 'c.a.example'],
		['DNS', { exact: 'c.b.a.example' }, 'c.b.a.example', '*.a.example'],
	] as const)('%s %j accepts %s and not %s', (type, matcher, good, bad) => {
		const accepts = verifier(type, matcher as unknown as JsonValue);
		expect(accepts(good)).toBe(true);
		expect(accepts(bad)).toBe(false);
	});

	test('a URI matcher does not look at DNS names', () => {
		const { secrets } = setUp();
		const config = create(
			UpstreamTlsContextSchema,
			upstream({
				common_tls_context: {
					validation_context: {
						trusted_ca: inline(authority.certificatePem),
						match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: 'a' } }],
					},
				},
			}),
		);
		const tls = compileUpstreamTls(config, secrets, 'c', 'tls');
		expect(tls.current()!.verifyPeer!(peer([], ['a']))).not.toBeNull();
	});
});
