// Envoy's TLS contexts, compiled: an object whose `current()` gives the options for the next
// handshake, made anew only when a secret changed, or null while one is missing. Then connections
// are refused: what should be secure is never plain.

import type { CertificateValidationContext } from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import type { SdsSecretConfig } from '../../generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import {
	type CommonTlsContext,
	type DownstreamTlsContext,
	DownstreamTlsContextSchema,
	type UpstreamTlsContext,
	UpstreamTlsContextSchema,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import type { ClientTlsOptions, ServerTlsOptions, TlsParameters, TlsVerification } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';
import { durationMs } from '../duration-ms.ts';
import { unsupportedFields } from '../field-check.ts';
import {
	type CertificateHolder,
	type HeldCertificate,
	UNNAMED_CERTIFICATE,
	UNNAMED_ROOTS,
} from './certificate-expiry.ts';
import { CertificateSelector } from './certificate-selector.ts';
import { verifyPins } from './peer-pins.ts';
import { type CertificateSecret, hasPins, mergeValidation, type ValidationSecret } from './secret.ts';
import type { SecretManager, SecretRef } from './secret-manager.ts';
import { verifySans } from './subject-alt-names.ts';
import { TLS_FIELDS } from './tls-fields.ts';
import { compileTlsParameters } from './tls-parameters.ts';

export interface TlsMaterial {
	readonly certificateChainPem: string;
	readonly rootsPem: string;
}

export interface CompiledTls<T extends ServerTlsOptions | ClientTlsOptions> extends CertificateHolder {
	/** The same object until a secret changes; null while one is missing. */
	current(): T | null;
	/** Called when `current()` has changed. Returns an unsubscriber. */
	subscribe(onChange: () => void): () => void;
	/** Certificates in force, for `/certs`: the chains of all certificates one after the other. */
	material(): TlsMaterial;
	/** Gives the secrets up; `current()` stays as it is from then on. Idempotent. */
	close(): void;
}

export type CompiledDownstreamTls = CompiledTls<ServerTlsOptions>;
export type CompiledUpstreamTls = CompiledTls<ClientTlsOptions>;

/** Sessions kept for an upstream, Envoy `UpstreamTlsContext.max_session_keys`. */
const SESSIONS_DEFAULT = 1;
const SESSIONS_MAX = 1000;
const SESSION_TIMEOUT_S_MAX = 4_294_967_294;

/**
 * @throws ConfigError. `object` names the listener in messages, `field` the place of the context in it.
 * @param handshakeTimeoutMs 0: the network's default
 */
