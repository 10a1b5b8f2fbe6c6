// Listener filters, filter chains and network filters of a whole proxy, on the simulated network: each
// filter chain answers with its name.

import { afterEach, describe, expect, test } from 'bun:test';
import { fromJson, type JsonObject, toBinary } from '@bufbuild/protobuf';
import { ListenerSchema } from '../generated/envoy/config/listener/v3/listener_pb.ts';
import type { ClientTlsOptions } from '../net/network.ts';
import { SimulatedNetwork } from '../net/simulated-network.ts';
import { TestAuthority } from '../net/testing-certificates.ts';
import { Recorder } from '../net/testing-recorder.ts';
import { parseBootstrap } from '../proxy/bootstrap.ts';
import { typeRegistry } from '../proxy/type-registry.ts';
import { VirtualClock } from '../std/clock.ts';
import { SeededRandom } from '../std/random.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import type { DiscoveryClient, ResourceSubscriber } from '../xds/discovery-client.ts';
import { type RunningProxy, startProxy } from './proxy.ts';

const TYPE = 'type.googleapis.com/envoy';
const PORT = 15001;
let world: World | null = null;

afterEach(async () => {
	await world?.proxy.stop();
	world = null;
});

class World {
	/** Real time, at which certificates are good. */
	readonly clock = new VirtualClock(Date.now());
	readonly network = new SimulatedNetwork({ seed: 11, clock: this.clock });
	readonly registry = new MetricRegistry();
	readonly proxy: RunningProxy;

	constructor(...listeners: readonly JsonObject[]) {
		const bootstrap = { static_resources: { listeners, clusters: [] } };
		this.proxy = startProxy({
			bootstrap: parseBootstrap(JSON.stringify(bootstrap), 'b'),
			network: this.network,
			random: new SeededRandom(1),
			registry: this.registry,
		});
		world = this;
	}

	connect(port: number, text: string | null, tls?: ClientTlsOptions): Recorder {
		const client = new Recorder();
		const address = { kind: 'ip', host: '127.0.0.1', port } as const;
		const connection = this.network.connect(tls === undefined ? { address } : { address, tls }, client);
		if (text !== null) connection.write(Buffer.from(text, 'latin1'));
		return client;
	}

	/** What comes back, when the connection has ended. */
	ask(port: number, text: string | null, tls?: ClientTlsOptions): string {
		const client = this.connect(port, text, tls);
		for (let ms = 0; ms < 20_000 && !client.isEnded && !client.isClosed; ms += 10) this.clock.advance(10);
		client.connection?.end();
		this.clock.advance(100);
		return client.text;
	}

	counter(name: string): number {
		let sum = 0;
		for (const family of this.registry.all()) {
			if (family.name !== name) continue;
			for (const { instrument } of family.series()) if ('value' in instrument) sum += instrument.value;
		}
		return sum;
	}
}

function answers(text: string, ...before: readonly JsonObject[]): JsonObject {
	const config = {
		'@type': `${TYPE}.extensions.filters.network.direct_response.v3.Config`,
		response: { inline_string: text },
	};
	return { filters: [...before, { name: 'answer', typed_config: config }] };
}

function listener(name: string, port: number, more: JsonObject): JsonObject {
	return { name, address: { socket_address: { address: '127.0.0.1', port_value: port } }, ...more };
}

const DETECT: JsonObject[] = [
	{
		name: 'tls',
		typed_config: { '@type': `${TYPE}.extensions.filters.listener.tls_inspector.v3.TlsInspector` },
	},
	{
		name: 'http',
		typed_config: { '@type': `${TYPE}.extensions.filters.listener.http_inspector.v3.HttpInspector` },
	},
];

