// A browser over TLS, and curl, which choose HTTP/2 by ALPN: a page with a hundred parts, a form, a stream of events and
// a WebSocket share one connection, through two proxies with mutual TLS between them to a program that speaks HTTP/1.1.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import type { MetricRegistry } from '../../src/telemetry/registry.ts';
import { launchBrowser, type TestBrowser } from '../support/browser.ts';
import { eventually } from '../support/mesh-control.ts';
import { describeWithPeers, peerPath } from '../support/peers.ts';
import { httpListener, startTestProxy, staticCluster, type TestProxy } from '../support/test-proxy.ts';

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const PARTS = 100;
const LIMIT_MS = 60_000;

interface Seen {
	readonly protocol: string;
	readonly texts: readonly string[];
	readonly form: string;
	readonly events: readonly string[];
	readonly echoes: readonly string[];
}

/** Run by the browser, so none of it is TypeScript of ours. */
const IN_PAGE = `(async () => {
	const { nextHopProtocol } = performance.getEntriesByType('navigation')[0];
	const part = async (i) => (await fetch('/part/' + i)).text();
	const texts = await Promise.all(Array.from({ length: ${PARTS} }, (_, i) => part(i)));
	const form = await (await fetch('/form', { method: 'POST', body: 'x'.repeat(300000) })).text();
	const events = await new Promise((resolve) => {
		const words = [];
		const source = new EventSource('/events');
		source.onmessage = ({ data }) => {
			words.push(data);
			if (words.length < 3) return;
			source.close();
			resolve(words);
		};
	});
	const echoes = await new Promise((resolve, reject) => {
		const words = [];
		const socket = new WebSocket('wss://' + location.host + '/ws');
		socket.onopen = () => socket.send('a');
		socket.onerror = () => reject(new Error('the WebSocket failed'));
		socket.onmessage = ({ data }) => {
			words.push(data);
			if (words.length === 1) socket.send('y'.repeat(100000));
			else socket.close();
		};
		socket.onclose = () => resolve(words);
	});
	return { protocol: nextHopProtocol, texts, form, events, echoes };
})()`;

let program: Bun.Server<undefined>;
let inbound: TestProxy;
let front: TestProxy;

const directory = mkdtempSync(join(tmpdir(), 'weft-chromium-test-'));
const log = join(directory, 'front.log');

const routes = (cluster: string) => ({
	upgrade_configs: [{ upgrade_type: 'websocket' }],
	http2_protocol_options: { allow_connect: true },
	route_config: {
		virtual_hosts: [
			{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster, timeout: '0s' } }] },
		],
	},
});

function serve(request: Request, server: Bun.Server<undefined>): Response | Promise<Response> | undefined {
	const { pathname } = new URL(request.url);
	if (pathname === '/ws') return server.upgrade(request) ? undefined : new Response('no WebSocket', { status: 400 });
	if (pathname.startsWith('/part/')) return new Response(pathname.slice(6));
	if (pathname === '/form') return request.text().then((body) => new Response(`${request.method} ${body.length}`));
	if (pathname === '/events') {
		const events = ['one', 'two', 'three'].map((word) => `data: ${word}\n\n`).join('');
		return new Response(events, { headers: { 'content-type': 'text/event-stream' } });
	}
	return new Response('<!doctype html><title>parts</title>', { headers: { 'content-type': 'text/html' } });
}

