// `weft run`: any program with a sidecar.

import { isIPv4 } from 'node:net';
import { type Command, InvalidArgumentError, Option } from 'commander';

import { dataDirectory, dataPaths } from '../app/data-directory.ts';
import { ExitError } from '../app/exit-error.ts';
import { SERVICE_ACCOUNT_NAME, SERVICE_NAME, WORKLOAD_LABEL } from '../app/names.ts';
import type { RunOptions } from '../app/run/run-options.ts';
import { runProgram } from '../app/run/run-program.ts';
import { findCommand } from '../app/run/tools.ts';
import { TimerWheel } from '../net/timer-wheel.ts';
import { LOG_LEVELS, logSink } from '../std/log.ts';
import { systemRandom } from '../std/random.ts';
import type { CaptureMode, OutboundPolicy } from '../xds/node-metadata.ts';
import { endWith, say } from './end-with.ts';
import { EXIT_INVALID } from './exit-codes.ts';
import { WEFT_VERSION } from './weft-version.ts';

interface Flags {
	readonly data?: string;
	readonly service: string;
	readonly version: string;
	readonly port: readonly number[];
	readonly http2Port: readonly number[];
	readonly grpcPort: readonly number[];
	readonly tcpPort: readonly number[];
	readonly namespace: string;
	readonly serviceAccount?: string;
	readonly capture: 'auto' | CaptureMode;
	readonly outbound: OutboundPolicy;
	readonly programAddress?: string;
	readonly publish: readonly Published[];
	readonly healthHttp?: string;
	readonly healthTcp?: boolean;
	readonly env: readonly (readonly [string, string])[];
	readonly sidecarLog?: boolean;
	readonly sidecarLogLevel: string;
	readonly drainTimeS: number;
}

interface Published {
	readonly address: string;
	readonly port: number;
	/** Null: the program's first. */
	readonly targetPort: number | null;
}

const EXAMPLES = `
Examples:
  weft run --service reviews --version v2 --port 9080 -- node reviews.js
  weft run --service frontend --port 8080 --publish 8080 -- python3 app.py
  weft run --service batch -- ./import.sh            (a client only: it listens on nothing)
  weft run --service prices --grpc-port 50051 -- ./prices
  weft run --service db --tcp-port 5432 --health-tcp -- postgres

The program reaches services by their plain names: http://ratings:9080.
It reaches everything else as always; with "--outbound registry-only", services of the mesh and nothing else.
In "explicit" capture it finds HTTP_PROXY, WEFT_RATINGS_URL and, for each port, WEFT_RATINGS_9080=HOST:PORT.
In "loopback" capture it should listen on 127.0.0.1 (or on what --program-address says).

Exit codes: the program's own, 128 + the number of the signal that ended it; 127 command not found,
126 not executable, 3 no control plane, 2 wrong options, 1 anything else.`;

/** Not defaults of commander's, which `--help` would print. */
const NONE_GIVEN = { port: [], http2Port: [], grpcPort: [], tcpPort: [], publish: [], env: [] };

export function register(program: Command): void {
	program
		.command('run')
		.description('start a program with a sidecar of the mesh')
		.passThroughOptions()
		.argument('<command...>', 'the program and its arguments, after --')
		.requiredOption('--service <name>', 'the service that it is an instance of', serviceName)
		.option('--version <version>', 'its version', version, 'v1')
		.option('--port <port>', 'a port on which it serves HTTP/1.1 (may be given again)', collect(port))
		.option('--grpc-port <port>', 'a port on which it serves gRPC, without TLS (may be given again)', collect(port))
		.option('--http2-port <port>', 'a port on which it serves HTTP/2, without TLS (may be given again)', collect(port))
		.option('--tcp-port <port>', 'a port on which it serves another protocol (may be given again)', collect(port))
		.option('-n, --namespace <namespace>', 'its namespace', label, 'default')
		.option(
			'--service-account <name>',
			'the account that its identity is of (default: the name of its service)',
			account,
		)
		.addOption(
			new Option('--capture <mode>', 'how its traffic gets to the sidecar')
				.choices(['auto', 'transparent', 'loopback', 'explicit'])
				.default('auto'),
		)
		.addOption(
			new Option(
				'--outbound <policy>',
				'what it calls outside the mesh: let through, or refused (takes transparent capture)',
			)
				.choices(['allow-any', 'registry-only'])
				.default('allow-any'),
		)
		.option('--program-address <address>', 'where it listens, if not on 127.0.0.1 (shares the loopback)', loopback)
		.option(
			'--publish <[address:]port[:target]>',
			'a door for people, plain text, to its first or that port',
			collect(publish),
		)
		.addOption(new Option('--health-http <path>', 'healthy while this path answers 2xx or 3xx').conflicts('healthTcp'))
		.option('--health-tcp', 'healthy while its first port takes connections')
		.option('--env <name=value>', "added to the program's environment (may be given again)", collect(assignment))
		.option('--sidecar-log', "the sidecar's log goes to standard error (default: a file in the data directory)")
		.addOption(new Option('--sidecar-log-level <level>', 'how much it logs').choices(LOG_LEVELS).default('info'))
		.option('--drain-time-s <seconds>', 'how long requests under way may take at the end', seconds, 5)
		.option('--data <directory>', "the control plane's data directory")
		.addHelpText('after', EXAMPLES)
		.action((command: string[], _flags: unknown, self: Command) => {
			// Only what went wrong is for the user of the program to read.
			logSink.level = 'warning';
			return endWith('run', async () => {
				const options = runOptions({ ...NONE_GIVEN, ...self.optsWithGlobals<Flags>() }, command);
				checkCommand(command[0]!, options.env.PATH ?? process.env.PATH ?? '');
				const surroundings = { clock: new TimerWheel(), random: systemRandom };
				return runProgram(options, { ...surroundings, say: (line) => say('run', line) });
			});
		});
}

