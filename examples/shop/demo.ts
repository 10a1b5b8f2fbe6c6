// `npm run demo`: a whole mesh on this machine, the shop behind it, some load, and a live view.
//
//   npm run demo                   until Ctrl-C
//   npm run demo -- --scripted     makes the tour by itself, checks each step, and exits 0 if all hold
//   … --load-seconds N             keeps up the load after the tour, N seconds of it in all
//
// Everything it writes is in one folder (--data DIR, default in the system's temporary folder),
// made anew at each start; everything it started is stopped at its end.

import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { LiveScreen } from '../../src/cli/live-screen.ts';
import { loadGenerator, shopInstances } from './demo/instances.ts';
import { LoadObserver } from './demo/load.ts';
import { DemoMesh, freePort, projectRoot } from './demo/mesh.ts';
import { runTour, type StepResult } from './demo/tour.ts';
import { showLive } from './demo/view.ts';

const BRING_UP_LIMIT_MS = 60_000;
/** Instances that others stand in for, in the order in which they are proposed to be killed. */
const KILLABLE = ['products-v1-1', 'products-v2-1'];

interface Options {
	readonly scripted: boolean;
	readonly rate: number;
	readonly data: string;
	/** With `scripted`: how long the load lasts at least. */
	readonly loadSeconds: number;
}

function parseOptions(words: readonly string[]): Options {
	const options = {
		scripted: false,
		rate: 40,
		loadSeconds: 0,
		data: join(tmpdir(), `weft-demo-${process.getuid?.() ?? 0}`),
	};
	for (let i = 0; i < words.length; i++) {
		if (words[i] === '--scripted') options.scripted = true;
		else if (words[i] === '--rate' && Number(words[i + 1]) > 0) options.rate = Number(words[++i]);
		else if (words[i] === '--load-seconds' && Number(words[i + 1]) > 0) options.loadSeconds = Number(words[++i]);
		else if (words[i] === '--data' && words[i + 1] !== undefined) options.data = words[++i]!;
		else {
			console.error(
				`demo: unknown option ${words[i]}; usage: npm run demo -- [--scripted] [--rate N] [--load-seconds N] [--data DIR]`,
			);
			process.exit(2);
		}
	}
	return options;
}

async function main(): Promise<void> {
	const options = parseOptions(process.argv.slice(2));
	const mesh = await DemoMesh.create(options.data).catch((error: unknown) => {
		console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
		process.exit(1);
	});
	let stopped: Promise<void> | null = null;
	const stop = () => {
		stopped ??= mesh.stop();
		return stopped;
	};
	const interrupted = new Promise<'interrupted'>((resolve) => {
		for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
			process.on(signal, () => resolve('interrupted'));
		}
	});

	const screen = new LiveScreen();
	let exitCode = 1;
	try {
		const work = options.scripted ? scripted(mesh, options) : live(mesh, options, screen, interrupted);
		const outcome = await Promise.race([work, interrupted]);
		exitCode = outcome === 'interrupted' ? (options.scripted ? 130 : 0) : outcome;
	} catch (error) {
		console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
		console.error(`the logs are in ${join(options.data, 'logs')}`);
	}
	// What is said before the terminal's own screen is back would be lost.
	screen.leave();
	if (!options.scripted) console.log('stopping…');
	await stop();
	if (!options.scripted) console.log(`stopped; logs and state are in ${options.data} until the next demo`);
	process.exit(exitCode);
}

interface Running {
	readonly load: LoadObserver;
	readonly sidecarCount: number;
	readonly storefrontUrl: string;
}