beforeAll(async () => {
	program = Bun.serve({
		hostname: '127.0.0.1',
		port: 0,
		fetch: serve,
		websocket: { message: (socket, message) => void socket.send(`echo:${String(message)}`) },
	});
	const authority = await TestAuthority.create();
	const socket = async (type: string, uri: string, more: object = {}) => {
		const issued = await authority.issue({ uris: [uri], dns: ['localhost'], ips: ['127.0.0.1'] });
		return {
			name: 'envoy.transport_sockets.tls',
			typed_config: {
				'@type': `${TLS}.${type}`,
				common_tls_context: {
					alpn_protocols: type === 'UpstreamTlsContext' ? ['h2'] : ['h2', 'http/1.1'],
					tls_certificates: [
						{
							certificate_chain: { inline_string: issued.certificatePem },
							private_key: { inline_string: issued.privateKeyPem },
						},
					],
					validation_context: { trusted_ca: { inline_string: authority.certificatePem } },
				},
				...more,
			},
		};
	};
	const listener = async (cluster: string, more: object) => {
		const access_log = [
			{
				name: 'file',
				typed_config: {
					'@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
					path: log,
					log_format: { text_format_source: { inline_string: '%REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE%\n' } },
				},
			},
		];
		const manager = { ...routes(cluster), ...(cluster === 'inbound' ? { access_log } : {}) };
		const one = httpListener(0, manager) as { filter_chains: [Record<string, unknown>] };
		one.filter_chains[0].transport_socket = await socket('DownstreamTlsContext', 'spiffe://test/ns/a/sa/server', more);
		return one;
	};
	inbound = await startTestProxy({
		static_resources: {
			listeners: [await listener('program', { require_client_certificate: true })],
			clusters: [staticCluster('program', [program.port!])],
		},
	});
	front = await startTestProxy({
		static_resources: {
			listeners: [await listener('inbound', {})],
			clusters: [
				staticCluster('inbound', [inbound.port], {
					transport_socket: await socket('UpstreamTlsContext', 'spiffe://test/ns/a/sa/client'),
					typed_extension_protocol_options: {
						'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
							'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
							explicit_http_config: { http2_protocol_options: { allow_connect: true } },
						},
					},
				}),
			],
		},
	});
});

afterAll(async () => {
	await front?.stop();
	await inbound?.stop();
	await program?.stop(true);
	rmSync(directory, { recursive: true, force: true });
});

function metric(registry: MetricRegistry, name: string): number {
	let total = 0;
	for (const family of registry.all()) {
		if (family.name !== name) continue;
		for (const { instrument } of family.series()) if ('value' in instrument) total += instrument.value;
	}
	return total;
}

describeWithPeers(['chromium'], 'Chromium', () => {
	let browser: TestBrowser;

	beforeAll(async () => {
		browser = await launchBrowser();
	}, LIMIT_MS);

	afterAll(async () => {
		await browser?.close();
	});

	test(
		'a page, its parts, a form, events and a WebSocket',
		async () => {
			const context = await browser.context({ ignoreHTTPSErrors: true });
			const page = await context.newPage();
			await page.goto(`https://localhost:${front.port}/`);
			const seen = await page.evaluate<Seen>(IN_PAGE);
			expect(seen.protocol).toBe('h2');
			expect(seen.texts).toEqual(Array.from({ length: PARTS }, (_, i) => String(i)));
			expect(seen.form).toBe('POST 300000');
			expect(seen.events).toEqual(['one', 'two', 'three']);
			expect(seen.echoes).toEqual(['echo:a', `echo:${'y'.repeat(100_000)}`]);
			await context.close();
			// The WebSocket too: it did not fall back to a connection of its own.
			const socketLine = await eventually('the WebSocket is logged', () =>
				readFileSync(log, 'utf8')
					.split('\n')
					.find((line) => line.startsWith('/ws ')),
			);
			expect(socketLine).toBe('/ws HTTP/2 101');
			const versions = readFileSync(log, 'utf8').match(/ HTTP\S+ /g);
			expect(new Set(versions)).toEqual(new Set([' HTTP/2 ']));
			expect(metric(front.registry, 'envoy_cluster_upstream_cx_http2_total')).toBe(1);
		},
		LIMIT_MS,
	);
});

describeWithPeers(['curl'], 'curl', () => {
	test.each([
		['--http2', '2'],
		['--http1.1', '1.1'],
	])('over TLS with %s speaks %s', async (option, version) => {
		const args = ['-sk', option, '-o', '/dev/null', '-w', '%{http_version} %{http_code}'];
		const child = Bun.spawn([peerPath('curl')!, ...args, `https://127.0.0.1:${front.port}/`], { stdout: 'pipe' });
		expect(await new Response(child.stdout).text()).toBe(`${version} 200`);
		expect(await child.exited).toBe(0);
	});
});
