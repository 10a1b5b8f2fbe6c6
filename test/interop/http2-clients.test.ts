// Clients that people have, speaking HTTP/2 to a listener of the real proxy, and through a second one.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import { describeWithPeers, peerPath } from '../support/peers.ts';
import { httpListener, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

let upstream: Server;
let inner: TestProxy;
let outer: TestProxy;
/** As `inner` and `outer`, with mutual TLS between them. */
let securedInner: TestProxy;
let secured: TestProxy;

const routes = (cluster: string) => ({
	route_config: {
		virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster } }] }],
	},
});

beforeAll(async () => {
	upstream = createServer((request, response) => {
		let bytes = 0;
		request.on('data', (chunk: Buffer) => {
			bytes += chunk.length;
		});
		request.on('end', () => response.end(`${request.method} ${request.url} ${bytes}\n`));
	});
	await new Promise<void>((done) => upstream.listen(0, '127.0.0.1', () => done()));
	const { port } = upstream.address() as AddressInfo;
	const authority = await TestAuthority.create();
	const tls = async (type: string, uri: string, more: object = {}) => {
		const { certificatePem, privateKeyPem } = await authority.issue({ uris: [uri] });
		const common_tls_context = {
			alpn_protocols: ['h2'],
			tls_certificates: [
				{ certificate_chain: { inline_string: certificatePem }, private_key: { inline_string: privateKeyPem } },
			],
			validation_context: { trusted_ca: { inline_string: authority.certificatePem } },
		};
		return {
			name: 'envoy.transport_sockets.tls',
			typed_config: {
				'@type': `type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.${type}`,
				common_tls_context,
				...more,
			},
		};
	};
	const breakers = {
		// Both ends are this process: a burst of requests holds up the handshakes that it asks for.
		connect_timeout: '30s',
		circuit_breakers: { thresholds: [{ max_requests: 100_000, max_pending_requests: 100_000 }] },
	};
	inner = await startTestProxy({
		static_resources: {
			listeners: [httpListener(0, routes('upstream'))],
			clusters: [staticCluster('upstream', [port], breakers)],
		},
	});
	const before = (port: number, more: object = {}) =>
		startTestProxy({
			static_resources: {
				listeners: [httpListener(0, routes('inner'))],
				clusters: [
					staticCluster('inner', [port], {
						...breakers,
						...more,
						typed_extension_protocol_options: {
							'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
								'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
								explicit_http_config: { http2_protocol_options: {} },
							},
						},
					}),
				],
			},
		});
	outer = await before(inner.port);
	const listener = httpListener(0, routes('upstream')) as { filter_chains: [Record<string, unknown>] };
	listener.filter_chains[0].transport_socket = await tls('DownstreamTlsContext', 'spiffe://test/ns/a/sa/server', {
		require_client_certificate: true,
	});
	securedInner = await startTestProxy({
		static_resources: { listeners: [listener], clusters: [staticCluster('upstream', [port], breakers)] },
	});
	secured = await before(securedInner.port, {
		transport_socket: await tls('UpstreamTlsContext', 'spiffe://test/ns/a/sa/client'),
	});
});

afterAll(async () => {
	await secured?.stop();
	await securedInner?.stop();
	await outer?.stop();
	await inner?.stop();
	upstream?.closeAllConnections();
	upstream?.close();
});

async function run(program: string, ...args: string[]): Promise<string> {
	const child = Bun.spawn([peerPath(program)!, ...args], { stdout: 'pipe', stderr: 'pipe' });
	const [out, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
	expect(await child.exited, errors).toBe(0);
	return out;
}

describeWithPeers(['curl'], 'curl', () => {
	test('by prior knowledge', async () => {
		const args = ['-s', '--http2-prior-knowledge', '-w', '%{http_version} %{http_code}', '-d', 'hello'];
		expect(await run('curl', ...args, `http://127.0.0.1:${outer.port}/a`)).toBe('POST /a 5\n2 200');
	});

	test('that asks for h2c by Upgrade is served HTTP/1.1', async () => {
		const args = ['-s', '--http2', '-w', '%{http_version} %{http_code}'];
		expect(await run('curl', ...args, `http://127.0.0.1:${outer.port}/a`)).toBe('GET /a 0\n1.1 200');
	});
});

describeWithPeers(['nghttp'], 'nghttp', () => {
	test('several on one connection', async () => {
		const urls = ['a', 'b', 'c'].map((path) => `http://127.0.0.1:${outer.port}/${path}`);
		const lines = (await run('nghttp', ...urls)).trim().split('\n').sort();
		expect(lines).toEqual(['GET /a 0', 'GET /b 0', 'GET /c 0']);
	});
});

describeWithPeers(['h2load'], 'h2load', () => {
	test.each([
		['one proxy, to HTTP/1.1', () => inner.port],
		['two', () => outer.port],
		['two, with mutual TLS between them', () => secured.port],
	])(
		'100 connections of 100 streams through %s: no request fails',
		async (_, port) => {
			const out = await run('h2load', '-n', '10000', '-c', '100', '-m', '100', `http://127.0.0.1:${port()}/x`);
			expect(out).toContain('10000 succeeded, 0 failed, 0 errored, 0 timeout');
			expect(out).toContain('status codes: 10000 2xx');
		},
		60_000,
	);
});
