// `weft proxy`: the bare sidecar from an Envoy v3 bootstrap. Flags are Envoy's where they mean the same.

import { readFileSync, writeSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ExitError } from '../app/exit-error.ts';
import { HotRestart, type Restartable } from '../app/hot-restart.ts';
import { InertNetwork } from '../app/inert-network.ts';
import { surviveFaults } from '../app/process-faults.ts';
import { startProxy } from '../app/proxy.ts';
import { type FromSidecar, SUPERVISION_DESCRIPTOR, WordReader } from '../app/run/supervision-line.ts';
import { isMeshSidecar, type Sidecar, type SidecarOptions, startSidecar } from '../app/sidecar.ts';
import { releaseStartupMemory } from '../app/startup-memory.ts';
import type { WorkersSidecar } from '../app/workers/main-process.ts';
import type { Bootstrap } from '../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { EpollLoop } from '../net/epoll-loop.ts';
import { SystemNetwork } from '../net/system-network.ts';
import { TimerWheel } from '../net/timer-wheel.ts';
import { mergeBootstrapText, parseBootstrap } from '../proxy/bootstrap.ts';
import type { Clock } from '../std/clock.ts';
import type { WeftError } from '../std/errors.ts';
import { LOG_LEVELS, Logger, type LogLevel, logSink } from '../std/log.ts';
import { systemRandom } from '../std/random.ts';
import { MetricRegistry } from '../telemetry/registry.ts';
import { endWith } from './end-with.ts';
import { EXIT_INVALID } from './exit-codes.ts';
import { WEFT_VERSION } from './weft-version.ts';

interface Flags {
	readonly configPath?: string;
	readonly configYaml?: string;
	readonly concurrency: number;
	readonly logLevel: LogLevel;
	readonly logFormat: 'text' | 'json';
	readonly serviceNode?: string;
	readonly serviceCluster?: string;
	readonly mode: 'serve' | 'validate';
	readonly drainTimeS: number;
	readonly stateDir?: string;
	readonly supervised?: boolean;
	readonly worker?: boolean;
	readonly restartEpoch?: number;
	readonly baseId?: number;
	readonly parentShutdownTimeS: number;
	readonly disableHotRestart?: boolean;
	readonly replace?: number;
}

/** Envoy's. */
const DRAIN_TIME_S = 600;
/** Envoy's. */
const PARENT_SHUTDOWN_TIME_S = 900;
/** Sockets of one address are handed over in one message. */
const WORKERS_MAX = 128;
const JOIN_TOKEN_VARIABLE = 'WEFT_JOIN_TOKEN';
const log = new Logger('main');

const EXAMPLES = `
Examples:
  weft proxy -c envoy.yaml
  weft proxy -c envoy.yaml --mode validate
  weft proxy -c envoy.yaml --replace 4711
  weft proxy -c envoy.yaml --config-yaml '{admin: {address: {pipe: {path: /run/weft/admin.sock}}}}'

A second process takes the listening sockets of a running one over with --replace PID, or with Envoy's
--base-id and --restart-epoch: no connection is refused or reset, the old one ends as its connections end.
At SIGTERM or Ctrl-C it takes no new work, lets what is under way end (--drain-time-s), and exits 0;
at the second one it ends at once. At SIGUSR1 access logs go on in new files of the same names.`;

export function register(program: Command): void {
	program
		.command('proxy')
		.description('run the bare sidecar from an Envoy v3 bootstrap')
		.option('-c, --config-path <file>', 'the bootstrap, YAML or JSON')
		.option('--config-yaml <text>', 'a bootstrap in the command line, merged over that of --config-path')
		.option(
			'--concurrency <workers>',
			'how many workers, each a process that serves its share of the connections',
			concurrency,
			1,
		)
		.addOption(new Option('-l, --log-level <level>', 'how much it logs').choices(LOG_LEVELS).default('info'))
		.addOption(
			new Option('--log-format <format>', 'one line or one JSON object each').choices(['text', 'json']).default('text'),
		)
		.option('--service-node <id>', "the node's id, instead of the bootstrap's")
		.option('--service-cluster <name>', "the node's cluster, instead of the bootstrap's")
		.addOption(
			new Option('--mode <mode>', 'validate: check the configuration and exit')
				.choices(['serve', 'validate'])
				.default('serve'),
		)
		.option('--drain-time-s <seconds>', 'how long what is under way may take at the end', seconds, DRAIN_TIME_S)
		.option('--state-dir <directory>', 'keeps the last good configuration, for a start without control plane')
		.option('--replace <pid>', 'takes the place of this running proxy (hot restart)', wholeNumber)
		.option(
			'--restart-epoch <number>',
			"0: the first with its base id; above: takes the running one's place",
			wholeNumber,
		)
		.option('--base-id <number>', 'by which processes that follow each other find each other', wholeNumber)
		.option(
			'--parent-shutdown-time-s <seconds>',
			'how long the process whose place was taken may go on',
			seconds,
			PARENT_SHUTDOWN_TIME_S,
		)
		.option('--disable-hot-restart', 'no other process can take the place of this one')
		// For the processes that `--concurrency` starts.
		.addOption(new Option('--worker').hideHelp())
		// For `weft run`; see app/run/supervision-line.ts.
		.addOption(new Option('--supervised').hideHelp())
		.addHelpText('after', EXAMPLES)
		.action((_flags: unknown, self: Command) => {
			const flags = self.opts<Flags>();
			if (flags.worker === true) return import('../app/workers/worker.ts').then(({ runWorker }) => runWorker());
			logSink.level = flags.mode === 'validate' ? withoutDeeds(flags.logLevel) : flags.logLevel;
			logSink.format = flags.logFormat;
			return endWith('proxy', () => (flags.mode === 'validate' ? validate(flags) : serve(flags)));
		});
}

