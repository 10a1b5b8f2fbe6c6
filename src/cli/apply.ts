// `weft apply`: makes the mesh what the manifests say. All or nothing on validation: every object
// is checked, here and by the control plane (dry run), before the first is written.

import type { Command } from 'commander';
import { ExitError } from '../app/exit-error.ts';
import { formatFieldPath } from '../config/field-errors.ts';
import type { Reference } from '../config/kind.ts';
import { findKindByName } from '../config/kinds.ts';
import type { ManifestObject } from '../config/manifest.ts';
import type { MeshObject } from '../config/object.ts';
import { didYouMean } from '../std/did-you-mean.ts';
import { parseDurationMs } from '../std/duration.ts';
import { ConfigError, type ConfigErrorDetail } from '../std/errors.ts';
import { type ApiAnswer, type ApiClient, clientFor, failure, resourcePath } from './api-client.ts';
import { EXIT_FAILED, EXIT_INVALID } from './exit-codes.ts';
import { displayName } from './kind-argument.ts';
import { readManifests } from './manifest-files.ts';
import { print, warn } from './output.ts';
import { isData, type OutputFormat, outputOption, printObjects, wideNote } from './output-format.ts';
import { waitForAcknowledgement } from './wait.ts';

/** A write is tried again so often when others write the same object at the same time. */
const CONFLICT_RETRIES_MAX = 5;

interface ApplyOptions {
	readonly filename: string[];
	readonly namespace: string;
	readonly dryRun?: boolean;
	readonly wait?: boolean;
	readonly timeout: string;
	readonly allowMissing?: boolean;
	readonly output: OutputFormat;
}

export function register(program: Command): void {
	program
		.command('apply')
		.description('make objects what the manifests say; all are checked before one is changed')
		.requiredOption('-f, --filename <file...>', 'YAML or JSON files or directories; - is standard input')
		.option('-n, --namespace <name>', 'namespace of objects that name none', 'default')
		.option('--dry-run', 'check everything, change nothing')
		.option('--wait', 'until every connected sidecar has acknowledged it')
		.option('--timeout <duration>', 'how long to wait', '30s')
		.option('--allow-missing', 'accept routes whose parent Service does not exist yet')
		.addOption(
			outputOption(['table', 'wide', 'json', 'yaml', 'name'], 'a line for each object; or the objects as they are now'),
		)
		.addHelpText(
			'after',
			`
Examples:
  weft apply -f routes.yaml
  weft apply -f examples/shop/mesh/products-canary-10.yaml --wait
  sed s/10/50/ canary.yaml | weft apply -f -
  weft apply -f routes.yaml --dry-run -o yaml
`,
		)
		.action(async (options: ApplyOptions, command: Command) => {
			const timeoutMs = parseDurationMs(options.timeout);
			if (timeoutMs === null) {
				throw new ExitError(EXIT_INVALID, `--timeout ${options.timeout}: expected a duration like 30s or 1m30s`);
			}
			const objects = await readManifests(options.filename, options.namespace);
			const client = clientFor(command);
			await checkReferences(client, objects, options.allowMissing === true);
			await checkOnServer(client, objects);
			const written = await writeAll(client, objects, options);
			if (options.wait !== true || options.dryRun === true) return;
			// After data on standard output comes nothing else there.
			const isText = options.output === 'table' || options.output === 'wide';
			const say = isText ? print : (text: string) => void process.stderr.write(`${text}\n`);
			await waitForAcknowledgement(client, written, timeoutMs, say);
		});
}

/** One after the other, and says so. What was written before one fails is shown too. */
async function writeAll(
	client: ApiClient,
	objects: readonly ManifestObject[],
	{ output, dryRun = false }: ApplyOptions,
): Promise<MeshObject[]> {
	const written: MeshObject[] = [];
	try {
		for (const one of objects) {
			const { action, object } = await write(client, one, dryRun);
			written.push(object);
			const name = displayName(one.kind, one.object.metadata.name);
			const note = output === 'wide' ? wideNote(object) : '';
			if (output === 'name') print(name);
			else if (!isData(output)) print(`${name} ${action}${dryRun ? ' (dry run)' : ''}${note}`);
		}
	} finally {
		if (isData(output) && written.length > 0) printObjects(written, output, objects.length === 1);
	}
	return written;
}

