// `weft api-resources`: the kinds that can be applied.

import type { Command } from 'commander';
import { apiVersionOf } from '../config/kind.ts';
import { KINDS } from '../config/kinds.ts';
import { formatTable, print } from './output.ts';

export function register(program: Command): void {
	program
		.command('api-resources')
		.description('list the kinds that can be applied, and their short names')
		.addHelpText('after', '\nExamples:\n  weft api-resources\n')
		.action(() => {
			const rows = KINDS.map((kind) =>
				[kind.plural, kind.shortNames.join(','), apiVersionOf(kind), kind.kind, kind.description].map((text) => ({
					text,
				})),
			);
			for (const line of formatTable(['NAME', 'SHORT', 'APIVERSION', 'KIND', 'DESCRIPTION'], rows)) print(line);
		});
}
