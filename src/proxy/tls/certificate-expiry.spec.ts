import { describe, expect, test } from 'bun:test';
import { MetricRegistry } from '../../telemetry/registry.ts';
import { namedStats, statValue } from '../admin/stats-text.ts';
import { CertificateExpiry, type HeldCertificate } from './certificate-expiry.ts';

const DAY_MS = 86_400_000;

class FakeHolder {
	private readonly listeners = new Set<() => void>();

	constructor(private held: readonly HeldCertificate[]) {}

	get subscribers(): number {
		return this.listeners.size;
	}

	certificates() {
		return this.held;
	}

	subscribe(onChange: () => void) {
		this.listeners.add(onChange);
		return () => void this.listeners.delete(onChange);
	}

	replace(...held: HeldCertificate[]): void {
		this.held = held;
		for (const listener of this.listeners) listener();
	}
}

function setUp() {
	const registry = new MetricRegistry();
	const stats = () =>
		Object.fromEntries(namedStats(registry).map(({ name, instrument }) => [name, statValue(instrument)]));
	return { registry, expiry: CertificateExpiry.of(registry), stats };
}

const LISTENER = 'listener.127.0.0.1_80.ssl.certificate';
const END = 'expiration_unix_time_seconds';

describe('when certificates end', () => {
	test('is shown by owner and name, under the names of Envoy', () => {
		const { registry, expiry, stats } = setUp();
		expiry.follow('listener', '127.0.0.1_80', [new FakeHolder([{ name: 'mine.x', notAfterMs: 1_999 }])]);
		expiry.follow('cluster', 'a', [new FakeHolder([{ name: 'roots', notAfterMs: 5_000 }])]);
		expect(stats()).toEqual({ [`${LISTENER}.mine.x.${END}`]: '1', [`cluster.a.ssl.certificate.roots.${END}`]: '5' });
		expect(CertificateExpiry.of(registry)).toBe(expiry);
	});

	test('follows replacements, and of several with one name the first to end', () => {
		const { expiry, stats } = setUp();
		const holder = new FakeHolder([]);
		const other = new FakeHolder([{ name: 'x', notAfterMs: 7_000 }]);
		expiry.follow('listener', '127.0.0.1_80', [holder, other]);
		holder.replace({ name: 'x', notAfterMs: 9_000 }, { name: 'y', notAfterMs: 1_000 });
		expect(stats()).toEqual({ [`${LISTENER}.x.${END}`]: '7', [`${LISTENER}.y.${END}`]: '1' });
		holder.replace({ name: 'x', notAfterMs: 3_000 });
		expect(stats()).toEqual({ [`${LISTENER}.x.${END}`]: '3' });
	});

	test('a holder that goes on under the next version stays; the last to go takes its series along', () => {
		const { expiry, stats } = setUp();
		const holder = new FakeHolder([{ name: 'x', notAfterMs: 7_000 }]);
		const before = expiry.follow('listener', '127.0.0.1_80', [holder]);
		const next = expiry.follow('listener', '127.0.0.1_80', [holder]);
		before();
		expect(stats()).toEqual({ [`${LISTENER}.x.${END}`]: '7' });
		next();
		next();
		expect(stats()).toEqual({});
		expect(holder.subscribers).toBe(0);
	});

	test('the days until the first are full ones, never less than none, and many without certificates', () => {
		const { expiry } = setUp();
		expect(expiry.daysUntilFirst(0)).toBe(4_294_967_295);
		expiry.follow('cluster', 'a', [new FakeHolder([{ name: 'x', notAfterMs: 3 * DAY_MS - 1 }])]);
		expiry.follow('cluster', 'b', [new FakeHolder([{ name: 'x', notAfterMs: 9 * DAY_MS }])]);
		expect(expiry.daysUntilFirst(0)).toBe(2);
		expect(expiry.daysUntilFirst(4 * DAY_MS)).toBe(0);
	});
});