/** Starts everything and waits until each sidecar is in sync and the load flows. */
async function bringUp(mesh: DemoMesh, options: Options): Promise<Running> {
	const started = performance.now();
	const storefrontPort = await freePort(8080);
	const instances = await shopInstances(storefrontPort);
	const sidecarCount = instances.length + 1;
	mesh.startControlPlane();
	if ((await mesh.waitFor(() => true, 15_000)) === null) {
		throw new Error(`the control plane did not start:\n${mesh.logTail('control-plane')}`);
	}
	const manifests = join(projectRoot, 'examples/shop/mesh');
	await mesh.cli('apply', '-f', join(manifests, 'products-versions.yaml'));
	const load = new LoadObserver();
	const { onNews } = mesh;
	let ended: string | null = null;
	mesh.onNews = (text, name) => {
		ended ??= `${text}:\n${mesh.logTail(name)}`;
	};
	for (const instance of instances) mesh.startInstance(instance);

	let told = -1;
	const inSync = (count: number) => {
		// It will not come: waiting for it would only hide why.
		if (ended !== null) throw new Error(ended);
		if (process.stdout.isTTY && count !== told)
			process.stdout.write(`\rsidecars in sync: ${count} of ${sidecarCount} `);
		told = count;
		return count;
	};
	const ready = await mesh.waitFor(
		(now) => inSync(now.sidecars.filter((one) => one.connected && one.inSync).length) >= instances.length,
		BRING_UP_LIMIT_MS,
	);
	mesh.onNews = onNews;
	if (ready === null) throw new Error(`only ${told} of ${sidecarCount} sidecars are in sync after a minute`);
	// A route wants its parent Service, which the first instance brought.
	await mesh.cli('apply', '--wait', '-f', join(manifests, 'products-v1.yaml'));
	mesh.startInstance(loadGenerator(options.rate), load.onLine);
	if ((await Promise.race([load.next(), Bun.sleep(15_000).then(() => 'late')])) === 'late') {
		throw new Error(`no load flows:\n${mesh.logTail('loadgen')}`);
	}
	if (process.stdout.isTTY) process.stdout.write('\r');
	const seconds = ((performance.now() - started) / 1000).toFixed(0);
	console.log(
		`the mesh is up: ${instances.length} instances behind sidecars, ${options.rate} requests/s, ready in ${seconds} s`,
	);
	if (!instances.some(({ service }) => service === 'shipping')) {
		console.log('without shipping, which is built by Go; the shop does without it');
	}
	return { load, sidecarCount, storefrontUrl: `http://127.0.0.1:${storefrontPort}/` };
}

async function scripted(mesh: DemoMesh, options: Options): Promise<number> {
	const started = performance.now();
	const { load, sidecarCount } = await bringUp(mesh, options);
	const loadStarted = performance.now();
	const results: StepResult[] = [];
	for await (const step of runTour(mesh, load, sidecarCount)) {
		results.push(step);
		console.log(`${step.ok ? 'ok    ' : 'FAILED'} ${step.title}: ${step.observed} (${step.seconds.toFixed(1)} s)`);
	}
	while (performance.now() - loadStarted < options.loadSeconds * 1000) await load.next();
	const { done, failed, failures } = load.totals;
	for (const failure of failures) console.log(`       failed request: ${failure}`);
	const bad = results.filter((step) => !step.ok).length;
	const seconds = ((performance.now() - started) / 1000).toFixed(0);
	console.log(
		`${results.length - bad} of ${results.length} steps hold; ${done} requests, ${failed} failed; ${seconds} s in all`,
	);
	return bad === 0 && failed === 0 ? 0 : 1;
}

async function live(
	mesh: DemoMesh,
	options: Options,
	screen: LiveScreen,
	interrupted: Promise<unknown>,
): Promise<number> {
	const { load, storefrontUrl } = await bringUp(mesh, options);
	const data = mesh.data;
	const manifests = 'examples/shop/mesh';
	// With what it does to the right of each; 80 columns hold the longest.
	const tries = (): [string, string][] => [
		[`dist/weft apply -f ${manifests}/products-canary-10.yaml`, '10 % to v2'],
		[`dist/weft apply -f ${manifests}/products-v2.yaml`, 'all to v2'],
		[`dist/weft apply -f ${manifests}/reviews-route.yaml`, 'moves /reviews'],
		[`kill -9 ${KILLABLE.map((name) => mesh.pidOf(name)).find((pid) => pid !== null) ?? 'PID'}`, 'nothing fails'],
		[`dist/weft apply -f ${manifests}/payments-delay.yaml`, '400 ms slower'],
		[`dist/weft delete -f ${manifests}/payments-delay.yaml`, 'as before'],
		['dist/weft status; dist/weft get httproutes', 'look around'],
	];
	const tips = () => [
		`dashboard  ${mesh.dashboardUrl}`,
		`the shop   ${storefrontUrl}`,
		'',
		`Try in another terminal, in ${relative(process.cwd(), projectRoot) || projectRoot}:`,
		`  export WEFT_DATA=${data}`,
		...aligned(tries()),
	];
	await showLive(mesh, load, tips, screen, interrupted);
	return 0;
}

function aligned(tries: readonly [string, string][]): string[] {
	const width = Math.max(...tries.map(([command]) => command.length));
	return tries.map(([command, effect]) => `  ${command.padEnd(width)} # ${effect}`);
}

await main();