describe('TLS that was looked at', () => {
	test('goes on in the chain of its server name, with its certificate, and rules know the client', async () => {
		const authority = await TestAuthority.create();
		const [a, b, friend, stranger] = await Promise.all([
			authority.issue({ dns: ['a.example'] }),
			authority.issue({ dns: ['b.example'] }),
			authority.issue({ uris: ['spiffe://td/ns/shop/sa/friend'] }),
			authority.issue({ uris: ['spiffe://td/ns/shop/sa/stranger'] }),
		]);
		const socket = (certificate: typeof a): JsonObject => ({
			name: 'tls',
			typed_config: {
				'@type': `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
				require_client_certificate: true,
				common_tls_context: {
					tls_certificates: [
						{
							certificate_chain: { inline_string: certificate.certificatePem },
							private_key: { inline_string: certificate.privateKeyPem },
						},
					],
					validation_context: { trusted_ca: { inline_string: authority.certificatePem } },
				},
			},
		});
		const rules: JsonObject = {
			name: 'rbac',
			typed_config: {
				'@type': `${TYPE}.extensions.filters.network.rbac.v3.RBAC`,
				stat_prefix: 'tcp.',
				rules: {
					policies: {
						friends: {
							permissions: [{ requested_server_name: { exact: 'b.example' } }],
							principals: [{ authenticated: { principal_name: { suffix: '/sa/friend' } } }],
						},
					},
				},
			},
		};
		const world = new World(
			listener('l', PORT, {
				listener_filters: DETECT,
				filter_chains: [
					{
						filter_chain_match: { server_names: ['a.example'] },
						transport_socket: socket(a),
						...answers('a'),
					},
					{
						filter_chain_match: { server_names: ['*.example'] },
						transport_socket: socket(b),
						...answers('b', rules),
					},
					{ filter_chain_match: { transport_protocol: 'raw_buffer' }, ...answers('plain') },
				],
			}),
		);
		const ask = (serverName: string, who: typeof friend): string => {
			const verifyPeer = (peer: { dnsSans: readonly string[] }): string | null =>
				peer.dnsSans.includes(serverName) ? null : 'another certificate';
			return world.ask(PORT, 'hello', {
				rootsPem: authority.certificatePem,
				serverName,
				verifyPeer,
				certificateChainPem: who.certificatePem,
				privateKeyPem: who.privateKeyPem,
			});
		};
		expect(ask('a.example', stranger)).toBe('a');
		expect(ask('b.example', friend)).toBe('b');
		expect(ask('b.example', stranger)).toBe('');
		expect(world.ask(PORT, 'hello\n')).toBe('plain');
		expect(world.counter('envoy_rbac_allowed')).toBe(1);
		expect(world.counter('envoy_rbac_denied')).toBe(1);
		expect(world.counter('envoy_listener_ssl_handshake')).toBe(3);
	});
});

describe('a client that says nothing', () => {
	const silent = (more: JsonObject) =>
		new World(listener('l', PORT, { listener_filters: DETECT, filter_chains: [answers('late')], ...more }));

	test('is closed after 15 s', async () => {
		const world = silent({});
		const client = world.connect(PORT, null);
		world.clock.advance(14_900);
		expect(client.isClosed).toBe(false);
		expect(world.counter('envoy_listener_downstream_pre_cx_active')).toBe(1);
		world.clock.advance(200);
		// Closing is told in the next turn.
		await Promise.resolve();
		expect(world.counter('envoy_listener_downstream_pre_cx_timeout')).toBe(1);
		expect(world.counter('envoy_listener_downstream_pre_cx_active')).toBe(0);
		expect(world.counter('envoy_listener_downstream_cx_total')).toBe(0);
		world.clock.advance(100);
		expect(client.isClosed).toBe(true);
	});

	test('goes on as TCP where that is wanted', () => {
		const world = silent({ continue_on_listener_filters_timeout: true, listener_filters_timeout: '1s' });
		expect(world.ask(PORT, null)).toBe('late');
		expect(world.counter('envoy_listener_downstream_pre_cx_timeout')).toBe(1);
	});

	test('waits for ever without a timeout, and until the listener closes', async () => {
		const world = silent({ listener_filters_timeout: '0s' });
		const client = world.connect(PORT, 'GET');
		world.clock.advance(100_000);
		expect(client.isClosed).toBe(false);
		expect(world.proxy.listeners.connectionCount()).toBe(1);
		await world.proxy.stop();
		world.clock.advance(100);
		expect(client.isClosed).toBe(true);
	});

	test('and ends is gone', async () => {
		const world = silent({});
		const client = world.connect(PORT, 'GET');
		world.clock.advance(100);
		client.connection!.end();
		world.clock.advance(100);
		await Promise.resolve();
		expect(world.counter('envoy_listener_downstream_listener_filter_remote_close')).toBe(1);
		expect(world.proxy.listeners.connectionCount()).toBe(0);
	});
});

describe('a connection that was redirected', () => {
	const ORIGINAL: JsonObject = {
		name: 'original_dst',
		typed_config: { '@type': `${TYPE}.extensions.filters.listener.original_dst.v3.OriginalDst` },
	};
	const door = { kind: 'ip', host: '127.0.0.1', port: PORT } as const;
	const wanted = (port: number) => ({ kind: 'ip', host: '127.0.0.1', port }) as const;

	test('is matched by where it was headed', () => {
		const world = new World(
			listener('l', PORT, {
				listener_filters: [ORIGINAL],
				filter_chains: [{ filter_chain_match: { destination_port: 81 }, ...answers('81') }, answers('any')],
			}),
		);
		for (const port of [81, 82]) world.network.redirect(wanted(port), door);
		expect(world.ask(81, null)).toBe('81');
		expect(world.ask(82, null)).toBe('any');
		expect(world.ask(PORT, null)).toBe('any');
	});

	test('goes to the listener of that address, which looks at it with filters of its own', () => {
		const world = new World(
			listener('door', PORT, { use_original_dst: true, filter_chains: [answers('door')] }),
			listener('virtual', 81, {
				bind_to_port: false,
				listener_filters: DETECT,
				filter_chains: [
					{ filter_chain_match: { application_protocols: ['http/1.1'] }, ...answers('http') },
					answers('virtual'),
				],
			}),
		);
		for (const port of [81, 82]) world.network.redirect(wanted(port), door);
		expect(world.ask(81, 'GET / HTTP/1.1\r\n')).toBe('http');
		expect(world.ask(81, '\0\n')).toBe('virtual');
		expect(world.ask(82, null)).toBe('door');
	});
});

function lds(world: World) {
	let subscriber: ResourceSubscriber | null = null;
	const client = {
		subscribe(_type: string, _names: unknown, given: ResourceSubscriber) {
			subscriber = given;
			return { setNames() {}, close() {} };
		},
	} as unknown as DiscoveryClient;
	void world.proxy.listeners.follow(client, 0);
	return (...listeners: readonly JsonObject[]): string | null =>
		subscriber!.onUpdate({
			removed: [],
			updated: listeners.map((one) => ({
				name: String(one.name),
				version: '1',
				value: toBinary(ListenerSchema, fromJson(ListenerSchema, one, { registry: typeRegistry })),
			})) as never,
		});
}

describe('rules that change under a connection', () => {
	const rbac = (action: string): JsonObject => ({
		name: 'rbac',
		typed_config: {
			'@type': `${TYPE}.extensions.filters.network.rbac.v3.RBAC`,
			stat_prefix: 'rbac',
			rules: { action, policies: { all: { permissions: [{ any: true }], principals: [{ any: true }] } } },
		},
	});
	const http = (body: string): JsonObject => ({
		name: 'http',
		typed_config: {
			'@type': `${TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
			stat_prefix: 's',
			http_filters: [{ name: 'router', typed_config: { '@type': `${TYPE}.extensions.filters.http.router.v3.Router` } }],
			route_config: {
				virtual_hosts: [
					{
						name: 'v',
						domains: ['*'],
						routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: body } } }],
					},
				],
			},
		},
	});
	const chain = (action: string, body: string): JsonObject =>
		listener('l', PORT, { filter_chains: [{ filters: [rbac(action), http(body)] }] });

	test('end it; other changes are there with its next request', async () => {
		const world = new World();
		const push = lds(world);
		const update = async (one: JsonObject): Promise<void> => {
			expect(push(one)).toBeNull();
			await world.proxy.listeners.warm();
		};
		await update(chain('ALLOW', 'first'));
		const get = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
		const client = world.connect(PORT, get);
		world.clock.advance(100);
		expect(client.text).toEndWith('first');
		await update(chain('ALLOW', 'second'));
		client.connection!.write(Buffer.from(get));
		world.clock.advance(100);
		expect(client.text).toEndWith('second');
		expect(client.isEnded).toBe(false);
		await update(chain('DENY', 'second'));
		world.clock.advance(100);
		expect(client.isEnded).toBe(true);
	});
});

describe('addresses', () => {
	test('two listeners have never the same, bound or not', () => {
		for (const bound of [true, false]) {
			expect(
				() =>
					new World(
						listener('one', PORT, { filter_chains: [answers('one')], bind_to_port: bound }),
						listener('two', PORT, { filter_chains: [answers('two')], bind_to_port: false }),
					),
			).toThrow(/listener "two".*address.*"one" has it/);
		}
	});

	test('an update may swap them', () => {
		const world = new World();
		const update = lds(world);
		const one = (port: number) => listener('one', port, { filter_chains: [answers('one')] });
		const two = (port: number) => listener('two', port, { filter_chains: [answers('two')] });
		expect(update(one(81), two(82))).toBeNull();
		expect(update(two(81), one(83))).toBeNull();
		expect(world.ask(81, null)).toBe('two');
		expect(world.ask(83, null)).toBe('one');
		expect(update(two(83))).toMatch(/"one" has it/);
		expect(world.ask(81, null)).toBe('two');
	});
});
