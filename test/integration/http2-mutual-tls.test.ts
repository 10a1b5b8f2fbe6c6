// Two proxies with mutual TLS and HTTP/2 between them, as between sidecars: what came by HTTP/1.1 is
// restored on the far side, and one connection carries it all.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createServer, request as httpRequest, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import type { MetricRegistry } from '../../src/telemetry/registry.ts';
import { httpListener, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

let program: Server;
let inbound: TestProxy;
let outbound: TestProxy;
let seen: IncomingHttpHeaders[] = [];

const routes = (cluster: string, more: object = {}) => ({
	...more,
	upgrade_configs: [{ upgrade_type: 'websocket' }],
	http2_protocol_options: { allow_connect: true },
	route_config: {
		virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster } }] }],
	},
});

beforeAll(async () => {
	program = createServer((request, response) => {
		seen.push(request.headers);
		const chunks: Buffer[] = [];
		request.on('data', (chunk: Buffer) => chunks.push(chunk));
		request.on('end', () => response.end(`${request.method} ${Buffer.concat(chunks)}`));
	});
	program.on('upgrade', (_request, socket) => {
		socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
		socket.on('data', (chunk) => socket.write(`echo:${chunk}`));
		socket.on('error', () => {});
	});
	await new Promise<void>((done) => program.listen(0, '127.0.0.1', () => done()));
	const authority = await TestAuthority.create();
	const tls = async (uri: string) => {
		const { certificatePem, privateKeyPem } = await authority.issue({ uris: [uri] });
		return {
			alpn_protocols: ['h2'],
			tls_certificates: [
				{ certificate_chain: { inline_string: certificatePem }, private_key: { inline_string: privateKeyPem } },
			],
			validation_context: { trusted_ca: { inline_string: authority.certificatePem } },
		};
	};
	const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
	const listener = httpListener(
		0,
		routes('program', {
			forward_client_cert_details: 'SANITIZE_SET',
			set_current_client_cert_details: { uri: true },
		}),
	) as { filter_chains: [Record<string, unknown>] };
	listener.filter_chains[0].transport_socket = {
		name: 'envoy.transport_sockets.tls',
		typed_config: {
			'@type': `${TLS}.DownstreamTlsContext`,
			require_client_certificate: true,
			common_tls_context: await tls('spiffe://test/ns/a/sa/server'),
		},
	};
	inbound = await startTestProxy({
		static_resources: {
			listeners: [listener],
			clusters: [staticCluster('program', [(program.address() as AddressInfo).port])],
		},
	});
	outbound = await startTestProxy({
		static_resources: {
			listeners: [httpListener(0, routes('inbound'))],
			clusters: [
				staticCluster('inbound', [inbound.port], {
					transport_socket: {
						name: 'envoy.transport_sockets.tls',
						typed_config: {
							'@type': `${TLS}.UpstreamTlsContext`,
							common_tls_context: await tls('spiffe://test/ns/a/sa/client'),
						},
					},
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
});

afterAll(async () => {
	await outbound?.stop();
	await inbound?.stop();
	program?.closeAllConnections();
	program?.close();
});

function metric(registry: MetricRegistry, name: string): number {
	for (const family of registry.all()) {
		if (family.name !== name) continue;
		for (const { instrument } of family.series()) if ('value' in instrument) return instrument.value;
	}
	throw new Error(`no metric ${name}`);
}

test('a hundred requests at once are one connection, and the program sees HTTP/1.1 and who asked', async () => {
	seen = [];
	const answers = await Promise.all(
		Array.from({ length: 100 }, async (_, i) => {
			const response = await fetch(`http://127.0.0.1:${outbound.port}/${i}`, { method: 'POST', body: `n${i}` });
			return response.text();
		}),
	);
	expect(answers).toEqual(answers.map((_, i) => `POST n${i}`));
	expect(metric(outbound.registry, 'envoy_cluster_upstream_cx_http2_total')).toBe(1);
	expect(seen[0]!['x-forwarded-client-cert']).toContain('URI=spiffe://test/ns/a/sa/client');
	expect(seen[0]!.host).toBe(`127.0.0.1:${outbound.port}`);
});

test('a WebSocket goes through as extended CONNECT, with the answer to the key that the client sent', async () => {
	const socket = await new Promise<import('node:stream').Duplex>((resolve, reject) => {
		const request = httpRequest({
			host: '127.0.0.1',
			port: outbound.port,
			path: '/ws',
			headers: {
				connection: 'upgrade',
				upgrade: 'websocket',
				'sec-websocket-version': '13',
				'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
			},
		});
		request.on('upgrade', (response, duplex) => {
			expect(response.headers['sec-websocket-accept']).toBe('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
			resolve(duplex);
		});
		request.on('response', (response) => reject(new Error(`status ${response.statusCode}`)));
		request.on('error', reject);
		request.end();
	});
	const echo = new Promise<string>((resolve) => socket.once('data', (chunk: Buffer) => resolve(chunk.toString())));
	socket.write('hello');
	expect(await echo).toBe('echo:hello');
	socket.destroy();
});
