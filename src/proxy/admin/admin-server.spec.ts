// The admin interface's answers, without sockets.

import { afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { fromJson, fromJsonString, type JsonObject } from '@bufbuild/protobuf';
import { BootstrapSchema } from '../../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { RouteConfigurationSchema } from '../../generated/envoy/config/route/v3/route_pb.ts';
import { SecretSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import type { SmallRequest } from '../../http1/small-server.ts';
import type { Address, Connection } from '../../net/network.ts';
import { SimulatedNetwork } from '../../net/simulated-network.ts';
import { TestAuthority, type TestCertificate } from '../../net/testing-certificates.ts';
import { ConfigError } from '../../std/errors.ts';
import { logSink } from '../../std/log.ts';
import { staticCluster, TestBed } from '../cluster/testing-upstream.ts';
import { ConfigSources } from '../config-source.ts';
import { SecretManager } from '../tls/secret-manager.ts';
import { typeRegistry } from '../type-registry.ts';
import { handleAdmin, startAdminServer } from './admin-server.ts';
import type { AdminState, ServerState } from './admin-state.ts';

let pair: TestCertificate;
const level = logSink.level;

beforeAll(async () => {
	pair = await (await TestAuthority.create()).issue({ uris: ['spiffe://mesh/ns/a/sa/b'], dns: ['a.example'] });
});

afterEach(() => {
	logSink.level = level;
});

function setUp() {
	const bed = new TestBed();
	bed.manager.addStatic(staticCluster([9000], { metadata: { filter_metadata: { a: { b: 'c' } } } }));
	bed.manager.start(null);
	const secret = {
		name: 's',
		tls_certificate: {
			certificate_chain: { inline_string: pair.certificatePem },
			private_key: { inline_string: pair.privateKeyPem },
		},
	};
	const secrets = new SecretManager(new ConfigSources(() => bed.ads), null, () => 0);
	secrets.addStatic(fromJson(SecretSchema, secret));
	const calls: string[] = [];
	let now: ServerState = 'LIVE';
	const state: AdminState = {
		clock: bed.network.clock,
		registry: bed.registry,
		types: typeRegistry,
		bootstrap: fromJson(BootstrapSchema, { node: { id: 'n' }, static_resources: { secrets: [secret] } }),
		version: 'weft/1',
		startedMs: bed.network.clock.wallMs() - 5000,
		firstStartedMs: bed.network.clock.wallMs() - 5000,
		commandLine: { concurrency: 1 },
		clusters: bed.manager,
		secrets,
		actions: {
			drainListeners: (options) => void calls.push(`drain ${JSON.stringify(options)}`),
			healthCheckFail: () => void calls.push('fail'),
			healthCheckOk: () => void calls.push('ok'),
			reopenLogs: () => void calls.push('reopenLogs'),
			quit: () => void calls.push('quit'),
		},
		state: () => now,
		listeners: () => [
			{
				name: 'l',
				addresses: [{ kind: 'ip', host: '127.0.0.1', port: 80 }],
				message: fromJson(BootstrapSchema, { static_resources: { listeners: [{ name: 'l' }] } }).staticResources!
					.listeners[0]!,
				version: '',
				isStatic: true,
				lastUpdatedMs: 0,
				certificates: [{ certificateChainPem: pair.certificatePem, rootsPem: '' }],
			},
		],
		routes: () => [],
		ads: () => null,
	};
	const call = (method: string, target: string, more: Partial<SmallRequest> = {}) => {
		const url = new URL(target, 'http://localhost');
		const local: Address = { kind: 'ip', host: '127.0.0.1', port: 9901 };
		return handleAdmin(
			{
				method,
				path: url.pathname,
				query: url.searchParams,
				authority: '127.0.0.1:9901',
				headers: [],
				body: new Uint8Array(),
				connection: { local } as Connection,
				...more,
			},
			state,
		);
	};
	return {
		bed,
		state,
		call,
		calls,
		setState: (next: ServerState) => {
			now = next;
		},
	};
}

const parsed = (response: { body: string | Uint8Array }) => JSON.parse(String(response.body)) as JsonObject;

describe('reading', () => {
	test('/ready says the state, and is 200 only when live', () => {
		const { call, setState } = setUp();
		expect(call('GET', '/ready')).toMatchObject({ status: 200, body: 'LIVE\n' });
		setState('PRE_INITIALIZING');
		expect(call('GET', '/ready')).toMatchObject({ status: 503, body: 'PRE_INITIALIZING\n' });
	});

	test('/stats has Envoy names, filters, and knows what was used', () => {
		const { bed, call } = setUp();
		bed.manager.get('c')!.stats.countResponse(204);
		bed.manager.get('c')!.stats.observeDurationMs(3);
		const all = String(call('GET', '/stats').body);
		expect(all).toContain('cluster.c.membership_total: 1\n');
		expect(all).toContain('cluster.c.upstream_rq_2xx: 1\n');
		expect(all).toContain('cluster.c.upstream_rq_204: 1\n');
		expect(all).toContain('cluster_manager.active_clusters: 1\n');
		expect(all).toContain('cluster.c.upstream_rq_time: count(1)');
		expect(String(call('GET', '/stats?filter=membership_h').body)).toBe('cluster.c.membership_healthy: 1\n');
		expect(String(call('GET', '/stats?usedonly').body)).not.toContain('upstream_cx_total');
		expect(call('GET', '/stats?filter=%5B').status).toBe(400);
		expect(String(call('GET', '/stats/prometheus').body)).toContain(
			'envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="c"} 1',
		);
	});

	test('/config_dump shows no credential that a route sets or matches', () => {
		const { state, call } = setUp();
		const routes = {
			name: 'r',
			virtual_hosts: [
				{
					name: 'authorization',
					domains: ['shown.example'],
					request_headers_to_add: [
						{ header: { key: 'Authorization', value: 'set-secret' } },
						{ header: { key: 'cookie', raw_value: btoa('raw-secret') } },
						{ header: { key: 'x-plain', value: 'shown-value' } },
					],
					routes: [
						{
							match: {
								prefix: '/',
								headers: [
									{ name: 'authorization', string_match: { exact: 'match-secret' } },
									{ name: 'x-api-key', present_match: true },
								],
							},
							direct_response: { status: 200 },
						},
					],
				},
			],
		};
		const message = fromJsonString(RouteConfigurationSchema, JSON.stringify(routes));
		Object.assign(state, { routes: () => [{ message, version: '', isStatic: true, lastUpdatedMs: 0 }] });
		const body = String(call('GET', '/config_dump').body);
		for (const secret of ['set-secret', btoa('raw-secret'), 'match-secret']) expect(body).not.toContain(secret);
		for (const open of ['shown.example', 'shown-value', 'present_match']) expect(body).toContain(open);
	});

	test('/config_dump has every kind, and no private key', () => {
		const { call } = setUp();
		const body = String(call('GET', '/config_dump?include_eds').body);
		const types = (parsed({ body }).configs as JsonObject[]).map((config) => String(config['@type']).split('.').pop());
		expect(types).toEqual([
			'BootstrapConfigDump',
			'ClustersConfigDump',
			'EndpointsConfigDump',
			'ListenersConfigDump',
			'RoutesConfigDump',
			'SecretsConfigDump',
		]);
		expect(body).toContain('"filter_metadata"');
		expect(body).toContain('"port_value": 9000');
		expect(body).toContain('[redacted]');
		expect(body).not.toContain('PRIVATE KEY');
		expect(String(call('GET', '/config_dump').body)).not.toContain('EndpointsConfigDump');
	});

	test('/clusters in text and JSON', () => {
		const { call } = setUp();
		const text = String(call('GET', '/clusters').body);
		expect(text).toContain('c::default_priority::max_connections::1024\n');
		expect(text).toContain('c::added_via_api::false\n');
		expect(text).toContain('c::127.0.0.1:9000::health_flags::healthy\n');
		expect(parsed(call('GET', '/clusters?format=json'))).toMatchObject({
			cluster_statuses: [
				{ name: 'c', host_statuses: [{ weight: 1, health_status: { eds_health_status: 'HEALTHY' } }] },
			],
		});
	});

	test('/listeners, /certs, /server_info', () => {
		const { call } = setUp();
		expect(call('GET', '/listeners').body).toBe('l::127.0.0.1:80\n');
		const chain = (parsed(call('GET', '/certs')).certificates as JsonObject[])[0]!.cert_chain as JsonObject[];
		expect(chain[0]!.subject_alt_names).toEqual([{ uri: 'spiffe://mesh/ns/a/sa/b' }, { dns: 'a.example' }]);
		expect(parsed(call('GET', '/server_info'))).toMatchObject({
			version: 'weft/1',
			state: 'LIVE',
			uptime_current_epoch: '5s',
			node: { id: 'n' },
		});
	});

	test('an unknown path is 404 with the list', () => {
		const { call } = setUp();
		expect(call('GET', '/nothing')).toMatchObject({ status: 404, body: expect.stringContaining('/config_dump') });
		expect(call('GET', '/constructor').status).toBe(404);
	});
});

describe('changing', () => {
	test('needs POST', () => {
		const { call, calls } = setUp();
		for (const path of ['/quitquitquit', '/drain_listeners', '/healthcheck/fail', '/logging?level=debug']) {
			expect(call('GET', path)).toMatchObject({ status: 405, headers: ['allow', 'POST'] });
		}
		expect(calls).toEqual([]);
		call('POST', '/drain_listeners?graceful');
		call('POST', '/healthcheck/fail');
		call('POST', '/healthcheck/ok');
		call('POST', '/quitquitquit');
		expect(calls).toEqual(['drain {"graceful":true,"inboundOnly":false}', 'fail', 'ok', 'quit']);
	});

	test('sets the log level', () => {
		const { call } = setUp();
		expect(call('POST', '/logging?level=error').status).toBe(200);
		expect(logSink.level).toBe('error');
		expect(call('POST', '/logging?level=loud').status).toBe(400);
	});

	test('is refused to web pages, by their origin or by the name they use', () => {
		const { call, calls } = setUp();
		expect(call('POST', '/quitquitquit', { headers: ['origin', 'http://evil.example'] }).status).toBe(403);
		expect(call('GET', '/config_dump', { authority: 'evil.example:9901' }).status).toBe(403);
		expect(call('GET', '/ready', { authority: 'localhost:9901' }).status).toBe(200);
		expect(call('GET', '/ready', { authority: '[::1]:9901' }).status).toBe(200);
		expect(calls).toEqual([]);
	});
});

test('only loopback and unix sockets are served', () => {
	const network = new SimulatedNetwork();
	for (const host of ['0.0.0.0', '::', '10.0.0.1']) {
		expect(() => startAdminServer(network, { kind: 'ip', host, port: 0 }, {} as AdminState)).toThrow(ConfigError);
	}
	for (const address of [
		{ kind: 'ip', host: '127.0.0.1', port: 0 },
		{ kind: 'pipe', path: '/tmp/weft-admin' },
	] as const) {
		startAdminServer(network, address, {} as AdminState).close();
	}
});
