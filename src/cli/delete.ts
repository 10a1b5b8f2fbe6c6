// `weft delete`: objects by kind and name, or those of a manifest.

import type { Command } from 'commander';
import { ExitError } from '../app/exit-error.ts';
import type { AnyKind } from '../config/kinds.ts';
import { type ApiClient, clientFor, failure, resourcePath } from './api-client.ts';
import { EXIT_FAILED, EXIT_INVALID } from './exit-codes.ts';
import { displayName, parseWanted } from './kind-argument.ts';
import { readManifests } from './manifest-files.ts';
import { print, warn } from './output.ts';

interface DeleteOptions {
	readonly namespace: string;
	readonly filename?: string[];
	readonly ignoreNotFound?: boolean;
	readonly dryRun?: boolean;
}

interface Doomed {
	readonly kind: AnyKind;
	readonly namespace: string;
	readonly name: string;
}

export function register(program: Command): void {
	program
		.command('delete')
		.description('delete objects')
		.argument('[kind]', 'kind, plural or short name, or KIND/NAME')
		.argument('[names...]')
		.option('-f, --filename <file...>', 'delete the objects of these files or directories; - is standard input')
		.option('-n, --namespace <name>', 'namespace', 'default')
		.option('--ignore-not-found', 'what is not there is no error')
		.option('--dry-run', 'only say what would be deleted')
		.addHelpText(
			'after',
			`
Examples:
  weft delete httproute reviews
  weft delete svc reviews ratings -n shop
  weft delete -f routes.yaml --ignore-not-found
`,
		)
		.action(async (kindText: string | undefined, names: string[], options: DeleteOptions, command: Command) => {
			const doomed = await doomedObjects(kindText, names, options);
			const client = clientFor(command);
			const missing = [];
			for (const one of doomed) if (!(await deleteOne(client, one, options))) missing.push(one);
			if (missing.length > 0 && options.ignoreNotFound !== true) {
				const list = missing.map((one) => displayName(one.kind, one.name)).join(', ');
				throw new ExitError(EXIT_FAILED, `not found: ${list}`);
			}
		});
}

async function doomedObjects(kindText: string | undefined, names: string[], options: DeleteOptions): Promise<Doomed[]> {
	if (options.filename !== undefined) {
		if (kindText !== undefined) throw new ExitError(EXIT_INVALID, 'give KIND NAME or -f, not both');
		const objects = await readManifests(options.filename, options.namespace);
		// Backwards: what refers to others goes first.
		return objects.toReversed().map(({ kind, object: { metadata } }) => ({
			kind,
			namespace: metadata.namespace ?? options.namespace,
			name: metadata.name,
		}));
	}
	if (kindText === undefined || kindText === '')
		throw new ExitError(EXIT_INVALID, 'what is to be deleted? Give KIND NAME, or -f FILE');
	return parseWanted(kindText, names).flatMap(({ kind, names: doomed }) => {
		if (doomed.length === 0) throw new ExitError(EXIT_INVALID, `which ${kind.singular}? Give at least one name`);
		return doomed.map((name) => ({ kind, namespace: options.namespace, name }));
	});
}

/** False when it was not there. */
async function deleteOne(client: ApiClient, one: Doomed, options: DeleteOptions): Promise<boolean> {
	const query = options.dryRun === true ? '?dryRun=All' : '';
	const path = `${resourcePath(one.kind, one.namespace, one.name)}${query}`;
	const answer = await client.send({ method: 'DELETE', path });
	if (answer.status === 404) return false;
	if (answer.status >= 400) throw failure(answer);
	for (const warning of answer.warnings) warn(warning);
	print(`${displayName(one.kind, one.name)} deleted${options.dryRun === true ? ' (dry run)' : ''}`);
	return true;
}
