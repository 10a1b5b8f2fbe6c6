// How the commands that stay (up, run, proxy) end: with the code that their work resolves to, or with
// one clear line and a code that says what kind of failure it was.

import { ExitError } from '../app/exit-error.ts';
import { ConfigError, errorMessage, WeftError } from '../std/errors.ts';
import { EXIT_INVALID } from './exit-codes.ts';

/** `weft run: LINE` on standard error. */
export function say(command: string, line: string): void {
	process.stderr.write(`weft ${command}: ${line}\n`);
}

export async function endWith(command: string, work: () => Promise<number>): Promise<never> {
	let exitCode = 1;
	try {
		exitCode = await work();
	} catch (error) {
		if (error instanceof ExitError) exitCode = error.exitCode;
		else if (error instanceof ConfigError) exitCode = EXIT_INVALID;
		// What a user cannot have caused is told with where it came from.
		const known = error instanceof ExitError || error instanceof ConfigError || error instanceof WeftError;
		say(command, known || !(error instanceof Error) ? errorMessage(error) : (error.stack ?? error.message));
	}
	process.exit(exitCode);
}
