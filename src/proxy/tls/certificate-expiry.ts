// When certificates end, as gauges: `listener.ADDRESS.ssl.certificate.NAME.expiration_unix_time_seconds`, likewise of
// clusters, and `server.days_until_first_cert_expiring`. Of a chain the leaf counts, of roots the one that ends first,
// as in Envoy.

import type { Family, Gauge, MetricRegistry } from '../../telemetry/registry.ts';

/** A certificate that stands in a context itself has no name. Envoy calls all of them so: by the hash of nothing. */
export const UNNAMED_CERTIFICATE = 'unnamed_cert_e3b0c442';
export const UNNAMED_ROOTS = 'unnamed_ca_cert_e3b0c442';

/** Envoy's, when there are no certificates. */
const DAYS_WITHOUT_CERTIFICATES = 2 ** 32 - 1;
const DAY_MS = 86_400_000;

export interface HeldCertificate {
	/** Of its secret, or `UNNAMED_…`. */
	readonly name: string;
	readonly notAfterMs: number;
}

/** What has certificates, and tells when they were replaced. */
export interface CertificateHolder {
	/** Those that are there. */
	certificates(): readonly HeldCertificate[];
	/** Returns an unsubscriber. */
	subscribe(onChange: () => void): () => void;
}

/** A listener or cluster, by the name in its stats. */
interface Owner {
	readonly family: Family<Gauge>;
	readonly name: string;
	/** Several, while one version takes the place of another; both may have the same holders. */
	readonly followed: Set<readonly CertificateHolder[]>;
	/** Names of certificates that have a series. */
	shown: ReadonlySet<string>;
}

export class CertificateExpiry {
	private readonly owners = new Map<string, Owner>();

	private constructor(private readonly registry: MetricRegistry) {}

	static of(registry: MetricRegistry): CertificateExpiry {
		let found = byRegistry.get(registry);
		if (found === undefined) {
			found = new CertificateExpiry(registry);
			byRegistry.set(registry, found);
		}
		return found;
	}

	/** Shows the certificates of `holders` from now on, until what it returns is called. */
	follow(of: 'listener' | 'cluster', name: string, holders: readonly CertificateHolder[]): () => void {
		const key = `${of}\u0000${name}`;
		const owner = this.owners.get(key) ?? this.addOwner(key, of, name);
		const own = [...holders];
		owner.followed.add(own);
		const unsubscribers = own.map((holder) => holder.subscribe(() => show(owner)));
		show(owner);
		return () => {
			if (!owner.followed.delete(own)) return;
			for (const unsubscribe of unsubscribers) unsubscribe();
			show(owner);
			if (owner.followed.size === 0) this.owners.delete(key);
		};
	}

	/** Full days until the first certificate ends; 0 when one has. */
	daysUntilFirst(nowMs: number): number {
		let firstMs = Number.POSITIVE_INFINITY;
		for (const owner of this.owners.values()) {
			for (const { notAfterMs } of certificatesOf(owner)) firstMs = Math.min(firstMs, notAfterMs);
		}
		if (firstMs === Number.POSITIVE_INFINITY) return DAYS_WITHOUT_CERTIFICATES;
		return Math.max(0, Math.floor((firstMs - nowMs) / DAY_MS));
	}

	private addOwner(key: string, of: 'listener' | 'cluster', name: string): Owner {
		const labels = ['envoy_tls_certificate', of === 'listener' ? 'envoy_listener_address' : 'envoy_cluster_name'];
		const help = 'When a certificate ends, in seconds since 1970';
		const family = this.registry.gauge(`envoy_${of}_ssl_certificate_expiration_unix_time_seconds`, help, labels);
		const owner: Owner = { family, name, followed: new Set(), shown: new Set() };
		this.owners.set(key, owner);
		return owner;
	}
}

const byRegistry = new WeakMap<MetricRegistry, CertificateExpiry>();

/** Of several certificates with one name the one that ends first is shown. */
function show(owner: Owner): void {
	const ends = new Map<string, number>();
	for (const { name, notAfterMs } of certificatesOf(owner)) {
		ends.set(name, Math.min(ends.get(name) ?? Number.POSITIVE_INFINITY, notAfterMs));
	}
	for (const name of owner.shown) if (!ends.has(name)) owner.family.remove(name, owner.name);
	for (const [name, endMs] of ends) owner.family.with(name, owner.name).set(Math.floor(endMs / 1000));
	owner.shown = new Set(ends.keys());
}

function certificatesOf({ followed }: Owner): HeldCertificate[] {
	return [...followed].flatMap((holders) => holders.flatMap((holder) => holder.certificates()));
}
