// A listener's connections while its configuration changes under them, on the simulated network.

import { describe, expect, test } from 'bun:test';
import { create } from '@bufbuild/protobuf';
import { ListenerSchema } from '../../generated/envoy/config/listener/v3/listener_pb.ts';
import type { Address, ConnectionHandler, ServerTlsOptions } from '../../net/network.ts';
import { SimulatedNetwork } from '../../net/simulated-network.ts';
import { TestAuthority } from '../../net/testing-certificates.ts';
import { Recorder } from '../../net/testing-recorder.ts';
import { VirtualClock } from '../../std/clock.ts';
import { logSink } from '../../std/log.ts';
import { SeededRandom } from '../../std/random.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import type { ConnectionInfo, NetworkFilter, ServedConnection } from '../network-filters/network-filter.ts';
import { ConnectionBudget } from '../overload/connection-budget.ts';
import { NO_OVERLOAD } from '../overload/overload-state.ts';
import { ActiveListener } from './active-listener.ts';
import type { FilterChain } from './filter-chain.ts';
import type { ListenerConfig } from './listener-config.ts';

const ADDRESS: Address = { kind: 'ip', host: '127.0.0.1', port: 15001 };
const SILENT: ConnectionHandler = { onConnect() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} };

/** Serves by noting it. */
class NotingFilter implements NetworkFilter {
	readonly kind = 'http';
	readonly ready = Promise.resolve();
	readonly served: string[] = [];
	/** Whether connections may go on with a next one. */
	handsOver = true;

	localUriSan = '';

	serve({ connection, onClosed, localUriSan }: ConnectionInfo): ServedConnection {
		this.served.push('served');
		this.localUriSan = localUriSan;
		connection.handler = { ...SILENT, onClose: onClosed };
		return { drain: () => void this.served.push('drained'), close: () => connection.reset() };
	}

	handOver(): boolean {
		return this.handsOver;
	}

	release(): void {}
}

function chain(
	identityKey: string,
	filter: NetworkFilter,
	tls: ServerTlsOptions | null | 'missing',
	admissionKey = 'all',
): FilterChain {
	return {
		contentKey: identityKey,
		identityKey,
		admissionKey,
		tls:
			tls === null
				? null
				: {
						current: () => (tls === 'missing' ? null : tls),
						close: () => {},
						subscribe: () => () => {},
						material,
						certificates: () => [],
					},
		filter,
	};
}

function material() {
	return { certificateChainPem: '', rootsPem: '' };
}

function config(...chains: FilterChain[]): ListenerConfig {
	return {
		name: 'l',
		address: ADDRESS,
		mode: 0,
		bindToPort: true,
		useOriginalDestination: false,
		inspection: { filters: [], timeoutMs: 0, continueOnTimeout: false },
		matcher: { find: () => chains[0] ?? null },
		chains,
		defaultChain: null,
		ignoresGlobalLimit: false,
		bypassesOverload: false,
		backlog: 0,
		bufferLimitBytes: null,
		statName: 'l',
		message: create(ListenerSchema, { name: 'l' }),
	};
}

class World {
	/** Real time, at which certificates are good. */
	readonly clock = new VirtualClock(Date.now());
	readonly network = new SimulatedNetwork({ seed: 3, clock: this.clock });
	readonly registry = new MetricRegistry();
	readonly listener = new ActiveListener(
		'l',
		this.network,
		this.registry,
		'l',
		{ forDestination: () => undefined, connectionsGone: () => {} },
		{ state: NO_OVERLOAD, connections: new ConnectionBudget(Number.POSITIVE_INFINITY, new Map()) },
		new SeededRandom(3),
		10_000,
	);

	connect(rootsPem: string): void {
		const tls = { rootsPem, serverName: '' };
		this.network.connect({ address: ADDRESS, tls }, SILENT);
	}

	counter(name: string): number {
		for (const family of this.registry.all()) {
			if (family.name !== name) continue;
			for (const { instrument } of family.series()) if ('value' in instrument) return instrument.value;
		}
		throw new Error(`no counter ${name}`);
	}
}

async function serverTls(): Promise<{ rootsPem: string; options: ServerTlsOptions }> {
	const authority = await TestAuthority.create();
	const { certificatePem, privateKeyPem } = await authority.issue({ dns: ['l'] });
	return { rootsPem: authority.certificatePem, options: { certificateChainPem: certificatePem, privateKeyPem } };
}