export function compileDownstreamTls(
	config: DownstreamTlsContext,
	secrets: SecretManager,
	object: string,
	field: string,
	handshakeTimeoutMs = 0,
): CompiledDownstreamTls {
	refuseUnsupported(unsupportedFields(DownstreamTlsContextSchema, config, TLS_FIELDS, object, field));
	const requireClientCertificate = config.requireClientCertificate === true;
	const at = `${field}.common_tls_context`;
	const own = {
		...(handshakeTimeoutMs > 0 ? { handshakeTimeoutMs } : {}),
		...sessionOptions(config, object, field),
	};
	const scansAll = config.fullScanCertsOnSniMismatch === true;
	const common = new CommonContext(config.commonTlsContext, secrets, object, at);
	if (common.certificateCount === 0) {
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
	return new Context<ServerTlsOptions>(common, (certificates, verification) => {
		const { acceptUntrusted = false, verifyPeer, verifyPin } = verification;
		const judgesNames = verifyPeer !== undefined || verifyPin !== undefined;
		const optionsOf = ({ certificateChainPem, privateKeyPem }: CertificateSecret): ServerTlsOptions => ({
			...common.parameters,
			...verification,
			// With roots clients are asked in any case.
			requestClientCertificate: acceptUntrusted || judgesNames,
			...own,
			// Envoy: whoever says which clients are meant wants one of them.
			requireClientCertificate: requireClientCertificate || (judgesNames && !acceptUntrusted),
			certificateChainPem,
			privateKeyPem,
		});
		if (certificates.length === 1) return optionsOf(certificates[0]!);
		const choices = certificates.map((secret) => ({ ...secret, options: optionsOf(secret) }));
		const selector = new CertificateSelector(choices, scansAll);
		return { ...choices[0]!.options, select: (hello) => selector.select(hello).options };
	});
}

/** How sessions may be resumed. There is no store of sessions: they are in the tickets that clients keep. */
function sessionOptions(
	config: DownstreamTlsContext,
	object: string,
	field: string,
): Pick<ServerTlsOptions, 'sessionTickets' | 'sessionTimeoutS'> {
	const keys = config.sessionTicketKeysType;
	const noTickets = keys.case === 'disableStatelessSessionResumption' && keys.value;
	const timeoutMs = durationMs(config.sessionTimeout);
	if (timeoutMs === null) return noTickets ? { sessionTickets: false } : {};
	const sessionTimeoutS = Math.floor(timeoutMs / 1000);
	if (timeoutMs < 0 || sessionTimeoutS > SESSION_TIMEOUT_S_MAX) {
		const expected = `a duration of 0 to ${SESSION_TIMEOUT_S_MAX} seconds`;
		throw new ConfigError({ object, field: `${field}.session_timeout`, found: `${timeoutMs} ms`, expected });
	}
	return { ...(noTickets ? { sessionTickets: false } : {}), ...(sessionTimeoutS > 0 ? { sessionTimeoutS } : {}) };
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
	const sessionsMax = config.maxSessionKeys ?? SESSIONS_DEFAULT;
	if (sessionsMax > SESSIONS_MAX) {
		const expected = `at most ${SESSIONS_MAX}`;
		throw new ConfigError({ object, field: `${field}.max_session_keys`, found: String(sessionsMax), expected });
	}
	const common = new CommonContext(config.commonTlsContext, secrets, object, `${field}.common_tls_context`);
	if (common.certificateCount > 1) {
		common.release();
		throw new ConfigError({
			object,
			field: `${field}.common_tls_context`,
			found: `${common.certificateCount} certificates`,
			expected: 'at most one: a client shows the same to every server',
		});
	}
	return new Context<ClientTlsOptions>(common, ([certificate], verification) => ({
		...common.parameters,
		...verification,
		serverName: config.sni,
		sessionsMax,
		...(certificate === undefined
			? {}
			: { certificateChainPem: certificate.certificateChainPem, privateKeyPem: certificate.privateKeyPem }),
	}));
}

class Context<T extends ServerTlsOptions | ClientTlsOptions> implements CompiledTls<T> {
	private options: T | null = null;
	private stale = true;
	private readonly listeners = new Set<() => void>();

	constructor(
		private readonly common: CommonContext,
		private readonly build: (certificates: readonly CertificateSecret[], verification: TlsVerification) => T,
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
		const certificates = this.common.certificates();
		const validation = this.common.validation();
		if (certificates === 'missing' || validation === 'missing') return null;
		this.options = this.build(certificates, verificationOf(validation));
		return this.options;
	}

	subscribe(onChange: () => void): () => void {
		const listener = () => onChange();
		this.listeners.add(listener);
		return () => this.listeners.delete(listener);
	}

	material(): TlsMaterial {
		const certificates = this.common.certificates();
		const validation = this.common.validation();
		return {
			certificateChainPem:
				certificates === 'missing' ? '' : certificates.map((one) => one.certificateChainPem).join('\n'),
			rootsPem: validation === 'missing' || validation === null ? '' : validation.rootsPem,
		};
	}

	certificates(): readonly HeldCertificate[] {
		return this.common.held();
	}

	close(): void {
		this.listeners.clear();
		this.common.release();
	}
}

function verificationOf(validation: ValidationSecret | null): TlsVerification {
	if (validation === null) return { rootsPem: '' };
	const { rootsPem, chainPolicy, acceptUntrusted, matchers, pins } = validation;
	return {
		rootsPem,
		chainPolicy,
		...(acceptUntrusted ? { acceptUntrusted } : {}),
		...(matchers.length === 0 ? {} : { verifyPeer: (peer) => verifySans(matchers, peer) }),
		...(hasPins(validation) ? { verifyPin: (peer) => verifyPins(pins, peer) } : {}),
	};
}

/** What both sides share: certificates, validation, ALPN, versions. Owns its references. */
class CommonContext {
	readonly parameters: TlsParameters;
	onChange: () => void = () => {};
	private readonly certificateRefs: SecretRef<CertificateSecret>[] = [];
	/** They stand in the context itself. */
	private ownCertificates = false;
	private readonly ownValidation: SecretRef<ValidationSecret> | null = null;
	private readonly validationRef: SecretRef<ValidationSecret> | null = null;
	private readonly unsubscribers: (() => void)[] = [];

	constructor(config: CommonTlsContext | undefined, secrets: SecretManager, object: string, field: string) {
		const parameters = compileTlsParameters(config?.tlsParams, object, `${field}.tls_params`);
		const alpn = config?.alpnProtocols ?? [];
		this.parameters = alpn.length === 0 ? parameters : { ...parameters, alpn };
		if (config === undefined) return;
		try {
			this.addCertificates(config, secrets, object, field);
			const validation = validationParts(config);
			if (validation.own !== null) {
				this.ownValidation = secrets.ownValidation(validation.own, object, `${field}.${validation.field}`);
				if (validation.sds === null) refuseVain(this.ownValidation.current()!, object, `${field}.${validation.field}`);
			}
			if (validation.sds !== null) {
				const at = `${field}.validation_context_sds_secret_config`;
				this.validationRef = secrets.validation(validation.sds, object, at);
			}
		} catch (error) {
			this.release();
			throw error;
		}
		for (const ref of [...this.certificateRefs, this.ownValidation, this.validationRef]) {
			if (ref !== null) this.unsubscribers.push(ref.subscribe(() => this.onChange()));
		}
	}

	private addCertificates(config: CommonTlsContext, secrets: SecretManager, object: string, field: string): void {
		const { tlsCertificates, tlsCertificateSdsSecretConfigs } = config;
		if (tlsCertificates.length > 0 && tlsCertificateSdsSecretConfigs.length > 0) {
			// Envoy would leave those of SDS out without a word.
			const expected = 'no tls_certificates beside it: those would count alone';
			throw new ConfigError({ object, field: `${field}.tls_certificate_sds_secret_configs`, expected });
		}
		this.ownCertificates = tlsCertificates.length > 0;
		tlsCertificates.forEach((certificate, i) => {
			this.certificateRefs.push(secrets.ownCertificate(certificate, object, `${field}.tls_certificates[${i}]`));
		});
		tlsCertificateSdsSecretConfigs.forEach((sds, i) => {
			const at = `${field}.tls_certificate_sds_secret_configs[${i}]`;
			this.certificateRefs.push(secrets.certificate(sds, object, at));
		});
	}

	get certificateCount(): number {
		return this.certificateRefs.length;
	}

	get hasValidation(): boolean {
		if (this.validationRef !== null) return true;
		return this.ownValidation !== null && canJudge(this.ownValidation.current()!);
	}

	/** Empty: none is configured. */
	certificates(): readonly CertificateSecret[] | 'missing' {
		const found: CertificateSecret[] = [];
		for (const ref of this.certificateRefs) {
			const secret = ref.current();
			if (secret === null) return 'missing';
			found.push(secret);
		}
		return found;
	}

	/** What is there, for those who watch when it ends. */
	held(): readonly HeldCertificate[] {
		const held: HeldCertificate[] = [];
		for (const ref of this.certificateRefs) {
			const secret = ref.current();
			const name = this.ownCertificates ? UNNAMED_CERTIFICATE : ref.name;
			if (secret !== null) held.push({ name, notAfterMs: secret.notAfterMs });
		}
		const validation = this.validation();
		if (validation === null || validation === 'missing' || validation.rootsNotAfterMs === null) return held;
		held.push({ name: this.validationRef?.name ?? UNNAMED_ROOTS, notAfterMs: validation.rootsNotAfterMs });
		return held;
	}

	/** Null: none is configured. */
	validation(): ValidationSecret | null | 'missing' {
		const own = this.ownValidation?.current() ?? null;
		if (this.validationRef === null) return own;
		const dynamic = this.validationRef.current();
		if (dynamic === null) return 'missing';
		const all = own === null ? dynamic : mergeValidation(own, dynamic);
		// A secret that was to bring the roots and has none must not turn the check of the chain off.
		return canJudge(all) && (all.matchers.length === 0 || all.rootsPem !== '') ? all : 'missing';
	}

	release(): void {
		for (const unsubscribe of this.unsubscribers.splice(0)) unsubscribe();
		for (const ref of this.certificateRefs) ref.release();
		this.ownValidation?.release();
		this.validationRef?.release();
	}
}

/** There is something that tells a peer from any other, or all are to be let in. */
function canJudge(validation: ValidationSecret): boolean {
	return validation.rootsPem !== '' || hasPins(validation) || validation.acceptUntrusted;
}

/** What would look like a check and be none. @throws ConfigError */
function refuseVain(validation: ValidationSecret, object: string, field: string): void {
	if (validation.rootsPem !== '') return;
	const { matchers, chainPolicy } = validation;
	if (matchers.length > 0) {
		const expected = 'roots: names in a certificate say nothing when its chain is not checked';
		throw new ConfigError({ object, field: `${field}.trusted_ca`, expected });
	}
	if (chainPolicy.crlPem !== undefined || chainPolicy.intermediatesMax !== undefined) {
		const expected = 'roots: without them no chain is checked, and no list looked at';
		throw new ConfigError({ object, field: `${field}.trusted_ca`, expected });
	}
}

function validationParts(config: CommonTlsContext): {
	own: CertificateValidationContext | null;
	sds: SdsSecretConfig | null;
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

function refuseUnsupported(details: ReturnType<typeof unsupportedFields>): void {
	if (details.length > 0) throw new ConfigError(details);
}
