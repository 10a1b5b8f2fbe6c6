// `weft delete`: objects by kind and name, or those of a manifest.

import type { Command } from 'commander';
import { ExitError } from '../app/exit-error.ts';
import type { AnyKind } from '../config/kinds.ts';
import type { MeshObject } from '../config/object.ts';
import { type ApiClient, clientFor, failure, resourcePath } from './api-client.ts';
import { EXIT_FAILED, EXIT_INVALID } from './exit-codes.ts';
import { displayName, parseWanted } from './kind-argument.ts';
import { readManifests } from './manifest-files.ts';
import { print, warn } from './output.ts';
import { isData, type OutputFormat, outputOption, printObjects, wideNote } from './output-format.ts';

/** A deletion is tried again so often when others write the same object at the same time. */
const CONFLICT_RETRIES_MAX = 5;

interface DeleteOptions {
	readonly namespace: string;
	readonly filename?: string[];
	readonly ignoreNotFound?: boolean;
	readonly dryRun?: boolean;
	readonly output: OutputFormat;
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
		.addOption(
			outputOption(
				['table', 'wide', 'json', 'yaml', 'name'],
				'a line for each object; or the objects as they last were',
			),
		)
		.addHelpText(
			'after',
			`
Examples:
  weft delete httproute reviews
  weft delete svc reviews ratings -n shop
  weft delete -f routes.yaml --ignore-not-found
  weft delete httproute reviews -o yaml > reviews.yaml
`,
		)
		.action(async (kindText: string | undefined, names: string[], options: DeleteOptions, command: Command) => {
			const doomed = await doomedObjects(kindText, names, options);
			const client = clientFor(command);
			const missing = await deleteAll(client, doomed, options);
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

/** One after the other, and says so. What was deleted before one fails is shown too. Returns those that were not there. */
async function deleteAll(client: ApiClient, doomed: readonly Doomed[], options: DeleteOptions): Promise<Doomed[]> {
	const { output, dryRun = false } = options;
	const missing: Doomed[] = [];
	const deleted: MeshObject[] = [];
	try {
		for (const one of doomed) {
			const object = await deleteOne(client, one, dryRun);
			if (object === null) {
				missing.push(one);
				continue;
			}
			deleted.push(object);
			const name = displayName(one.kind, one.name);
			const note = output === 'wide' ? wideNote(object) : '';
			if (output === 'name') print(name);
			else if (!isData(output)) print(`${name} deleted${dryRun ? ' (dry run)' : ''}${note}`);
		}
	} finally {
		if (isData(output) && deleted.length > 0) printObjects(deleted, output, doomed.length === 1);
	}
	return missing;
}

/** The object as it was when it was deleted; null when it was not there. */
async function deleteOne(client: ApiClient, one: Doomed, dryRun: boolean): Promise<MeshObject | null> {
	const path = `${resourcePath(one.kind, one.namespace, one.name)}${dryRun ? '?dryRun=All' : ''}`;
	for (let attempt = 0; ; attempt++) {
		const object = await client.get(one.kind, one.namespace, one.name);
		if (object === null) return null;
		const { uid, resourceVersion } = object.metadata;
		const answer = await client.send({ method: 'DELETE', path, body: { preconditions: { uid, resourceVersion } } });
		// Somebody else changed or deleted it in between: look again.
		if ((answer.status === 409 || answer.status === 404) && attempt < CONFLICT_RETRIES_MAX) continue;
		if (answer.status >= 400) throw failure(answer);
		for (const warning of answer.warnings) warn(warning);
		return object;
	}
}