describe('an update while a client is in its TLS handshake', () => {
	for (const [what, identity, handsOver] of [
		['takes the filter chain away', 'other', true],
		['replaces the filter by one of another kind', 'one', false],
	] as const) {
		test(`that ${what}: the connection is drained as soon as it is served`, async () => {
			const { rootsPem, options } = await serverTls();
			const world = new World();
			const before = new NotingFilter();
			before.handsOver = handsOver;
			const first = config(chain('one', before, options));
			world.listener.bind(first);
			world.listener.activate(first);
			world.connect(rootsPem);
			while (world.listener.connectionCount === 0) world.clock.advance(0.01);
			world.listener.activate(config(chain(identity, new NotingFilter(), options)));
			expect(before.served).toEqual([]);
			world.clock.advance(100);
			expect(before.served).toEqual(['served', 'drained']);
		});
	}

	test('that its filter chain lives through: the connection goes on', async () => {
		const { rootsPem, options } = await serverTls();
		const world = new World();
		const before = new NotingFilter();
		const first = config(chain('one', before, options));
		world.listener.bind(first);
		world.listener.activate(first);
		world.connect(rootsPem);
		while (world.listener.connectionCount === 0) world.clock.advance(0.01);
		const next = new NotingFilter();
		world.listener.activate(config(chain('one', next, options)));
		world.clock.advance(100);
		expect(before.served).toEqual([]);
		expect(next.served).toEqual(['served']);
	});
});

describe('an update under a connection', () => {
	function connected() {
		const world = new World();
		const filter = new NotingFilter();
		const first = config(chain('one', filter, null));
		world.listener.bind(first);
		world.listener.activate(first);
		const client = new Recorder();
		world.network.connect({ address: ADDRESS }, client);
		world.clock.advance(100);
		expect(filter.served).toEqual(['served']);
		return { world, filter, client };
	}

	test('that changes who may connect: it does not go on by the rules of before', async () => {
		const { world, filter, client } = connected();
		world.listener.activate(config(chain('one', new NotingFilter(), null, 'those with a certificate')));
		expect(filter.served).toEqual(['served', 'drained']);
		// What does not end by itself, as TCP does not, is cut.
		world.clock.advance(9000);
		expect(client.isClosed).toBe(false);
		world.clock.advance(2000);
		// Closing is told in the next turn.
		await Promise.resolve();
		expect(client.isClosed).toBe(true);
		expect(world.listener.connectionCount).toBe(0);
	});

	test('that takes its chain away after another that it lived through: it is drained all the same', () => {
		const { world, filter, client } = connected();
		world.listener.activate(config(chain('one', new NotingFilter(), null)));
		world.clock.advance(20_000);
		expect(filter.served).toEqual(['served']);
		expect(client.isClosed).toBe(false);
		world.listener.activate(config(chain('other', new NotingFilter(), null)));
		expect(filter.served).toEqual(['served', 'drained']);
		world.clock.advance(11_000);
		expect(client.isClosed).toBe(true);
	});
});

test('of several certificates the name of the one that was shown is told', async () => {
	const authority = await TestAuthority.create();
	const [first, second] = await Promise.all(
		['one', 'two'].map(async (name): Promise<ServerTlsOptions> => {
			const { certificatePem, privateKeyPem } = await authority.issue({ uris: [`spiffe://test/${name}`] });
			return { certificateChainPem: certificatePem, privateKeyPem };
		}),
	);
	const world = new World();
	const filter = new NotingFilter();
	const only = config(chain('one', filter, { ...first!, select: () => second! }));
	world.listener.bind(only);
	world.listener.activate(only);
	world.connect(authority.certificatePem);
	world.clock.advance(100);
	expect(filter.served).toEqual(['served']);
	expect(filter.localUriSan).toBe('spiffe://test/two');
});

test('a connection that comes before the certificate is there is counted as such', async () => {
	const world = new World();
	const only = config(chain('one', new NotingFilter(), 'missing'));
	world.listener.bind(only);
	world.listener.activate(only);
	world.connect('');
	world.clock.advance(100);
	// Closing is told in the next turn.
	await Promise.resolve();
	expect(world.listener.connectionCount).toBe(0);
	expect(world.counter('envoy_listener_server_ssl_socket_factory_downstream_context_secrets_not_ready')).toBe(1);
	expect(world.counter('envoy_listener_ssl_connection_error')).toBe(0);
});

test('a filter that throws when it is given a connection costs that connection, and nothing waits for it', () => {
	const world = new World();
	const filter = new NotingFilter();
	filter.serve = () => {
		throw new Error('a bug in a test');
	};
	const { level } = logSink;
	logSink.level = 'off';
	world.listener.bind(config(chain('a', filter, null)));
	world.listener.activate(config(chain('a', filter, null)));
	const client = new Recorder();
	world.network.connect({ address: ADDRESS }, client);
	world.clock.advance(100);
	logSink.level = level;
	expect(client.isClosed).toBe(true);
	expect(world.listener.connectionCount).toBe(0);
	expect(world.network.caughtErrors).toBe(0);
});
