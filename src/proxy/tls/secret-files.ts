// The files that a TLS secret refers to, and the secret made anew when one of them is replaced. What
// cannot be used changes nothing: the last good one stays.

import type { DataSource } from '../../generated/envoy/config/core/v3/base_pb.ts';
import type {
	CertificateValidationContext,
	TlsCertificate,
} from '../../generated/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { errorMessage } from '../../std/errors.ts';
import { FileWatch } from './file-watch.ts';
import type { TlsSecret } from './secret.ts';

export interface SecretFiles {
	/** Without doubles. */
	readonly files: readonly string[];
	/** Empty: none is named. */
	readonly directory: string;
}

export function filesOfCertificate(config: TlsCertificate): SecretFiles {
	const { certificateChain, privateKey, password, watchedDirectory } = config;
	return { files: filenames([certificateChain, privateKey, password]), directory: watchedDirectory?.path ?? '' };
}

export function filesOfValidation(config: CertificateValidationContext): SecretFiles {
	const { trustedCa, crl, watchedDirectory } = config;
	return { files: filenames([trustedCa, crl]), directory: watchedDirectory?.path ?? '' };
}

function filenames(sources: readonly (DataSource | undefined)[]): string[] {
	const names = new Set<string>();
	for (const source of sources) if (source?.specifier.case === 'filename') names.add(source.specifier.value);
	return [...names];
}

/**
 * Why `next` does not take the place of `current`; null: it does. A certificate that has expired already would
 * only make things worse, unless the one in force has expired too.
 */
export function unfitReplacement(current: TlsSecret | null, next: TlsSecret, nowMs: number): string | null {
	if (current?.kind !== 'certificate' || next.kind !== 'certificate') return null;
	if (next.notAfterMs > nowMs || current.notAfterMs <= nowMs) return null;
	return `the certificate expired at ${new Date(next.notAfterMs).toISOString()}`;
}

export interface SecretReload<T extends TlsSecret> {
	/** @throws ConfigError */
	compile(): T;
	replaced(secret: T): void;
	refused(reason: string): void;
}

/** Watches from now on; null when there is nothing to watch. */
export function watchSecretFiles<T extends TlsSecret>(of: SecretFiles, reload: SecretReload<T>): FileWatch | null {
	if (of.files.length === 0) return null;
	return new FileWatch(of.files, of.directory, () => {
		let secret: T;
		try {
			secret = reload.compile();
		} catch (error) {
			reload.refused(errorMessage(error));
			return;
		}
		reload.replaced(secret);
	});
}
