// What TLS counts, under Envoy's names: `listener.ADDRESS.ssl.*`, `cluster.NAME.ssl.*`, `sds.NAME.*`.
// Resolved when a listener or cluster is made; suites and versions, which peers choose, at their first use.

import { HandshakeError, type TlsInfo } from '../../net/network.ts';
import type { WeftError } from '../../std/errors.ts';
import type { Counter, Family, MetricRegistry } from '../../telemetry/registry.ts';

const COUNTERS = {
	handshake: 'TLS handshakes done',
	session_reused: 'TLS handshakes that resumed a session',
	no_certificate: 'TLS handshakes whose peer showed no certificate',
	connection_error: 'TLS handshakes on which the two ends did not agree',
	fail_verify_no_cert: 'TLS handshakes that failed for want of a certificate',
	fail_verify_error: 'TLS handshakes that failed since the chain of the certificate did not hold',
	fail_verify_san: 'TLS handshakes that failed by the names in the certificate',
	fail_verify_cert_hash: 'TLS handshakes that failed since the certificate is none of those pinned',
} as const;

type Counters = Record<keyof typeof COUNTERS, Counter>;

const FAILURES = {
	no_certificate: 'fail_verify_no_cert',
	chain: 'fail_verify_error',
	name: 'fail_verify_san',
	pin: 'fail_verify_cert_hash',
	protocol: 'connection_error',
} as const;

export class TlsStats {
	private readonly counters: Counters;
	private readonly families: Family<Counter>[] = [];
	private readonly ciphers: Family<Counter>;
	private readonly versions: Family<Counter>;
	private readonly cipherCounters = new Map<string, Counter>();
	private readonly versionCounters = new Map<string, Counter>();

	constructor(
		registry: MetricRegistry,
		readonly of: 'listener' | 'cluster',
		private readonly name: string,
	) {
		const label = of === 'listener' ? 'envoy_listener_address' : 'envoy_cluster_name';
		const counters: Partial<Counters> = {};
		for (const [key, help] of Object.entries(COUNTERS) as [keyof Counters, string][]) {
			const family = registry.counter(`envoy_${of}_ssl_${key}`, help, [label]);
			this.families.push(family);
			counters[key] = family.with(name);
		}
		this.counters = counters as Counters;
		// Envoy's labels are these two, not one.
		const cipher = of === 'listener' ? 'envoy_ssl_cipher' : 'cipher_suite';
		this.ciphers = registry.counter(`envoy_${of}_ssl_ciphers`, 'TLS handshakes by cipher suite', [cipher, label]);
		this.versions = registry.counter(`envoy_${of}_ssl_versions`, 'TLS handshakes by version', [
			'envoy_ssl_version',
			label,
		]);
	}

	handshaken(tls: TlsInfo): void {
		const { counters } = this;
		counters.handshake.inc();
		if (tls.sessionReused === true) counters.session_reused.inc();
		if (tls.peerCertificate === null) counters.no_certificate.inc();
		if (tls.peerRefusal != null) counters[FAILURES[tls.peerRefusal.kind]].inc();
		this.countBy(this.cipherCounters, this.ciphers, tls.cipher);
		this.countBy(this.versionCounters, this.versions, tls.version);
	}

	/** A connection that was closed before its handshake was done. */
	failed(error: WeftError | null): void {
		if (!(error instanceof HandshakeError)) return;
		if (error.failure !== 'timeout' && error.failure !== 'closed') this.counters[FAILURES[error.failure]].inc();
	}

	/** Forgets all series: the listener or cluster is gone. */
	remove(): void {
		for (const family of this.families) family.remove(this.name);
		for (const value of this.cipherCounters.keys()) this.ciphers.remove(value, this.name);
		for (const value of this.versionCounters.keys()) this.versions.remove(value, this.name);
	}

	private countBy(counters: Map<string, Counter>, family: Family<Counter>, value: string): void {
		let counter = counters.get(value);
		if (counter === undefined) {
			counter = family.with(value, this.name);
			counters.set(value, counter);
		}
		counter.inc();
	}
}

/** Envoy `sds.NAME.*`. */
export class SecretMetrics {
	private readonly updates: Family<Counter>;
	private readonly refusals: Family<Counter>;

	constructor(registry: MetricRegistry) {
		const labels = ['envoy_xds_resource_name'];
		this.updates = registry.counter('envoy_sds_update_success', 'Secrets taken into use', labels);
		this.refusals = registry.counter('envoy_sds_update_rejected', 'Secrets refused; the last good one stayed', labels);
	}

	updated(name: string): void {
		this.updates.with(name).inc();
	}

	refused(name: string): void {
		this.refusals.with(name).inc();
	}
}