/** @throws ExitError 2 for options that do not go together */
export function runOptions(flags: Flags, command: readonly string[]): RunOptions {
	const ports = [
		...flags.port.map((number) => ({ port: number, protocol: 'http' as const })),
		...flags.grpcPort.map((number) => ({ port: number, protocol: 'grpc' as const })),
		...flags.http2Port.map((number) => ({ port: number, protocol: 'http2' as const })),
		...flags.tcpPort.map((number) => ({ port: number, protocol: 'tcp' as const })),
	];
	const numbers = new Set(ports.map((one) => one.port));
	if (numbers.size !== ports.length) throw new ExitError(EXIT_INVALID, 'a port is given twice');
	const first = ports[0]?.port;
	const publish = flags.publish.map((one) => {
		const targetPort = one.targetPort ?? first;
		if (targetPort === undefined || !numbers.has(targetPort)) {
			const known = ports.length === 0 ? 'none is given' : `found ${targetPort}, expected ${[...numbers].join(' or ')}`;
			throw new ExitError(EXIT_INVALID, `--publish leads to a port of the program (--port, --tcp-port …): ${known}`);
		}
		return { address: one.address, port: one.port, targetPort };
	});
	const checked = flags.healthHttp !== undefined || flags.healthTcp === true;
	if (checked && first === undefined) throw new ExitError(EXIT_INVALID, 'a health check needs --port or --tcp-port');
	if (flags.healthHttp !== undefined && flags.port.length === 0) {
		throw new ExitError(EXIT_INVALID, '--health-http needs --port: it is asked for by HTTP/1.1 (or take --health-tcp)');
	}
	if (flags.healthHttp !== undefined && !flags.healthHttp.startsWith('/')) {
		throw new ExitError(
			EXIT_INVALID,
			`--health-http: found ${JSON.stringify(flags.healthHttp)}, expected a path that begins with /`,
		);
	}
	if (flags.capture === 'transparent' && flags.programAddress !== undefined) {
		throw new ExitError(
			EXIT_INVALID,
			'--program-address has no meaning with --capture transparent: leave one of them out',
		);
	}
	return {
		paths: dataPaths(dataDirectory(flags.data, process.env)),
		service: flags.service,
		version: flags.version,
		namespace: flags.namespace,
		serviceAccount: flags.serviceAccount ?? flags.service,
		ports,
		capture: flags.capture,
		outbound: flags.outbound,
		programAddress: flags.programAddress ?? null,
		publish,
		healthCheck: checked
			? { kind: flags.healthTcp === true ? 'tcp' : 'http', path: flags.healthHttp, port: first! }
			: null,
		env: Object.fromEntries(flags.env),
		command,
		sidecarLog: flags.sidecarLog === true,
		sidecarLogLevel: flags.sidecarLogLevel,
		drainTimeMs: flags.drainTimeS * 1000,
		weftVersion: WEFT_VERSION,
	};
}

/** Before anything is set up for it. @throws ExitError 127, 126 */
function checkCommand(name: string, path: string): void {
	const found = findCommand(name, path);
	if (found.kind === 'not found') throw new ExitError(127, `command not found: ${name}`);
	if (found.kind === 'not executable') throw new ExitError(126, `not executable: ${found.file}`);
}

function collect<T>(parse: (text: string) => T): (text: string, before?: readonly T[]) => T[] {
	return (text, before = []) => [...before, parse(text)];
}

function label(text: string): string {
	if (WORKLOAD_LABEL.test(text)) return text;
	throw new InvalidArgumentError('Expected lower-case letters, digits and "-", at most 63.');
}

function serviceName(text: string): string {
	if (SERVICE_NAME.test(text)) return text;
	throw new InvalidArgumentError(
		'Expected lower-case letters, digits and "-", at most 63, beginning with a letter and not ending with "-".',
	);
}

function account(text: string): string {
	if (SERVICE_ACCOUNT_NAME.test(text)) return text;
	throw new InvalidArgumentError('Expected lower-case letters, digits, "." and "-".');
}

function version(text: string): string {
	if (/^[a-z0-9]([a-z0-9.-]{0,30}[a-z0-9])?$/.test(text)) return text;
	throw new InvalidArgumentError('Expected lower-case letters, digits, "." and "-", at most 32.');
}

function port(text: string): number {
	const value = /^\d{1,5}$/.test(text) ? Number(text) : 0;
	if (value >= 1 && value <= 65535) return value;
	throw new InvalidArgumentError('Expected a port, 1 to 65535.');
}

function seconds(text: string): number {
	const value = /^\d{1,6}$/.test(text) ? Number(text) : -1;
	if (value >= 0) return value;
	throw new InvalidArgumentError('Expected whole seconds.');
}

function loopback(text: string): string {
	if (isIPv4(text) && text.startsWith('127.')) return text;
	throw new InvalidArgumentError('Expected an address of 127.0.0.0/8.');
}

function publish(text: string): Published {
	const match = /^(?:(\d{1,3}(?:\.\d{1,3}){3}):)?(\d{1,5})(?::(\d{1,5}))?$/.exec(text);
	if (match === null)
		throw new InvalidArgumentError('Expected [ADDRESS:]PORT[:TARGET], for example 8080 or 8080:3000.');
	return {
		address: match[1] === undefined ? '127.0.0.1' : loopback(match[1]),
		port: port(match[2]!),
		targetPort: match[3] === undefined ? null : port(match[3]),
	};
}

function assignment(text: string): readonly [string, string] {
	const at = text.indexOf('=');
	if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
	throw new InvalidArgumentError('Expected NAME=VALUE.');
}
