// A weft proxy, and a real Envoy, started from the same bootstrap for tests.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningProxy, startProxy } from '../../src/app/proxy.ts';
import { SystemNetwork } from '../../src/net/system-network.ts';
import { parseBootstrap } from '../../src/proxy/bootstrap.ts';
import { SeededRandom } from '../../src/std/random.ts';
import { MetricRegistry } from '../../src/telemetry/registry.ts';
import { peerPath } from './peers.ts';
import { spoilingLoop } from './spoiling-loop.ts';

export interface TestProxy {
	readonly proxy: RunningProxy;
	readonly registry: MetricRegistry;
	/** Of the listener `test`. */
	readonly port: number;
	stop(): Promise<void>;
}

/** `bootstrap` as an object; its listener `test` listens on 127.0.0.1. */
export async function startTestProxy(bootstrap: object): Promise<TestProxy> {
	const registry = new MetricRegistry();
	const proxy = startProxy({
		bootstrap: parseBootstrap(JSON.stringify(bootstrap), 'bootstrap of the test'),
		network: new SystemNetwork({ loop: spoilingLoop() }),
		random: new SeededRandom(7),
		registry,
	});
	await proxy.ready;
	const address = proxy.listeners.addressOf('test');
	const port = address?.kind === 'ip' ? address.port : 0;
	return { proxy, registry, port, stop: () => proxy.stop() };
}

/** Real Envoy on the same bootstrap; `adminPort` must be in it. Resolves when its listeners are up. */
export async function startRealEnvoy(bootstrap: object, adminPort: number): Promise<{ stop(): Promise<void> }> {
	const envoy = peerPath('envoy');
	if (envoy === null) throw new Error('envoy is not installed; run scripts/setup --tests');
	const directory = mkdtempSync(join(tmpdir(), 'weft-envoy-'));
	const file = join(directory, 'bootstrap.json');
	const logFile = join(directory, 'envoy.log');
	writeFileSync(file, JSON.stringify(bootstrap));
	const args = ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'warning', '--log-path', logFile];
	// So that a test need not wait for an access log.
	args.push('--file-flush-interval-msec', '20');
	const child = spawn(envoy, args, { stdio: 'ignore' });
	const exited = new Promise<void>((resolve) => child.on('exit', () => resolve()));
	const stop = async (): Promise<void> => {
		child.kill('SIGKILL');
		await exited;
		rmSync(directory, { recursive: true, force: true });
	};
	for (let attempt = 0; attempt < 400; attempt++) {
		if (child.exitCode !== null) throw new Error(`envoy ended: ${readFileSync(logFile, 'utf8')}`);
		try {
			const response = await fetch(`http://127.0.0.1:${adminPort}/ready`);
			if (response.ok) return { stop };
		} catch {
			// Not listening yet.
		}
		await Bun.sleep(25);
	}
	await stop();
	throw new Error('envoy was not ready in time');
}

export const HCM_TYPE =
	'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
export const ROUTER_TYPE = 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router';

export function staticCluster(name: string, ports: readonly number[], more: object = {}): object {
	const endpoints = ports.map((port) => ({
		endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
	}));
	return {
		name,
		type: 'STATIC',
		connect_timeout: '1s',
		load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: endpoints }] },
		...more,
	};
}

export function httpListener(port: number, manager: object, more: object = {}): object {
	return {
		name: 'test',
		address: { socket_address: { address: '127.0.0.1', port_value: port } },
		filter_chains: [
			{
				filters: [
					{
						name: 'http',
						typed_config: {
							'@type': HCM_TYPE,
							stat_prefix: 'test',
							http_filters: [{ name: 'router', typed_config: { '@type': ROUTER_TYPE } }],
							...manager,
						},
					},
				],
			},
		],
		...more,
	};
}
