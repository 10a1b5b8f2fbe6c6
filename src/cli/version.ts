// `weft version`: of this command and of the control plane, when one answers.

import type { Command } from 'commander';
import { ExitError } from '../app/exit-error.ts';
import { clientFor } from './api-client.ts';
import { EXIT_UNREACHABLE } from './exit-codes.ts';
import { print } from './output.ts';
import { WEFT_VERSION } from './weft-version.ts';

export function register(program: Command): void {
	program
		.command('version')
		.description('print the version of weft and of the control plane')
		.option('--client', 'of this command only')
		.addHelpText('after', '\nExamples:\n  weft version\n  weft version --client\n')
		.action(async (options: { client?: boolean }, command: Command) => {
			print(`weft ${WEFT_VERSION} (Bun ${Bun.version}, ${process.platform}/${process.arch})`);
			if (options.client === true) return;
			try {
				const answer = (await clientFor(command).call({ path: '/version' })) as { weft?: string };
				print(`control plane ${answer.weft ?? 'unknown'}`);
			} catch (error) {
				if (!(error instanceof ExitError) || error.exitCode !== EXIT_UNREACHABLE) throw error;
				print('control plane not running');
			}
		});
}