/** Below a warning the log says what was done (`listener added`), and validation does nothing. */
function withoutDeeds(level: LogLevel): LogLevel {
	return LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf('warning') ? 'warning' : level;
}

async function validate(flags: Flags): Promise<number> {
	const bootstrap = readBootstrap(flags);
	const network = new InertNetwork(new TimerWheel());
	const registry = new MetricRegistry();
	const proxy = startProxy({ bootstrap, network, random: systemRandom, registry });
	await proxy.stop();
	process.stdout.write(`configuration '${flags.configPath ?? '--config-yaml'}' OK\n`);
	return 0;
}

async function serve(flags: Flags): Promise<number> {
	// Not for whatever this process may start, nor for who reads its environment later.
	const joinToken = process.env[JOIN_TOKEN_VARIABLE] ?? null;
	delete process.env[JOIN_TOKEN_VARIABLE];
	const bootstrap = readBootstrap(flags);
	const drainTimeMs = flags.drainTimeS * 1000;
	const loop = EpollLoop.shared();
	const clock = new TimerWheel(loop?.timeSource());
	const hotRestart = startHotRestart(flags, bootstrap, clock);
	const handed = hotRestart?.handed ?? null;
	const network = new SystemNetwork({ clock, handed, loop });
	surviveFaults();
	const { limit, acceptMax } = network.descriptors;
	// The runtime raised it to the hard limit when it started.
	log.info('open descriptors', { limit, connections_refused_from: acceptMax });
	if (loop === null) log.info("no epoll and /proc as wanted: plain connections are the runtime's, at a higher cost");
	const ending = new Ending();
	ending.listenForSignals();
	let sidecar: Sidecar | null = null;
	let workers: WorkersSidecar | null = null;
	let isReady = false;
	const restartable: Restartable = {
		listening: () => (isReady ? [...network.listening(), ...(workers?.listening() ?? [])] : null),
		retire: (deadlineMs) => {
			network.leaveSocketFiles();
			workers?.leaveSocketFiles();
			ending.ask({ exitCode: 0, drainMs: deadlineMs, isReplaced: true });
		},
		end: () => process.exit(0),
	};
	hotRestart?.open(restartable);
	if (flags.supervised === true) {
		obeySupervisor({
			onLeave: () => void (sidecar?.leave(drainTimeMs) ?? Promise.resolve()).then(() => tell('drained')),
			onGone: () => ending.ask({ exitCode: 0, drainMs: 0 }),
		});
	}
	const start = async (options: SidecarOptions): Promise<Sidecar> => {
		if (flags.concurrency === 1) return startSidecar(options);
		const { startWorkers } = await import('../app/workers/main-process.ts');
		workers = await startWorkers({ ...options, network, workers: flags.concurrency, handed });
		return workers;
	};
	sidecar = await Promise.race([
		start({
			bootstrap,
			network,
			random: systemRandom,
			stateDir: flags.stateDir ?? null,
			joinToken,
			drainTimeMs,
			version: WEFT_VERSION,
			commandLine: {
				config_path: flags.configPath ?? '',
				concurrency: flags.concurrency,
				log_level: flags.logLevel,
				mode: 'Serve',
				drain_time: `${flags.drainTimeS}s`,
				parent_shutdown_time: `${flags.parentShutdownTimeS}s`,
				restart_epoch: hotRestart?.epoch ?? 0,
				base_id: flags.baseId ?? 0,
				disable_hot_restart: hotRestart === null,
			},
			firstStartedMs: hotRestart?.firstStartedMs ?? null,
			onQuit: () => ending.ask({ exitCode: 0, drainMs: drainTimeMs }),
			onFailed: (error) => ending.fail(error),
		}),
		ending.asked.then(() => null),
	]);
	if (sidecar === null) return (await ending.asked).exitCode;
	const running = sidecar;
	process.on('SIGUSR1', () => running.reopenLogs());
	void sidecar.ready.then(() => {
		releaseStartupMemory(network.clock);
		isReady = true;
		hotRestart?.serving(restartable);
		log.info('ready');
		if (flags.supervised === true) tell('ready');
	});
	const { exitCode, drainMs, isReplaced = false } = await ending.asked;
	hotRestart?.close();
	if (isReplaced) await sidecar.retire(drainMs ?? drainTimeMs);
	else await sidecar.stop(Math.min(drainMs ?? drainTimeMs, drainTimeMs));
	return exitCode;
}

