// Upgrades and CONNECT, by connection manager and by route: weft and real Envoy, the same
// bootstrap, the same bytes through the tunnel.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createServer, type Server, type Socket } from 'node:net';
import { type Proxies, routesOf, type Side, shownAnswer, shownRequest, startProxies } from '../support/differential.ts';
import { describeWithPeers } from '../support/peers.ts';
import { RawConnection } from '../support/raw-connection.ts';
import { okResponse, type RawUpstream, rawUpstream } from '../support/raw-http.ts';

const connectRoute = (cluster: string, upgrade: object): object => ({
	match: { connect_matcher: {} },
	route: { cluster, upgrade_configs: [{ upgrade_type: 'CONNECT', ...upgrade }] },
});
const rest = { match: { prefix: '/' }, route: { cluster: 'a' } };

const MANAGERS = {
	none: { route_config: routesOf(rest) },
	'of the manager': { upgrade_configs: [{ upgrade_type: 'websocket' }], route_config: routesOf(rest) },
	'of the route': {
		route_config: routesOf(
			{ match: { prefix: '/ws' }, route: { cluster: 'a', upgrade_configs: [{ upgrade_type: 'websocket' }] } },
			rest,
		),
	},
	'not of the route': {
		upgrade_configs: [{ upgrade_type: 'websocket' }],
		route_config: routesOf(
			{
				match: { prefix: '/ws' },
				route: { cluster: 'a', upgrade_configs: [{ upgrade_type: 'websocket', enabled: false }] },
			},
			rest,
		),
	},
	'connect without a route': { upgrade_configs: [{ upgrade_type: 'CONNECT' }], route_config: routesOf(rest) },
	'connect not allowed': {
		route_config: routesOf({ match: { connect_matcher: {} }, route: { cluster: 'a' } }, rest),
	},
	'connect passed on': { route_config: routesOf(connectRoute('a', {}), rest) },
	'connect ended': { route_config: routesOf(connectRoute('echo', { connect_config: {} }), rest) },
	'connect to nobody': { route_config: routesOf(connectRoute('refused', { connect_config: {} }), rest) },
};

const UPGRADE = 'GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';
const CONNECT = 'CONNECT x.example:443 HTTP/1.1\r\nhost: x.example:443\r\n\r\n';

describeWithPeers(['envoy'], 'upgrades and CONNECT', () => {
	let upstream: RawUpstream;
	let echo: Server;
	let proxies: Proxies;
	const sockets = new Set<Socket>();

	beforeAll(async () => {
		upstream = await rawUpstream(({ method, headers }) => {
			if (method === 'CONNECT') return 'HTTP/1.1 200 OK\r\nx-tunnel: theirs\r\n\r\nhello';
			const upgrades = headers.some(([name]) => name === 'upgrade');
			return upgrades
				? 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello'
				: okResponse('plain');
		});
		echo = createServer({ allowHalfOpen: true }, (socket) => {
			sockets.add(socket);
			socket.on('error', () => {});
			socket.pipe(socket);
		});
		await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
		const address = echo.address();
		const echoPort = typeof address === 'object' ? (address?.port ?? 0) : 0;
		proxies = await startProxies({
			managers: () => MANAGERS,
			clusters: { a: upstream.port, echo: echoPort, refused: 1 },
		});
	}, 60_000);

	afterAll(async () => {
		await proxies?.stop();
		upstream?.stop();
		for (const socket of sockets) socket.destroy();
		echo?.close();
	});

	/** The answer's head, the upstream's request, and what comes through the tunnel. */
	async function ask(side: Side, variant: string, bytes: string, tunnelled: RegExp): Promise<string[]> {
		upstream.seen.length = 0;
		const client = new RawConnection('127.0.0.1', side.port(variant));
		client.send(bytes);
		const head = await client.head();
		if (/^HTTP\/1\.1 (101|200)/.test(head) && tunnelled.source.includes('ping')) client.send('ping');
		if (/^HTTP\/1\.1 (101|200)/.test(head)) await client.until(tunnelled);
		client.close();
		// After an upgrade that it refuses Envoy closes; weft takes the next request.
		const shown = shownAnswer(Buffer.from(head, 'latin1')).replace(/(403\n)connection: close\n/, '$1');
		return [shown, ...upstream.seen.map(shownRequest)];
	}

	for (const variant of ['none', 'of the manager', 'of the route', 'not of the route']) {
		test(`an upgrade: ${variant}`, async () => {
			const theirs = await ask(proxies.envoy, variant, UPGRADE, /hello/);
			expect(await ask(proxies.weft, variant, UPGRADE, /hello/)).toEqual(theirs);
		});
	}

	for (const variant of [
		'none',
		'connect without a route',
		'connect not allowed',
		'connect passed on',
		'connect to nobody',
	]) {
		test(`CONNECT: ${variant}`, async () => {
			const theirs = await ask(proxies.envoy, variant, CONNECT, /hello/);
			expect(await ask(proxies.weft, variant, CONNECT, /hello/)).toEqual(theirs);
		});
	}

	test('CONNECT: connect ended, bytes both ways, and the end', async () => {
		const theirs = await ask(proxies.envoy, 'connect ended', CONNECT, /ping/);
		expect(await ask(proxies.weft, 'connect ended', CONNECT, /ping/)).toEqual(theirs);
		const client = new RawConnection('127.0.0.1', proxies.weft.port('connect ended'));
		// A client that does not wait for its tunnel.
		client.send(`${CONNECT}early `);
		await client.head();
		const large = 'x'.repeat(2_000_000);
		client.send(large);
		client.end();
		expect(await client.rest()).toBe(`early ${large}`);
		client.close();
	});
});
