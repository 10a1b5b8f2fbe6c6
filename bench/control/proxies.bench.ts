// A control plane on one core with many proxies: how long until all that connect at once are
// configured, how long a change takes to be received by each, what that costs.
//
//   scripts/bun bench/control/proxies.bench.ts [--proxies 1000] [--services 1000] [--endpoints 10] [--changes 50]
//     [--profile DIRECTORY]   where the control plane's CPU profile goes
//
// The control plane is a process of its own, on one core; the proxies are light ones in this
// process, on the others, over real gRPC and mutual TLS.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../../src/xds/type-urls.ts';
import type { Command, Ready, Reply, Usage } from './control-plane-child.ts';
import { LightProxy } from './light-proxy.ts';
import { nodeOf, PORT, serviceHostName } from './mesh.ts';

const CHANGE_TIMEOUT_MS = 20_000;
const START_TIMEOUT_MS = 120_000;

const { values } = parseArgs({
	options: {
		proxies: { type: 'string', default: '1000' },
		services: { type: 'string', default: '1000' },
		endpoints: { type: 'string', default: '10' },
		changes: { type: 'string', default: '50' },
		profile: { type: 'string' },
	},
});
const proxyCount = bounded(values.proxies, 5000);
const services = bounded(values.services, 2000);
const endpoints = bounded(values.endpoints, 30);
const changes = bounded(values.changes, 500);

const directory = mkdtempSync(join(tmpdir(), 'weft-bench-'));
const waiting: ((reply: Reply) => void)[] = [];
const profiled =
	values.profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-md', `--cpu-prof-dir=${values.profile}`];
const program = [process.execPath, ...profiled, join(import.meta.dir, 'control-plane-child.ts')];
const child = Bun.spawn(['taskset', '-c', '0', ...program], {
	ipc: (reply: Reply) => waiting.shift()?.(reply),
	stdio: ['ignore', 'inherit', 'inherit'],
	onExit: (_child, code) => {
		if (code !== 0 && !ended) throw new Error(`the control plane ended with ${code}`);
	},
});
let ended = false;

try {
	await main();
} finally {
	ended = true;
	child.send({ kind: 'end' } satisfies Command);
	await child.exited;
	rmSync(directory, { recursive: true, force: true });
}
process.exit();

async function main(): Promise<void> {
	const control = (await ask({ kind: 'start', directory, services, endpoints })) as Ready;
	const before = await usage();
	report(`${services} services x ${endpoints} endpoints, no proxy`, `${before.residentMib.toFixed(0)} MiB`);

	const credentials = grpc.credentials.createSsl(
		Buffer.from(control.rootsPem),
		Buffer.from(control.privateKeyPem),
		Buffer.from(control.certificateChainPem),
	);
	const wanted: readonly [string, number][] = [
		[CLUSTER_TYPE, services + 1],
		[ENDPOINT_TYPE, services],
		[LISTENER_TYPE, services + 1],
		[ROUTE_TYPE, services],
	];
	let onNames: (proxy: LightProxy, typeUrl: string, names: readonly string[]) => void = () => {};
	const proxies: LightProxy[] = [];
	const startedMs = performance.now();
	const configured = new Set<LightProxy>();
	const all = new Promise<void>((resolve) => {
		onNames = (proxy) => {
			if (!wanted.every(([typeUrl, count]) => proxy.has(typeUrl) >= count)) return;
			configured.add(proxy);
			if (configured.size === proxyCount) resolve();
		};
	});
	for (let index = 0; index < proxyCount; index++) {
		const node = nodeOf(index, 'transparent');
		proxies.push(new LightProxy(control, credentials, node, (...args) => onNames(...args)));
	}
	await within(all, START_TIMEOUT_MS, () => `${configured.size} of ${proxyCount} proxies configured`);
	const configuredMs = performance.now() - startedMs;
	const after = await usage();
	const bytes = proxies.reduce((sum, proxy) => sum + proxy.bytes, 0);
	report(`${proxyCount} proxies connect until all are configured`, `${(configuredMs / 1000).toFixed(2)} s`);
	report('  CPU', `${((after.cpuMs - before.cpuMs) / 1000).toFixed(2)} s`);
	report('  sent', `${(bytes / 2 ** 20).toFixed(0)} MiB`);
	report('  memory', `${after.residentMib.toFixed(0)} MiB`);

	for (const kind of ['endpoint', 'route'] as const) {
		const type = kind === 'endpoint' ? ENDPOINT_TYPE : ROUTE_TYPE;
		const latenciesMs: number[] = [];
		const start = await usage();
		for (let round = 1; round <= changes; round++) {
			const service = (round * 7) % services;
			const name = `outbound|${PORT}||${serviceHostName(service)}`;
			const sentMs = performance.now();
			let received = 0;
			const done = new Promise<void>((resolve) => {
				onNames = (_proxy, typeUrl, names) => {
					if (typeUrl !== type || !names.includes(name)) return;
					latenciesMs.push(performance.now() - sentMs);
					received += 1;
					if (received === proxyCount) resolve();
				};
			});
			await ask({ kind, service, round });
			await within(done, CHANGE_TIMEOUT_MS, () => `${received} of ${proxyCount} proxies have the change`);
			// What a change leaves to do (acknowledgements, statuses) is its own, not the next one's.
			await Bun.sleep(100);
		}
		const end = await usage();
		latenciesMs.sort((a, b) => a - b);
		const at = (share: number) =>
			latenciesMs[Math.min(latenciesMs.length - 1, Math.floor(share * latenciesMs.length))]!;
		report(`${kind} change until received, p50`, `${at(0.5).toFixed(1)} ms`);
		report('  p99', `${at(0.99).toFixed(1)} ms`);
		report('  CPU per change', `${((end.cpuMs - start.cpuMs) / changes).toFixed(1)} ms`);
		report('  memory; proxies in sync', `${end.residentMib.toFixed(0)} MiB; ${end.inSync} of ${end.connected}`);
	}
	for (const proxy of proxies) proxy.close();
}

function ask(command: Command): Promise<Reply> {
	return new Promise((resolve) => {
		waiting.push(resolve);
		child.send(command);
	});
}

async function usage(): Promise<Usage> {
	return (await ask({ kind: 'usage' })) as Usage;
}

async function within(work: Promise<void>, timeoutMs: number, state: () => string): Promise<void> {
	const timer = setTimeout(() => {
		console.error(`given up after ${timeoutMs} ms: ${state()}`);
		child.kill();
		process.exit(1);
	}, timeoutMs);
	await work;
	clearTimeout(timer);
}

function bounded(text: string, max: number): number {
	return Math.max(1, Math.min(max, Math.floor(Number(text))));
}

function report(what: string, value: string): void {
	console.log(`${what.padEnd(60)} ${value.padStart(20)}`);
}
