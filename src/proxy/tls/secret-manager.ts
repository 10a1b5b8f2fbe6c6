// TLS secrets by name, whoever brings them: the bootstrap, the workload's identity agent, or SDS
// over a DiscoveryClient (the ADS stream or a watched file). A holder of a reference sees the
// newest secret that was good; a bad one is refused (NACK) and changes nothing.

import { fromBinary } from '@bufbuild/protobuf';
import type {
	CertificateValidationContext,
	TlsCertificate,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import {
	type SdsSecretConfig,
	type Secret,
	SecretSchema,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import {
	IDENTITY_SECRET_NAME,
	type IdentitySource,
	ROOTS_SECRET_NAME,
	type WorkloadIdentity,
} from '../../net/identity-source.ts';
import { ConfigError, errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';
import type { DiscoveryUpdate, Subscription } from '../../xds/discovery-client.ts';
import { SECRET_TYPE } from '../../xds/type-urls.ts';
import type { ConfigSources } from '../config-source.ts';
import { unsupportedFields } from '../field-check.ts';
import type { FileWatch } from './file-watch.ts';
import {
	type CertificateSecret,
	certificateSecret,
	compileCertificate,
	compileValidation,
	rootsValidation,
	type TlsSecret,
	type ValidationSecret,
} from './secret.ts';
import {
	filesOfCertificate,
	filesOfValidation,
	type SecretFiles,
	unfitReplacement,
	watchSecretFiles,
} from './secret-files.ts';
import { TLS_FIELDS } from './tls-fields.ts';
import type { SecretMetrics } from './tls-stats.ts';

export type SecretKind = TlsSecret['kind'];

export interface SecretRef<T extends TlsSecret> {
	readonly name: string;
	/** Null while it is not there yet. The same object until it changes. */
	current(): T | null;
	/** Not called for what is there already. Returns an unsubscriber. */
	subscribe(onChange: () => void): () => void;
	/** Gives the reference up; the last one ends the subscription. Idempotent. */
	release(): void;
}

export interface SecretStatus {
	readonly name: string;
	readonly origin: 'static' | 'identity' | 'sds';
	readonly version: string;
	/** Null: warming. */
	readonly secret: TlsSecret | null;
	readonly lastUpdatedMs: number;
	/** Why the newest one was refused; null when it was not. */
	readonly lastError: string | null;
}

interface Slot {
	readonly name: string;
	readonly origin: SecretStatus['origin'];
	readonly kind: SecretKind;
	readonly key: string;
	/** Stays when nobody holds it. */
	readonly isShared: boolean;
	secret: TlsSecret | null;
	version: string;
	lastUpdatedMs: number;
	lastError: string | null;
	references: number;
	readonly listeners: Set<() => void>;
	subscription: Subscription | null;
	watch: FileWatch | null;
}

const log = new Logger('secrets');

export class SecretManager {
	private readonly statics = new Map<string, Slot>();
	private readonly slots = new Map<string, Slot>();
	private readonly identitySlots: { certificate: Slot; validation: Slot };
	private readonly unsubscribeIdentity: (() => void) | null;
	private readonly watches = new Set<FileWatch>();

	/**
	 * `identity`: answers for the names `default` and `ROOTCA` instead of SDS (Istio's agent does the same
	 * for its Envoy); null: they are asked for like any other.
	 */
	constructor(
		private readonly sources: ConfigSources,
		private readonly identity: IdentitySource | null,
		private readonly wallMs: () => number,
		private readonly metrics: SecretMetrics | null = null,
	) {
		this.identitySlots = {
			certificate: makeSlot(IDENTITY_SECRET_NAME, 'identity', 'certificate', '', true),
			validation: makeSlot(ROOTS_SECRET_NAME, 'identity', 'validation', '', true),
		};
		this.unsubscribeIdentity = identity?.subscribe((now) => this.identityChanged(now)) ?? null;
	}

	/** A secret of `static_resources.secrets`. @throws ConfigError */
	addStatic(message: Secret): void {
		const object = `secret ${JSON.stringify(message.name)}`;
		if (message.name === '') throw new ConfigError({ object, field: 'name', expected: 'a name' });
		if (this.statics.has(message.name)) {
			throw new ConfigError({ object, field: 'name', found: message.name, expected: 'a name that is used once' });
		}
		const secret = compileSecret(message);
		const slot = makeSlot(message.name, 'static', secret.kind, '', true);
		slot.secret = secret;
		slot.lastUpdatedMs = this.wallMs();
		// As in Envoy: by themselves, only files of SDS are watched.
		const files = filesOf(message);
		if (files.directory !== '') this.watch(slot, files, () => compileSecret(message));
		this.statics.set(message.name, slot);
	}

	/** @throws ConfigError when the name or its source cannot be served */
	certificate(config: SdsSecretConfig, object: string, field: string): SecretRef<CertificateSecret> {
		return this.reference(config, 'certificate', object, field) as SecretRef<CertificateSecret>;
	}

	/** @throws ConfigError when the name or its source cannot be served */
	validation(config: SdsSecretConfig, object: string, field: string): SecretRef<ValidationSecret> {
		return this.reference(config, 'validation', object, field) as SecretRef<ValidationSecret>;
	}

	/**
	 * A certificate that stands in a context itself; the same as one of SDS to whoever holds it.
	 * @throws ConfigError when it is not in order
	 */
	ownCertificate(config: TlsCertificate, object: string, field: string): SecretRef<CertificateSecret> {
		const secret = compileCertificate(config, object, field);
		if (config.watchedDirectory === undefined) return fixedReference(secret);
		const slot = makeSlot(field, 'static', 'certificate', '');
		const reload = (): CertificateSecret => compileCertificate(config, object, field);
		return this.own(slot, secret, filesOfCertificate(config), reload) as SecretRef<CertificateSecret>;
	}

	/** Likewise, what a context verifies peers by. @throws ConfigError when it is not in order */
	ownValidation(config: CertificateValidationContext, object: string, field: string): SecretRef<ValidationSecret> {
		const secret = compileValidation(config, object, field);
		if (config.watchedDirectory === undefined) return fixedReference(secret);
		const slot = makeSlot(field, 'static', 'validation', '');
		const reload = (): ValidationSecret => compileValidation(config, object, field);
		return this.own(slot, secret, filesOfValidation(config), reload) as SecretRef<ValidationSecret>;
	}

	private own(slot: Slot, secret: TlsSecret, files: SecretFiles, compile: () => TlsSecret): SecretRef<TlsSecret> {
		slot.secret = secret;
		this.watch(slot, files, compile);
		return this.referenceTo(slot);
	}

	/** Every secret that is held or referred to, for the admin interface. */
	all(): SecretStatus[] {
		const slots = [...this.statics.values(), ...this.slots.values()];
		for (const slot of Object.values(this.identitySlots)) if (slot.references > 0) slots.push(slot);
		return slots;
	}

	close(): void {
		this.unsubscribeIdentity?.();
		for (const slot of this.slots.values()) slot.subscription?.close();
		for (const watch of this.watches) watch.close();
		this.watches.clear();
		this.slots.clear();
	}

	private reference(config: SdsSecretConfig, kind: SecretKind, object: string, field: string): SecretRef<TlsSecret> {
		return this.referenceTo(this.slotFor(config, kind, object, field));
	}

	private referenceTo(slot: Slot): SecretRef<TlsSecret> {
		slot.references++;
		let released = false;
		return {
			name: slot.name,
			current: () => slot.secret,
			subscribe: (onChange) => {
				// Wrapped, so that two subscriptions of one function are two.
				const listener = () => onChange();
				slot.listeners.add(listener);
				return () => slot.listeners.delete(listener);
			},
			release: () => {
				if (released) return;
				released = true;
				slot.references--;
				if (slot.references > 0 || slot.isShared) return;
				slot.subscription?.close();
				this.unwatch(slot);
				this.slots.delete(slot.key);
			},
		};
	}

	private slotFor(config: SdsSecretConfig, kind: SecretKind, object: string, field: string): Slot {
		const { name, sdsConfig } = config;
		if (name === '') throw new ConfigError({ object, field: `${field}.name`, expected: 'the name of a secret' });
		if (sdsConfig === undefined) {
			const slot = this.statics.get(name);
			if (slot?.kind === kind) return slot;
			throw new ConfigError({
				object,
				field: `${field}.name`,
				found: name,
				expected: `a ${kind} secret of static_resources.secrets, or an sds_config`,
			});
		}
		const isFile =
			sdsConfig.configSourceSpecifier.case === 'path' || sdsConfig.configSourceSpecifier.case === 'pathConfigSource';
		if (this.identity !== null && !isFile) {
			const own = this.identitySlots[kind];
			if (own.name === name) return own;
		}
		const client = this.sources.resolve(sdsConfig, object, `${field}.sds_config`);
		const key = `${kind}\u0000${name}\u0000${JSON.stringify(sdsConfig.configSourceSpecifier.value ?? null)}`;
		let slot = this.slots.get(key);
		if (slot === undefined) {
			slot = makeSlot(name, 'sds', kind, key);
			this.slots.set(key, slot);
			const created = slot;
			slot.subscription = client.subscribe(SECRET_TYPE, [name], {
				onUpdate: (update) => this.sdsUpdate(created, update),
			});
		}
		return slot;
	}

	/** A secret that was removed stays in force, as in Envoy: SDS has no way to take one away. */
	private sdsUpdate(slot: Slot, update: DiscoveryUpdate): string | null {
		for (const resource of update.updated) {
			if (resource.name !== slot.name) continue;
			try {
				const message = fromBinary(SecretSchema, resource.value);
				const secret = compileSecret(message);
				if (secret.kind !== slot.kind) {
					throw new ConfigError({
						object: `secret ${JSON.stringify(slot.name)}`,
						field: '',
						found: `a ${secret.kind} secret`,
						expected: `a ${slot.kind} secret`,
					});
				}
				const unfit = unfitReplacement(slot.secret, secret, this.wallMs());
				if (unfit !== null) return this.refuse(slot, unfit);
				this.watch(slot, filesOf(message), () => compileSecret(message));
				this.replace(slot, secret, resource.version);
			} catch (error) {
				return this.refuse(slot, errorMessage(error));
			}
		}
		return null;
	}

	private refuse(slot: Slot, reason: string): string {
		slot.lastError = reason;
		this.metrics?.refused(slot.name);
		log.warning('secret refused, the last good one stays', { secret: slot.name, reason });
		return reason;
	}

	/** In place of what was watched for this secret before. */
	private watch(slot: Slot, files: SecretFiles, compile: () => TlsSecret): void {
		this.unwatch(slot);
		slot.watch = watchSecretFiles(files, {
			compile,
			replaced: (secret) => {
				if (Bun.deepEquals(withoutFunctions(secret), withoutFunctions(slot.secret))) return;
				const unfit = unfitReplacement(slot.secret, secret, this.wallMs());
				if (unfit !== null) {
					this.refuse(slot, unfit);
					return;
				}
				log.info('secret replaced from its files', { secret: slot.name });
				this.replace(slot, secret, slot.version);
			},
			refused: (reason) => void this.refuse(slot, reason),
		});
		if (slot.watch !== null) this.watches.add(slot.watch);
	}

	private unwatch(slot: Slot): void {
		if (slot.watch === null) return;
		slot.watch.close();
		this.watches.delete(slot.watch);
		slot.watch = null;
	}

	private identityChanged(now: WorkloadIdentity): void {
		const version = String(now.notBeforeMs);
		const { certificate, validation } = this.identitySlots;
		const { certificateChainPem, privateKeyPem, rootsPem } = now;
		this.replace(
			certificate,
			certificateSecret(certificateChainPem, privateKeyPem, 'identity', 'certificate'),
			version,
		);
		this.replace(validation, rootsValidation(rootsPem), version);
	}

	private replace(slot: Slot, secret: TlsSecret, version: string): void {
		slot.secret = secret;
		slot.version = version;
		slot.lastUpdatedMs = this.wallMs();
		slot.lastError = null;
		this.metrics?.updated(slot.name);
		for (const listener of [...slot.listeners]) listener();
	}
}

/** @throws ConfigError */
export function compileSecret(message: Secret): TlsSecret {
	const object = `secret ${JSON.stringify(message.name)}`;
	const unsupported = unsupportedFields(SecretSchema, message, TLS_FIELDS, object);
	if (unsupported.length > 0) throw new ConfigError(unsupported);
	switch (message.type.case) {
		case 'tlsCertificate':
			return compileCertificate(message.type.value, object, 'tls_certificate');
		case 'validationContext':
			return compileValidation(message.type.value, object, 'validation_context');
		default:
			throw new ConfigError({ object, field: '', expected: 'tls_certificate or validation_context' });
	}
}

function filesOf(message: Secret): SecretFiles {
	switch (message.type.case) {
		case 'tlsCertificate':
			return filesOfCertificate(message.type.value);
		case 'validationContext':
			return filesOfValidation(message.type.value);
		default:
			return { files: [], directory: '' };
	}
}

/** What of a secret came from files: matchers are functions, and none is the same as another. */
function withoutFunctions(secret: TlsSecret | null): unknown {
	if (secret?.kind !== 'validation') return secret;
	return [secret.rootsPem, secret.chainPolicy];
}

/** To what never changes. */
function fixedReference<T extends TlsSecret>(secret: T): SecretRef<T> {
	return { name: '', current: () => secret, subscribe: () => () => {}, release: () => {} };
}

function makeSlot(name: string, origin: Slot['origin'], kind: SecretKind, key: string, isShared = false): Slot {
	return {
		name,
		origin,
		kind,
		key,
		isShared,
		secret: null,
		version: '',
		lastUpdatedMs: 0,
		lastError: null,
		references: 0,
		listeners: new Set(),
		subscription: null,
		watch: null,
	};
}