/** A route whose parent does not exist would do nothing at all: more likely a slip than a wish. */
async function checkReferences(
	client: ApiClient,
	objects: readonly ManifestObject[],
	allowMissing: boolean,
): Promise<void> {
	const details: ConfigErrorDetail[] = [];
	for (const one of objects) {
		for (const reference of one.kind.references?.(one.object) ?? []) {
			if (!reference.essential || allowMissing || isAmong(objects, reference)) continue;
			const kind = findKindByName(reference.kind);
			if (kind === null || (await client.get(kind, reference.namespace, reference.name)) !== null) continue;
			const others = (await client.list(kind, reference.namespace)).map((object) => object.metadata.name);
			const meant = didYouMean(reference.name, others);
			const { namespace, name } = one.object.metadata;
			details.push({
				object: `${one.source}: ${one.kind.kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`,
				field: formatFieldPath(reference.field),
				found: `"${reference.name}", which does not exist in namespace ${reference.namespace}`,
				expected: `a ${reference.kind}${others.length > 0 && others.length <= 12 ? ` (there are ${others.join(', ')})` : ''}`,
				hint:
					meant === null ? 'weft run makes it; --allow-missing accepts the route before' : `did you mean "${meant}"?`,
			});
		}
	}
	if (details.length > 0) throw new ConfigError(details);
}

function isAmong(objects: readonly ManifestObject[], reference: Reference): boolean {
	return objects.some(
		({ kind, object: { metadata } }) =>
			kind.kind === reference.kind &&
			metadata.name === reference.name &&
			(metadata.namespace ?? '') === reference.namespace,
	);
}

/** The server's own checks (conflicting addresses, unknown namespaces), of all objects. */
async function checkOnServer(client: ApiClient, objects: readonly ManifestObject[]): Promise<void> {
	const failures: ExitError[] = [];
	for (const one of objects) {
		const { namespace } = one.object.metadata;
		// Nothing is in a namespace that these manifests make: what was checked here is all there is.
		if (namespace !== undefined && (await isMadeHere(client, objects, namespace))) continue;
		try {
			await write(client, one, true, false);
		} catch (error) {
			if (!(error instanceof ExitError) || (error.exitCode !== EXIT_FAILED && error.exitCode !== EXIT_INVALID))
				throw error;
			failures.push(new ExitError(EXIT_INVALID, `${one.source}: ${error.message}`));
		}
	}
	if (failures.length > 0) throw new ExitError(EXIT_INVALID, failures.map((error) => error.message).join('\n'));
}

async function isMadeHere(client: ApiClient, objects: readonly ManifestObject[], namespace: string): Promise<boolean> {
	const made = objects.find(({ kind, object }) => kind.kind === 'Namespace' && object.metadata.name === namespace);
	return made !== undefined && (await client.get(made.kind, '', namespace)) === null;
}

type Action = 'created' | 'configured' | 'unchanged';

async function write(
	client: ApiClient,
	one: ManifestObject,
	dryRun: boolean,
	withWarnings = true,
): Promise<{ action: Action; object: MeshObject }> {
	const { kind, object } = one;
	const { name, namespace } = object.metadata;
	const query = dryRun ? '?dryRun=All' : '';
	for (let attempt = 0; ; attempt++) {
		const current = await client.get(kind, namespace ?? '', name);
		if (
			dryRun &&
			current === null &&
			namespace !== undefined &&
			(await namespaceMissing(client, namespace)) &&
			withWarnings
		) {
			return { action: 'created', object };
		}
		const body = { ...one.input, apiVersion: object.apiVersion, metadata: metadataOf(one, current) };
		const answer: ApiAnswer =
			current === null
				? await client.send({ method: 'POST', path: `${resourcePath(kind, namespace)}${query}`, body })
				: await client.send({ method: 'PUT', path: `${resourcePath(kind, namespace, name)}${query}`, body });
		// Somebody else made, changed or deleted it in between: look again.
		const raced = answer.status === 409 || (answer.status === 404 && current !== null);
		if (raced && attempt < CONFLICT_RETRIES_MAX) continue;
		if (answer.status >= 400) throw failure(answer);
		if (withWarnings) for (const warning of answer.warnings) warn(warning);
		const written = answer.body as MeshObject;
		return {
			action: current === null ? 'created' : same(current, written) ? 'unchanged' : 'configured',
			object: written,
		};
	}
}

async function namespaceMissing(client: ApiClient, namespace: string): Promise<boolean> {
	const kind = findKindByName('namespace');
	return kind !== null && (await client.get(kind, '', namespace)) === null;
}

/** The manifest's, with the version that was read: a write of somebody else in between is noticed. */
function metadataOf({ object }: ManifestObject, current: MeshObject | null): unknown {
	const { name, namespace, labels, annotations } = object.metadata;
	return { name, namespace, labels, annotations, resourceVersion: current?.metadata.resourceVersion };
}

/** Apart from what a dry run does not know. */
function same(before: MeshObject, after: MeshObject): boolean {
	const bare = ({ spec, metadata: { labels, annotations } }: MeshObject) => ({ spec, labels, annotations });
	return Bun.deepEquals(bare(before), bare(after));
}
