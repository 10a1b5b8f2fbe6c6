// Envoy's TLS contexts, compiled: an object whose `current()` gives the options for the next
// handshake, made anew only when a secret changed, or null while one is missing. Then connections
// are refused: what should be secure is never plain.

import type {
	CertificateValidationContext,
	TlsParameters,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import {
	CertificateValidationContext_TrustChainVerification as ChainVerification,
	TlsParameters_TlsProtocol as Protocol,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import {
	type CommonTlsContext,
	type DownstreamTlsContext,
	DownstreamTlsContextSchema,
	type UpstreamTlsContext,
	UpstreamTlsContextSchema,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import type { ClientTlsOptions, PeerCertificate, ServerTlsOptions } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';
import { unsupportedFields } from '../field-check.ts';
import { type CertificateSecret, compileCertificate, compileValidation, type ValidationSecret } from './secret.ts';
import type { SecretManager, SecretRef } from './secret-manager.ts';
import { type SanMatcher, verifySans } from './subject-alt-names.ts';
import { TLS_FIELDS } from './tls-fields.ts';

export interface CompiledTls<T extends ServerTlsOptions | ClientTlsOptions> {
	/** The same object until a secret changes; null while one is missing. */
	current(): T | null;
	/** Called when `current()` has changed. Returns an unsubscriber. */
	subscribe(onChange: () => void): () => void;
	/** Certificates in force, for `/certs`. */
	material(): { readonly certificateChainPem: string; readonly rootsPem: string };
	/** Gives the secrets up; `current()` stays as it is from then on. Idempotent. */
	close(): void;
}

export type CompiledDownstreamTls = CompiledTls<ServerTlsOptions>;
export type CompiledUpstreamTls = CompiledTls<ClientTlsOptions>;

type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** @throws ConfigError. `object` names the listener in messages, `field` the place of the context in it. */
export function compileDownstreamTls(
	config: DownstreamTlsContext,
	secrets: SecretManager,
	object: string,
	field: string,
): CompiledDownstreamTls {
	refuseUnsupported(unsupportedFields(DownstreamTlsContextSchema, config, TLS_FIELDS, object, field));
	refuseResumptionSwitches(config, object, field);
	const requireClientCertificate = config.requireClientCertificate === true;
	const at = `${field}.common_tls_context`;
	const common = new CommonContext(config.commonTlsContext, secrets, object, at);
	if (!common.hasCertificate) {
		common.release();
		throw new ConfigError({ object, field: at, expected: 'a certificate (tls_certificates or its SDS configuration)' });
	}
	if (requireClientCertificate && !common.hasValidation) {
		common.release();
		throw new ConfigError({
			object,
			field: at,
			expected: 'a validation context, by which to check the client certificate that is required',
		});
	}
	return new Context(common, (certificate, rootsPem, verifyPeer) => ({
		certificateChainPem: certificate!.certificateChainPem,
		privateKeyPem: certificate!.privateKeyPem,
		rootsPem,
		verifyPeer,
		requireClientCertificate,
		alpn: common.alpn,
		minVersion: common.minVersion,
	}));
}

/** Sessions are resumed by tickets, whose peers are checked anew each time; nothing here can switch that off. */
function refuseResumptionSwitches(config: DownstreamTlsContext, object: string, field: string): void {
	const keys = config.sessionTicketKeysType;
	const switches = {
		disable_stateless_session_resumption: keys.case === 'disableStatelessSessionResumption' && keys.value,
		disable_stateful_session_resumption: config.disableStatefulSessionResumption,
	};
	for (const [name, isOn] of Object.entries(switches)) {
		if (!isOn) continue;
		throw new ConfigError({
			object,
			field: `${field}.${name}`,
			found: 'true',
			expected: 'false: sessions may be resumed',
		});
	}
}

/** @throws ConfigError. `object` names the cluster in messages, `field` the place of the context in it. */
export function compileUpstreamTls(
	config: UpstreamTlsContext,
	secrets: SecretManager,
	object: string,
	field: string,
): CompiledUpstreamTls {
	refuseUnsupported(unsupportedFields(UpstreamTlsContextSchema, config, TLS_FIELDS, object, field));
	if (config.sni.length > 255) {
		throw new ConfigError({ object, field: `${field}.sni`, expected: 'at most 255 bytes' });
	}
	const common = new CommonContext(config.commonTlsContext, secrets, object, `${field}.common_tls_context`);
	return new Context(common, (certificate, rootsPem, verifyPeer) => ({
		serverName: config.sni,
		rootsPem,
		verifyPeer,
		certificateChainPem: certificate?.certificateChainPem,
		privateKeyPem: certificate?.privateKeyPem,
		alpn: common.alpn,
		minVersion: common.minVersion,
	}));
}

type VerifyPeer = (peer: PeerCertificate) => string | null;

class Context<T extends ServerTlsOptions | ClientTlsOptions> implements CompiledTls<T> {
	private options: T | null = null;
	private stale = true;
	private readonly listeners = new Set<() => void>();

	constructor(
		private readonly common: CommonContext,
		private readonly build: (
			certificate: CertificateSecret | null,
			rootsPem: string,
			verifyPeer: VerifyPeer | undefined,
		) => T,
	) {
		common.onChange = () => {
			this.stale = true;
			for (const listener of [...this.listeners]) listener();
		};
	}

	current(): T | null {
		if (!this.stale) return this.options;
		this.stale = false;
		this.options = null;
		const certificate = this.common.certificate();
		const validation = this.common.validation();
		if (certificate === 'missing' || validation === 'missing') return null;
		const matchers = validation?.matchers ?? [];
		const verify: VerifyPeer | undefined = matchers.length === 0 ? undefined : (peer) => verifySans(matchers, peer);
		this.options = this.build(certificate, validation?.rootsPem ?? '', verify);
		return this.options;
	}

	subscribe(onChange: () => void): () => void {
		const listener = () => onChange();
		this.listeners.add(listener);
		return () => this.listeners.delete(listener);
	}

	material(): { certificateChainPem: string; rootsPem: string } {
		const certificate = this.common.certificate();
		const validation = this.common.validation();
		return {
			certificateChainPem: certificate === 'missing' || certificate === null ? '' : certificate.certificateChainPem,
			rootsPem: validation === 'missing' || validation === null ? '' : validation.rootsPem,
		};
	}

	close(): void {
		this.listeners.clear();
		this.common.release();
	}
}

/** What both sides share: the certificate, the validation, ALPN, versions. Owns its references. */
class CommonContext {
	readonly alpn: readonly string[] | undefined;
	readonly minVersion: TlsVersion | undefined;
	onChange: () => void = () => {};
	private readonly ownCertificate: CertificateSecret | null = null;
	private readonly certificateRef: SecretRef<CertificateSecret> | null = null;
	private readonly ownValidation: ValidationSecret | null = null;
	private readonly validationRef: SecretRef<ValidationSecret> | null = null;
	private readonly unsubscribers: (() => void)[] = [];

	constructor(config: CommonTlsContext | undefined, secrets: SecretManager, object: string, field: string) {
		this.alpn = config === undefined || config.alpnProtocols.length === 0 ? undefined : config.alpnProtocols;
		this.minVersion = minVersion(config?.tlsParams, object, `${field}.tls_params`);
		if (config === undefined) return;
		const count = config.tlsCertificates.length + config.tlsCertificateSdsSecretConfigs.length;
		if (count > 1) {
			throw new ConfigError({ object, field, found: `${count} certificates`, expected: 'at most one certificate' });
		}
		if (config.tlsCertificates.length === 1) {
			this.ownCertificate = compileCertificate(config.tlsCertificates[0]!, object, `${field}.tls_certificates[0]`);
		}
		const validation = validationParts(config);
		if (validation.own !== null) {
			this.ownValidation = compileValidation(validation.own, object, `${field}.${validation.field}`);
			if (validation.own.trustChainVerification !== ChainVerification.VERIFY_TRUST_CHAIN) {
				throw new ConfigError({
					object,
					field: `${field}.${validation.field}.trust_chain_verification`,
					found: 'ACCEPT_UNTRUSTED',
					expected: 'VERIFY_TRUST_CHAIN',
				});
			}
			if (this.ownValidation.matchers.length > 0 && this.ownValidation.rootsPem === '' && validation.sds === null) {
				throw new ConfigError({
					object,
					field: `${field}.${validation.field}.trusted_ca`,
					expected: 'roots: names in a certificate say nothing when its chain is not checked',
				});
			}
		}
		try {
			if (config.tlsCertificateSdsSecretConfigs.length === 1) {
				const at = `${field}.tls_certificate_sds_secret_configs[0]`;
				this.certificateRef = secrets.certificate(config.tlsCertificateSdsSecretConfigs[0]!, object, at);
			}
			if (validation.sds !== null) {
				this.validationRef = secrets.validation(
					validation.sds,
					object,
					`${field}.validation_context_sds_secret_config`,
				);
			}
		} catch (error) {
			this.release();
			throw error;
		}
		for (const ref of [this.certificateRef, this.validationRef]) {
			if (ref !== null) this.unsubscribers.push(ref.subscribe(() => this.onChange()));
		}
	}

	get hasCertificate(): boolean {
		return this.ownCertificate !== null || this.certificateRef !== null;
	}

	get hasValidation(): boolean {
		return (this.ownValidation !== null && this.ownValidation.rootsPem !== '') || this.validationRef !== null;
	}

	/** Null: none is configured. */
	certificate(): CertificateSecret | null | 'missing' {
		if (this.certificateRef === null) return this.ownCertificate;
		return this.certificateRef.current() ?? 'missing';
	}

	/** Null: none is configured. Combined: the secret's roots win, the matchers of both apply as one list (Envoy merges them). */
	validation(): ValidationSecret | null | 'missing' {
		if (this.validationRef === null) return this.ownValidation;
		const dynamic = this.validationRef.current();
		if (dynamic === null) return 'missing';
		if (this.ownValidation === null) return failClosed(dynamic);
		const matchers: readonly SanMatcher[] = [...this.ownValidation.matchers, ...dynamic.matchers];
		return failClosed({ kind: 'validation', rootsPem: dynamic.rootsPem || this.ownValidation.rootsPem, matchers });
	}

	release(): void {
		for (const unsubscribe of this.unsubscribers.splice(0)) unsubscribe();
		this.certificateRef?.release();
		this.validationRef?.release();
	}
}

/** A secret that was to bring the roots and has none must not turn the check of the chain off. */
function failClosed(secret: ValidationSecret): ValidationSecret | 'missing' {
	return secret.rootsPem === '' ? 'missing' : secret;
}

function validationParts(config: CommonTlsContext): {
	own: CertificateValidationContext | null;
	sds: NonNullable<CommonTlsContext['tlsCertificateSdsSecretConfigs'][0]> | null;
	field: string;
} {
	const type = config.validationContextType;
	switch (type.case) {
		case 'validationContext':
			return { own: type.value, sds: null, field: 'validation_context' };
		case 'validationContextSdsSecretConfig':
			return { own: null, sds: type.value, field: '' };
		case 'combinedValidationContext':
			return {
				own: type.value.defaultValidationContext ?? null,
				sds: type.value.validationContextSdsSecretConfig ?? null,
				field: 'combined_validation_context.default_validation_context',
			};
		default:
			return { own: null, sds: null, field: '' };
	}
}

function minVersion(params: TlsParameters | undefined, object: string, field: string): TlsVersion | undefined {
	if (params === undefined) return undefined;
	const max = params.tlsMaximumProtocolVersion;
	if (max !== Protocol.TLS_AUTO && max !== Protocol.TLSv1_3) {
		throw new ConfigError({
			object,
			field: `${field}.tls_maximum_protocol_version`,
			found: Protocol[max] ?? String(max),
			expected: 'TLS_AUTO or TLSv1_3: weft never turns TLS 1.3 off',
		});
	}
	switch (params.tlsMinimumProtocolVersion) {
		case Protocol.TLS_AUTO:
			return undefined;
		case Protocol.TLSv1_2:
			return 'TLSv1.2';
		case Protocol.TLSv1_3:
			return 'TLSv1.3';
		default:
			throw new ConfigError({
				object,
				field: `${field}.tls_minimum_protocol_version`,
				found: Protocol[params.tlsMinimumProtocolVersion] ?? String(params.tlsMinimumProtocolVersion),
				expected: 'TLSv1_2 or TLSv1_3',
			});
	}
}

function refuseUnsupported(details: ReturnType<typeof unsupportedFields>): void {
	if (details.length > 0) throw new ConfigError(details);
}
