// PROXY heads where the connection is TLS: before the handshake they say who the client is, behind it they are bytes of
// a request, which they are not. weft and real Envoy on one bootstrap. Plain: test/corpus/proxy-heads.ts.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import { nextTurn } from '../support/next-turn.ts';
import { describeWithPeers } from '../support/peers.ts';
import { DOWNSTREAM_TLS, httpsListener, type Running, startBoth } from '../support/tls-proxies.ts';

const PROXY_PROTOCOL = 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol';
const V1 = 'PROXY TCP4 192.0.2.7 10.1.2.3 4000 443\r\n';
const V2 = '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\x00\x02\x07\x0a\x01\x02\x03\x0f\xa0\x01\xbb';
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const ROUTES = [
	{
		match: { prefix: '/' },
		direct_response: { status: 200 },
		response_headers_to_add: [{ header: { key: 'x-client', value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' } }],
	},
];
const LIMIT_MS = 20_000;

interface Case {
	/** Before the handshake; null: there is none after it either. */
	readonly plain: string;
	/** Within TLS; null: no TLS. */
	readonly secret: string | null;
	readonly expected: string;
}

const CASES: Readonly<Record<string, Case>> = {
	'v1, then TLS': { plain: V1, secret: GET, expected: '200 192.0.2.7' },
	'v2, then TLS': { plain: V2, secret: GET, expected: '200 192.0.2.7' },
	'TLS without a head': { plain: '', secret: GET, expected: 'closed' },
	'v1 behind TLS alone': { plain: '', secret: V1 + GET, expected: 'closed' },
	'v1, TLS, and v1 again': { plain: V1, secret: V1 + GET, expected: '400' },
	'v1, TLS, and v2': { plain: V1, secret: V2 + GET, expected: '400' },
	'v1 twice, then TLS': { plain: V1 + V1, secret: GET, expected: 'closed' },
	'v1, then a request in plain text': { plain: V1 + GET, secret: null, expected: 'closed' },
};

/** The status, and whom the proxy takes for the client; `closed`. `cut`: each byte before TLS by itself. */
async function ask(port: number, { plain, secret }: Case, cut: boolean): Promise<string> {
	const socket = connectTcp(port, '127.0.0.1');
	socket.setNoDelay(true);
	let received = '';
	return await new Promise<string>((resolve, reject) => {
		const timer = setTimeout(() => reject(new Error(`nothing within ${LIMIT_MS} ms`)), LIMIT_MS);
		const finish = (outcome: string): void => {
			clearTimeout(timer);
			socket.destroy();
			resolve(outcome);
		};
		const listen = (on: Socket): void => {
			on.on('data', (bytes) => {
				received += bytes.toString('latin1');
				const status = /^HTTP\/1\.1 (\d+)/.exec(received)?.[1];
				if (status === undefined || !received.includes('\r\n\r\n')) return;
				const client = /x-client: (\S+)/.exec(received)?.[1];
				finish(client === undefined ? status : `${status} ${client}`);
			});
			on.on('error', () => finish('closed'));
			on.on('close', () => finish('closed'));
		};
		socket.on('error', () => finish('closed'));
		socket.on('close', () => finish('closed'));
		socket.on('connect', async () => {
			const parts = cut ? [...plain] : plain === '' ? [] : [plain];
			for (const part of parts) {
				if (!socket.destroyed) socket.write(Buffer.from(part, 'latin1'));
				await nextTurn();
			}
			if (secret === null) {
				listen(socket);
				return;
			}
			if (socket.destroyed) return;
			const secure = connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: [] });
			listen(secure);
			secure.on('secureConnect', () => secure.write(Buffer.from(secret, 'latin1')));
		});
	});
}

describeWithPeers(['envoy'], 'PROXY heads and TLS', () => {
	const proxies = new Map<string, Running>();

	beforeAll(async () => {
		const leaf = await (await TestAuthority.create('root')).issue({ name: 'a', dns: ['a.example'] });
		const tls = {
			name: 'tls',
			typed_config: {
				'@type': DOWNSTREAM_TLS,
				common_tls_context: {
					tls_certificates: [
						{
							certificate_chain: { inline_string: leaf.certificatePem },
							private_key: { inline_string: leaf.privateKeyPem },
						},
					],
				},
			},
		};
		const listenerFilters = [{ name: 'proxy_protocol', typed_config: { '@type': PROXY_PROTOCOL } }];
		const { weft, envoy } = await startBoth(
			(portOf) => [{ ...httpsListener('test', portOf('test'), ROUTES, tls), listener_filters: listenerFilters }],
			['test'],
			{},
		);
		proxies.set('weft', weft).set('envoy', envoy);
	}, 60_000);

	afterAll(async () => {
		for (const proxy of proxies.values()) await proxy.stop();
	});

	for (const [name, one] of Object.entries(CASES)) {
		for (const peer of ['weft', 'envoy']) {
			test(`${name}: ${peer}`, async () => {
				const port = proxies.get(peer)!.port('test');
				expect(await ask(port, one, false)).toBe(one.expected);
				expect(await ask(port, one, true)).toBe(one.expected);
			}, 60_000);
		}
	}
});
