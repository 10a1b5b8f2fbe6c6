// The command line: every subcommand registers itself; errors become one clear line (or one for
// each thing that is wrong) on standard error and an exit code.

import { Command, CommanderError } from 'commander';
import { ExitError } from '../app/exit-error.ts';
import { ConfigError, errorMessage, WeftError } from '../std/errors.ts';
import { EXIT_FAILED, EXIT_INVALID, EXIT_OK } from './exit-codes.ts';
import { printable } from './output.ts';
import { WEFT_VERSION } from './weft-version.ts';

/** What each file of a command exports. */
interface CommandModule {
	register(program: Command): void;
}

/** In the order of `weft --help`. Only the one that is asked for is loaded: some bring much along. */
const COMMANDS: Readonly<Record<string, () => Promise<CommandModule>>> = {
	up: () => import('./up.ts'),
	run: () => import('./run.ts'),
	proxy: () => import('./proxy.ts'),
	apply: () => import('./apply.ts'),
	get: () => import('./get.ts'),
	describe: () => import('./describe.ts'),
	delete: () => import('./delete.ts'),
	status: () => import('./status.ts'),
	top: () => import('./top.ts'),
	'api-resources': () => import('./api-resources.ts'),
	version: () => import('./version.ts'),
};

/** Runs the command line `args` (without the program's name). Returns the exit code; never throws. */
export async function main(args: readonly string[]): Promise<number> {
	// `weft get | head`: the reader went, which is no error of ours.
	process.stdout.on('error', (error: NodeJS.ErrnoException) => {
		if (error.code === 'EPIPE') process.exit(EXIT_OK);
	});
	try {
		const program = await build(commandOf(args));
		await program.parseAsync([...args], { from: 'user' });
		return Number(process.exitCode ?? EXIT_OK);
	} catch (error) {
		return report(error);
	}
}

/** These do not go through the API server, and say themselves what they take. */
const WITHOUT_API: ReadonlySet<string> = new Set(['up', 'run', 'proxy', 'api-resources']);

/** The first argument that is no global option; undefined when there is none. */
function commandOf(args: readonly string[]): string | undefined {
	for (let index = 0; index < args.length; index++) {
		const arg = args[index] ?? '';
		if (!arg.startsWith('-')) return arg;
		if (arg === '--server' || arg === '--data') index++;
	}
	return undefined;
}

/** The program with the one command `name`, or with all when it has no such command. */
export async function build(name?: string): Promise<Command> {
	const program = new Command('weft');
	program
		.description('A service mesh: discovery, routing, mutual TLS and telemetry for every service.')
		.option('--server <address>', 'control plane: unix:PATH or http://HOST:PORT (default: the socket in --data)')
		.option('--data <dir>', 'data directory (default: $WEFT_DATA, else $XDG_DATA_HOME/weft, else ~/.local/share/weft)')
		.version(WEFT_VERSION)
		.showHelpAfterError('(weft --help shows what can be done)')
		.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'weft: ')) })
		.enablePositionalOptions()
		.exitOverride()
		.addHelpText('after', EXAMPLES);
	const one = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
	const wanted = one === undefined ? Object.values(COMMANDS) : [one];
	for (const load of wanted) (await load()).register(program);
	for (const command of program.commands) inheritSettings(command);
	return program;
}

const EXAMPLES = `
Examples:
  weft up                                                   start the control plane
  weft run --service reviews --port 9080 -- node server.js  start a program with a sidecar
  weft apply -f routes.yaml                                 change how traffic flows
  weft status                                               is everything healthy?
  weft top                                                  who calls whom, live

Environment: WEFT_SERVER and WEFT_DATA as --server and --data; WEFT_TOKEN, the bearer token for
--server http://…; NO_COLOR. Exit codes: 0 done, 1 failed, 2 invalid input, 3 control plane
unreachable, 4 timed out.
`;

function inheritSettings(command: Command): void {
	command.exitOverride().showHelpAfterError(`(weft ${command.name()} --help shows how)`);
	if (WITHOUT_API.has(command.name())) return;
	// After the subcommand as well as before it.
	if (!command.options.some((option) => option.long === '--server')) {
		command.option('--server <address>', 'control plane: unix:PATH or http://HOST:PORT');
	}
	if (!command.options.some((option) => option.long === '--data')) {
		command.option('--data <dir>', 'data directory');
	}
}

function report(error: unknown): number {
	if (error instanceof CommanderError) {
		// Commander has printed it already; help and version are no errors.
		return error.exitCode === 0 ? EXIT_OK : EXIT_INVALID;
	}
	const [message, code] = explain(error);
	for (const line of message.split('\n')) process.stderr.write(`weft: ${printable(line)}\n`);
	return code;
}

function explain(error: unknown): [string, number] {
	if (error instanceof ExitError) return [error.message, error.exitCode];
	if (error instanceof ConfigError) return [error.message, EXIT_INVALID];
	if (error instanceof WeftError) return [error.message, EXIT_FAILED];
	const stack = process.env.WEFT_DEBUG !== undefined && error instanceof Error ? `\n${error.stack}` : '';
	return [`${errorMessage(error)}${stack}`, EXIT_FAILED];
}
