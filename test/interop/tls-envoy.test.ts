// Who is let in: every kind of certificate under every kind of validation context, on weft and on real
// Envoy with one bootstrap, as a server to clients and as a client to servers.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createServer, type Server, connect as tlsConnect } from 'node:tls';
import type { TestCertificate } from '../../src/net/testing-certificates.ts';
import { describeWithPeers } from '../support/peers.ts';
import { makePki, type Pki, validationContexts } from '../support/tls-pki.ts';
import { DIRECT, DOWNSTREAM_TLS, httpsListener, type Running, startBoth } from '../support/tls-proxies.ts';

const UPSTREAM_TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';
const inline = (text: string) => ({ inline_string: text });
const certificateJson = (of: TestCertificate) => ({
	certificate_chain: inline(of.certificatePem),
	private_key: inline(of.privateKeyPem),
});

/** Where weft decides otherwise, and is meant to: docs/known-differences.md. `CONTEXT / PEER`. */
const DIFFERENT: ReadonlySet<string> = new Set([
	// The certificate is for `*.example`: a whole top-level domain.
	'DNS exact / other names',
	'DNS exact in capitals / other names',
	// Envoy stumbles over the signature, though it is told to accept what does not hold.
	'untrusted accepted / of another CA of the same name',
	'untrusted accepted, URI / of another CA of the same name',
	'untrusted accepted, required / of another CA of the same name',
]);

type Outcome = 'accepted' | 'refused';

function ask(port: number, client: TestCertificate | null, more: object = {}): Promise<Outcome> {
	return new Promise((resolve) => {
		let text = '';
		const socket = tlsConnect({
			host: '127.0.0.1',
			port,
			rejectUnauthorized: false,
			...(client === null ? {} : { cert: client.certificatePem, key: client.privateKeyPem }),
			...more,
		});
		socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'));
		socket.on('data', (bytes: Buffer) => {
			text += bytes.toString('latin1');
			// Envoy would wait a second for the client to close.
			if (text.includes('\r\n\r\n')) socket.destroy();
		});
		socket.on('error', () => {});
		socket.on('close', () => resolve(text.startsWith('HTTP/1.1 200') ? 'accepted' : 'refused'));
	});
}

/** In order, so that what failed is read as a table. */
async function outcomes(
	contexts: Iterable<string>,
	peers: Iterable<string>,
	decide: (context: string, peer: string) => Promise<Outcome>,
): Promise<Record<string, Outcome>> {
	const table: Record<string, Outcome> = {};
	const names = [...peers];
	for (const context of contexts) {
		const found = await Promise.all(names.map((peer) => decide(context, peer)));
		names.forEach((peer, i) => {
			const key = `${context} / ${peer}`;
			if (!DIFFERENT.has(key)) table[key] = found[i]!;
		});
	}
	return table;
}

describeWithPeers(['envoy'], 'certificates of clients', () => {
	let pki: Pki;
	let both: Awaited<ReturnType<typeof startBoth>>;
	const contexts = new Map<string, { readonly required: boolean; readonly context: object }>();

	beforeAll(async () => {
		pki = await makePki();
		for (const [name, context] of validationContexts(pki)) contexts.set(name, { required: false, context });
		for (const name of ['roots', 'untrusted accepted', 'hash without roots']) {
			contexts.set(`${name}, required`, { required: true, context: validationContexts(pki).get(name)! });
		}
		both = await startBoth(
			(portOf) =>
				[...contexts].map(([name, { required, context }]) =>
					httpsListener(name, portOf(name), DIRECT, {
						name: 'tls',
						typed_config: {
							'@type': DOWNSTREAM_TLS,
							require_client_certificate: required,
							common_tls_context: {
								tls_certificates: [certificateJson(pki.peer('right'))],
								validation_context: context,
							},
						},
					}),
				),
			[...contexts.keys()],
			{},
		);
	}, 60_000);
	afterAll(() => Promise.all([both?.weft.stop(), both?.envoy.stop()]));

	test('weft decides as Envoy does', async () => {
		const decide = (where: Running) => (context: string, peer: string) =>
			ask(where.port(context), pki.peers.get(peer) ?? null);
		const peers = pki.peers.keys();
		const names = [...peers];
		const envoy = await outcomes(contexts.keys(), names, decide(both.envoy));
		const weft = await outcomes(contexts.keys(), names, decide(both.weft));
		expect(weft).toEqual(envoy);
		const count = (wanted: Outcome) => Object.values(envoy).filter((one) => one === wanted).length;
		expect(count('accepted')).toBeGreaterThan(100);
		expect(count('refused')).toBeGreaterThan(100);
	}, 120_000);
});

describeWithPeers(['envoy'], 'certificates of servers', () => {
	let pki: Pki;
	let both: Awaited<ReturnType<typeof startBoth>>;
	let contexts: ReadonlyMap<string, object>;
	const servers = new Map<string, { readonly server: Server; readonly port: number }>();

	beforeAll(async () => {
		pki = await makePki();
		contexts = new Map([...validationContexts(pki)].filter(([name]) => !name.startsWith('depth')));
		for (const [name, certificate] of pki.peers) {
			if (certificate === null) continue;
			const server = createServer({ cert: certificate.certificatePem, key: certificate.privateKeyPem }, (socket) => {
				socket.on('error', () => {});
				socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'));
			});
			server.on('tlsClientError', () => {});
			await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
			const address = server.address();
			servers.set(name, { server, port: typeof address === 'object' && address !== null ? address.port : 0 });
		}
		const clusters: object[] = [];
		const routes: object[] = [];
		[...contexts].forEach(([, validation_context], c) => {
			[...servers].forEach(([, { port }], s) => {
				const name = `${c}-${s}`;
				routes.push({ match: { path: `/${name}` }, route: { cluster: name } });
				clusters.push({
					name,
					type: 'STATIC',
					connect_timeout: '20s',
					load_assignment: {
						cluster_name: name,
						endpoints: [
							{
								lb_endpoints: [
									{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } } },
								],
							},
						],
					},
					transport_socket: {
						name: 'tls',
						typed_config: { '@type': UPSTREAM_TLS, sni: 'a.example', common_tls_context: { validation_context } },
					},
				});
			});
		});
		both = await startBoth((portOf) => [httpsListener('test', portOf('test'), routes)], ['test'], { clusters });
	}, 60_000);
	afterAll(async () => {
		for (const { server } of servers.values()) server.close();
		await Promise.all([both?.weft.stop(), both?.envoy.stop()]);
	});

	test('weft decides as Envoy does', async () => {
		const contextNames = [...contexts.keys()];
		const serverNames = [...servers.keys()];
		const decide = (where: Running) => async (context: string, peer: string) => {
			const path = `/${contextNames.indexOf(context)}-${serverNames.indexOf(peer)}`;
			const { status } = await fetch(`http://127.0.0.1:${where.port('test')}${path}`);
			return status === 200 ? 'accepted' : 'refused';
		};
		const envoy = await outcomes(contextNames, serverNames, decide(both.envoy));
		const weft = await outcomes(contextNames, serverNames, decide(both.weft));
		expect(weft).toEqual(envoy);
	}, 120_000);
});
