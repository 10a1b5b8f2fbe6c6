import { expect, test } from 'bun:test';
import { HandshakeError, type HandshakeFailure, type TlsInfo } from '../../net/network.ts';
import { WeftError } from '../../std/errors.ts';
import { type Counter, MetricRegistry } from '../../telemetry/registry.ts';
import { TlsStats } from './tls-stats.ts';

const INFO: TlsInfo = {
	version: 'TLSv1.3',
	cipher: 'TLS_AES_128_GCM_SHA256',
	alpn: null,
	serverName: null,
	peerCertificate: null,
};

function seriesOf(registry: MetricRegistry): Record<string, number> {
	const found: Record<string, number> = {};
	for (const family of registry.all()) {
		for (const { labels, instrument } of family.series()) {
			const { value } = instrument as Counter;
			if (value > 0) found[`${family.name}{${labels.join()}}`] = value;
		}
	}
	return found;
}

test('handshakes are counted by what they agreed on', () => {
	const registry = new MetricRegistry();
	const stats = new TlsStats(registry, 'listener', 'a');
	stats.handshaken(INFO);
	stats.handshaken({ ...INFO, sessionReused: true });
	expect(seriesOf(registry)).toEqual({
		'envoy_listener_ssl_handshake{a}': 2,
		'envoy_listener_ssl_session_reused{a}': 1,
		'envoy_listener_ssl_no_certificate{a}': 2,
		'envoy_listener_ssl_ciphers{TLS_AES_128_GCM_SHA256,a}': 2,
		'envoy_listener_ssl_versions{TLSv1.3,a}': 2,
	});
});

test.each<[HandshakeFailure, string | null]>([
	['protocol', 'connection_error'],
	['no_certificate', 'fail_verify_no_cert'],
	['chain', 'fail_verify_error'],
	['name', 'fail_verify_san'],
	['pin', 'fail_verify_cert_hash'],
	// The connection's own counters have these, as in Envoy.
	['closed', null],
	['timeout', null],
])('a failure by %s is counted as %s', (failure, counter) => {
	const registry = new MetricRegistry();
	const stats = new TlsStats(registry, 'cluster', 'c');
	stats.failed(new HandshakeError(failure, 'why', {}));
	stats.failed(new WeftError('connect_refused', 'not TLS'));
	stats.failed(null);
	expect(seriesOf(registry)).toEqual(counter === null ? {} : { [`envoy_cluster_ssl_${counter}{c}`]: 1 });
});

test('what was let in all the same is counted too', () => {
	const registry = new MetricRegistry();
	const peerRefusal = { kind: 'chain', reason: 'expired' } as const;
	new TlsStats(registry, 'listener', 'a').handshaken({ ...INFO, peerRefusal, peerValidated: false });
	expect(seriesOf(registry)['envoy_listener_ssl_fail_verify_error{a}']).toBe(1);
});

test('what is gone leaves nothing', () => {
	const registry = new MetricRegistry();
	const [gone, other] = ['gone', 'other'].map((name) => new TlsStats(registry, 'cluster', name));
	gone!.handshaken(INFO);
	other!.handshaken(INFO);
	gone!.remove();
	const names = [...registry.all()].flatMap((family) => [...family.series()].map(({ labels }) => labels.at(-1)));
	expect(new Set(names)).toEqual(new Set(['other']));
});
