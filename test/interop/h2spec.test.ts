// h2spec, strict, against a listener of the real proxy: by prior knowledge and over TLS with ALPN.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import { describeWithPeers, peerPath } from '../support/peers.ts';
import { httpListener, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

describeWithPeers(['h2spec'], 'h2spec', () => {
	let upstream: Server;
	let plain: TestProxy;
	let secure: TestProxy;

	beforeAll(async () => {
		// Answers when it has all of the request, GET or not: h2spec leaves some without an end.
		upstream = createServer((request, response) => {
			request.on('error', () => {});
			request.on('end', () => response.end('hello, h2spec'));
			request.resume();
		});
		await new Promise<void>((done) => upstream.listen(0, '127.0.0.1', () => done()));
		const { port } = upstream.address() as AddressInfo;
		const { certificatePem, privateKeyPem } = await (await TestAuthority.create()).issue({ dns: ['localhost'] });
		const manager = (codec_type: string) => ({
			codec_type,
			route_config: {
				virtual_hosts: [
					{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'upstream' } }] },
				],
			},
		});
		const clusters = [staticCluster('upstream', [port])];
		plain = await startTestProxy({ static_resources: { listeners: [httpListener(0, manager('HTTP2'))], clusters } });
		const listener = httpListener(0, manager('AUTO')) as { filter_chains: [Record<string, unknown>] };
		listener.filter_chains[0].transport_socket = {
			name: 'envoy.transport_sockets.tls',
			typed_config: {
				'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
				common_tls_context: {
					alpn_protocols: ['h2', 'http/1.1'],
					tls_certificates: [
						{
							certificate_chain: { inline_string: certificatePem },
							private_key: { inline_string: privateKeyPem },
						},
					],
				},
			},
		};
		secure = await startTestProxy({ static_resources: { listeners: [listener], clusters } });
	});

	afterAll(async () => {
		await plain?.stop();
		await secure?.stop();
		upstream?.closeAllConnections();
		upstream?.close();
	});

	/** Everything that h2spec says, and its last line. */
	async function h2spec(...args: string[]): Promise<{ all: string; last: string }> {
		const child = Bun.spawn([peerPath('h2spec')!, '--strict', '--host', '127.0.0.1', '--timeout', '4', ...args], {
			stdout: 'pipe',
			stderr: 'pipe',
		});
		const all = await new Response(child.stdout).text();
		await child.exited;
		return { all, last: all.trim().split('\n').at(-1) ?? '' };
	}

	test('in plain text, by prior knowledge', async () => {
		const { all, last } = await h2spec('--port', String(plain.port));
		expect(last, all).toBe('146 tests, 146 passed, 0 skipped, 0 failed');
	}, 120_000);

	test('over TLS, by ALPN', async () => {
		const { all, last } = await h2spec('--port', String(secure.port), '--tls', '--insecure');
		expect(last, all).toBe('146 tests, 146 passed, 0 skipped, 0 failed');
	}, 120_000);
});
