// What a connection manager makes of names, paths and the client's identity: weft and real Envoy,
// the same bootstrap, the same bytes.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { connect } from 'node:tls';
import { TestAuthority, type TestCertificate } from '../../src/net/testing-certificates.ts';
import { type Proxies, type Side, shownAnswer, shownRequest, startProxies } from '../support/differential.ts';
import { describeWithPeers } from '../support/peers.ts';
import { exchange, okResponse, type RawUpstream, rawUpstream } from '../support/raw-http.ts';

const get = (host: string, path = '/', more = ''): string =>
	`GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n${more}\r\n`;

const MANAGERS = {
	'trailing dot': { strip_trailing_host_dot: true },
	'trailing dot and port': { strip_trailing_host_dot: true, strip_any_host_port: true },
	'matching port': { strip_matching_host_port: true },
	redirect: { path_with_escaped_slashes_action: 'UNESCAPE_AND_REDIRECT' },
	'redirect to the normal form': {
		path_with_escaped_slashes_action: 'UNESCAPE_AND_REDIRECT',
		normalize_path: true,
		merge_slashes: true,
	},
	'port, trusting': { append_x_forwarded_port: true },
	'port, edge': { append_x_forwarded_port: true, use_remote_address: true },
	'port, hops': { append_x_forwarded_port: true, use_remote_address: true, xff_num_trusted_hops: 1 },
	'mapped addresses': { represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true, use_remote_address: true },
	'HTTP/1.0': { http_protocol_options: { accept_http_10: true, default_host_for_http_10: 'default.example' } },
	certificate: {
		forward_client_cert_details: 'SANITIZE_SET',
		set_current_client_cert_details: { cert: true, subject: true, uri: true, dns: true },
	},
};

const NAMES = ['a.b', 'a.b.', 'a.b.:80', 'a.b..', '1.2.3.4.:5', '[::1]', '[::1]:80'];
const PATHS = ['/a%2Fb', '/a%2f../c?x=%2f', '/a%5Cb', '/a//b', '/a%2F%2Fb', '/a/../b'];

const CASES: Readonly<Partial<Record<keyof typeof MANAGERS, readonly string[]>>> = {
	'trailing dot': NAMES.map((name) => get(name)),
	'trailing dot and port': NAMES.map((name) => get(name)),
	'matching port': NAMES.map((name) => get(name)),
	redirect: PATHS.map((path) => get('h', path)),
	'redirect to the normal form': PATHS.map((path) => get('h', path)),
	'port, trusting': [get('h'), get('h', '/', 'x-forwarded-port: 77\r\n')],
	'port, edge': [get('h'), get('h', '/', 'x-forwarded-port: 77\r\n')],
	'port, hops': [get('h'), get('h', '/', 'x-forwarded-port: 77\r\n')],
	'mapped addresses': [get('h')],
	'HTTP/1.0': [
		'GET / HTTP/1.0\r\n\r\n',
		'GET / HTTP/1.0\r\nhost: z\r\n\r\n',
		'GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n',
	],
};

describeWithPeers(['envoy'], 'requests as a connection manager takes them', () => {
	let upstream: RawUpstream;
	let proxies: Proxies;
	let authority: TestAuthority;
	let client: TestCertificate;

	beforeAll(async () => {
		authority = await TestAuthority.create();
		const server = await authority.issue({ name: 'server', uris: ['spiffe://t/server'], dns: ['server'] });
		client = await authority.issue({
			name: 'client, "quoted"',
			uris: ['spiffe://t/a', 'spiffe://t/b'],
			dns: ['c', 'd'],
		});
		upstream = await rawUpstream(() => okResponse('fine'));
		proxies = await startProxies({
			managers: () => MANAGERS,
			clusters: { a: upstream.port },
			chainFields: {
				certificate: {
					transport_socket: {
						name: 'tls',
						typed_config: {
							'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
							require_client_certificate: true,
							common_tls_context: {
								tls_certificates: [
									{
										certificate_chain: { inline_string: server.certificatePem },
										private_key: { inline_string: server.privateKeyPem },
									},
								],
								validation_context: { trusted_ca: { inline_string: authority.certificatePem } },
							},
						},
					},
				},
			},
		});
	}, 60_000);

	afterAll(async () => {
		await proxies?.stop();
		upstream?.stop();
	});

	async function observe(side: Side, variant: string, bytes: string): Promise<string[]> {
		upstream.seen.length = 0;
		const answer = shownAnswer(await exchange(side.port(variant), bytes));
		const port = String(side.port(variant));
		// The version of a response to HTTP/1.0 is each one's own (RFC 9110 §6.2 wants the highest).
		return [answer.replace(/HTTP\/1\.\d/g, 'HTTP/1.x'), ...upstream.seen.map(shownRequest)].map((text) =>
			text.replaceAll(port, 'PORT').replace(/^date: .*\n/gm, ''),
		);
	}

	for (const [variant, requests] of Object.entries(CASES)) {
		for (const bytes of requests) {
			test(`${variant}: ${JSON.stringify(bytes)}`, async () => {
				expect(await observe(proxies.weft, variant, bytes)).toEqual(await observe(proxies.envoy, variant, bytes));
			});
		}
	}

	test('the matching port goes', async () => {
		const ask = (side: Side): Promise<string[]> =>
			observe(side, 'matching port', get(`x.example:${side.port('matching port')}`));
		expect(await ask(proxies.weft)).toEqual(await ask(proxies.envoy));
	});

	test('who the client proved to be', async () => {
		const ask = async (side: Side): Promise<string | undefined> => {
			upstream.seen.length = 0;
			await new Promise<void>((resolve, reject) => {
				const socket = connect({
					port: side.port('certificate'),
					host: '127.0.0.1',
					ca: authority.certificatePem,
					cert: client.certificatePem,
					key: client.privateKeyPem,
					servername: 'server',
				});
				socket.on('error', reject);
				socket.on('close', () => resolve());
				socket.on('secureConnect', () => socket.write(get('h', '/', 'x-forwarded-client-cert: By=nobody\r\n')));
				socket.resume();
			});
			return upstream.seen[0]?.headers.find(([name]) => name === 'x-forwarded-client-cert')?.[1];
		};
		const theirs = await ask(proxies.envoy);
		expect(theirs).toContain('Cert="-----BEGIN%20CERTIFICATE-----%0A');
		expect(await ask(proxies.weft)).toBe(theirs!);
	});
});