/** Null: neither is this process one that can be replaced, nor does it replace one. @throws WeftError, ExitError */
function startHotRestart(flags: Flags, bootstrap: Bootstrap, clock: Clock): HotRestart | null {
	const { restartEpoch = null, baseId = null, replace = null } = flags;
	const isAsked = restartEpoch !== null || baseId !== null || replace !== null;
	// `weft run` starts its sidecar again itself.
	if (flags.disableHotRestart === true || flags.supervised === true) {
		if (!isAsked) return null;
		const other = flags.supervised === true ? '--supervised' : '--disable-hot-restart';
		throw new ExitError(EXIT_INVALID, `--replace, --restart-epoch and --base-id do not go with ${other}`);
	}
	if (isMeshSidecar(bootstrap)) {
		if (!isAsked) return null;
		throw new ExitError(
			EXIT_INVALID,
			'a sidecar of the mesh cannot be replaced by another process: its identity is one',
		);
	}
	return new HotRestart({
		baseId: baseId ?? (restartEpoch === null ? null : 0),
		restartEpoch,
		replacePid: replace,
		parentShutdownMs: flags.parentShutdownTimeS * 1000,
		clock,
	});
}

interface HowToEnd {
	readonly exitCode: number;
	/** Null: the time that was set. */
	readonly drainMs: number | null;
	/** Another process has its sockets. Default false. */
	readonly isReplaced?: boolean;
}

/** The first reason to end is followed in order; a second one, while that is under way, at once. */
class Ending {
	readonly asked: Promise<HowToEnd>;
	private resolve: (how: HowToEnd) => void = () => {};
	private isAsked = false;

	constructor() {
		this.asked = new Promise((resolve) => {
			this.resolve = resolve;
		});
	}

	listenForSignals(): void {
		for (const signal of ['SIGTERM', 'SIGINT'] as const) {
			process.on(signal, () => this.ask({ exitCode: 0, drainMs: null }));
		}
	}

	ask(how: HowToEnd): void {
		if (this.isAsked) process.exit(how.exitCode);
		this.isAsked = true;
		log.info('stopping');
		this.resolve(how);
	}

	/** It was logged where it happened. */
	fail(_error: WeftError): void {
		this.ask({ exitCode: 1, drainMs: 0 });
	}
}

/** The line to `weft run`: its words, and its end, which is the end of `weft run`. */
function obeySupervisor(listener: { onLeave(): void; onGone(): void }): void {
	const words = new WordReader((word) => {
		if (word === 'leave') listener.onLeave();
	});
	process.stdin.on('data', (bytes: Buffer) => words.push(bytes));
	process.stdin.once('end', () => listener.onGone());
	process.stdin.once('error', () => listener.onGone());
}

function tell(word: FromSidecar): void {
	try {
		writeSync(SUPERVISION_DESCRIPTOR, `${word}\n`);
	} catch {
		// Nobody listens any more: the end of standard input says the same.
	}
}

/** @throws ConfigError, ExitError */
function readBootstrap(flags: Flags): Bootstrap {
	const { configPath, configYaml } = flags;
	if (configPath === undefined && configYaml === undefined) {
		throw new ExitError(EXIT_INVALID, 'a bootstrap is needed: -c FILE or --config-yaml TEXT');
	}
	const object = configPath === undefined ? '--config-yaml' : `bootstrap ${configPath}`;
	let text = configPath === undefined ? configYaml! : readText(configPath, object);
	if (configPath !== undefined && configYaml !== undefined) text = mergeBootstrapText(text, configYaml, object);
	const node = {
		...(flags.serviceNode === undefined ? {} : { id: flags.serviceNode }),
		...(flags.serviceCluster === undefined ? {} : { cluster: flags.serviceCluster }),
	};
	if (Object.keys(node).length > 0) text = mergeBootstrapText(text, JSON.stringify({ node }), object);
	return parseBootstrap(text, object);
}

function readText(path: string, object: string): string {
	try {
		return readFileSync(path, 'utf8');
	} catch (error) {
		const { code, message } = error as NodeJS.ErrnoException;
		const why =
			{ ENOENT: 'no such file', EISDIR: 'is a directory', EACCES: 'permission denied' }[code ?? ''] ?? message;
		throw new ExitError(EXIT_INVALID, `${object}: ${why}`);
	}
}

function concurrency(text: string): number {
	const value = /^\d{1,3}$/.test(text) ? Number(text) : 0;
	if (value >= 1 && value <= WORKERS_MAX) return value;
	throw new InvalidArgumentError(`Expected a number from 1 to ${WORKERS_MAX}.`);
}

function seconds(text: string): number {
	const value = /^\d{1,6}$/.test(text) ? Number(text) : -1;
	if (value >= 0) return value;
	throw new InvalidArgumentError('Expected whole seconds.');
}

function wholeNumber(text: string): number {
	const value = /^\d{1,10}$/.test(text) ? Number(text) : -1;
	if (value >= 0 && value <= 0xffff_ffff) return value;
	throw new InvalidArgumentError('Expected a whole number, 0 or more.');
}
