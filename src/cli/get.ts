// `weft get`: objects as a table, as YAML or JSON, or by name; once or as they change.

import type { Command } from 'commander';
import { ExitError } from '../app/exit-error.ts';
import type { AnyKind } from '../config/kinds.ts';
import type { MeshObject } from '../config/object.ts';
import { type ApiClient, clientFor, resourcePath } from './api-client.ts';
import { EXIT_FAILED, EXIT_INVALID } from './exit-codes.ts';
import { displayName, parseWanted, type Wanted } from './kind-argument.ts';
import { formatTable, print } from './output.ts';
import { isData, type OutputFormat, outputOption, printData, printObjects } from './output-format.ts';

const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io';

interface GetOptions {
	readonly namespace: string;
	readonly allNamespaces?: boolean;
	readonly output: OutputFormat;
	readonly watch?: boolean;
	readonly selector?: string;
}

export function register(program: Command): void {
	program
		.command('get')
		.description('show objects')
		.argument('<kind>', 'kind, plural or short name; several with commas; KIND/NAME; "all"')
		.argument('[names...]', 'all when left out')
		.option('-n, --namespace <name>', 'namespace', 'default')
		.option('-A, --all-namespaces', 'in all namespaces')
		.option('-l, --selector <labels>', 'only those with these labels, like app=reviews,version!=v1')
		.addOption(outputOption(['table', 'wide', 'json', 'yaml', 'name']))
		.option('-w, --watch', 'then show each change as it comes')
		.addHelpText(
			'after',
			`
Examples:
  weft get services
  weft get httproute reviews -o yaml
  weft get svc,route -A -o wide
  weft get workloadentries -l app=reviews -w
`,
		)
		.action(async (kindText: string, names: string[], options: GetOptions, command: Command) => {
			const wanted = parseWanted(kindText, names);
			const byName = wanted.some((one) => one.names.length > 0);
			if (byName && options.allNamespaces === true) {
				throw new ExitError(EXIT_INVALID, 'an object by name is in one namespace: use -n instead of -A');
			}
			if (options.watch === true && (wanted.length > 1 || wanted.some((one) => one.names.length > 1))) {
				throw new ExitError(EXIT_INVALID, 'only one kind, and one name or all, can be watched at a time');
			}
			const client = clientFor(command);
			if (options.output === 'table' || options.output === 'wide') await getTables(client, wanted, options);
			else await getObjects(client, wanted, options);
		});
}

interface TableObject {
	readonly metadata: { readonly resourceVersion?: string };
	readonly columnDefinitions: readonly { readonly name: string; readonly priority: number }[];
	readonly rows: readonly {
		readonly cells: readonly (string | number)[];
		readonly object: { readonly metadata: { readonly namespace?: string } };
	}[];
}

async function getTables(client: ApiClient, wanted: readonly Wanted[], options: GetOptions): Promise<void> {
	let printed = 0;
	for (const { kind, names } of wanted) {
		const tables = [];
		for (const path of pathsFor(kind, names, options)) {
			tables.push((await client.call({ path, accept: TABLE })) as TableObject);
		}
		const [first] = tables;
		if (first === undefined) continue;
		const merged = { ...first, rows: tables.flatMap((table) => table.rows) };
		if (merged.rows.length > 0) {
			if (printed > 0) print('');
			printTable(merged, wanted.length > 1 ? kind : null, kind, options, true);
			printed++;
		}
		if (options.watch === true) {
			await watchTable(client, kind, names, options, merged);
		}
	}
	if (printed === 0 && options.watch !== true) {
		const where = options.allNamespaces === true ? '' : ` in namespace ${options.namespace}`;
		const plurals = wanted.map(({ kind }) => kind.plural).join(', ');
		process.stderr.write(`no ${plurals}${wanted.some(({ kind }) => kind.namespaced) ? where : ''}\n`);
	}
}

async function watchTable(
	client: ApiClient,
	kind: AnyKind,
	names: string[],
	options: GetOptions,
	{ metadata, columnDefinitions, rows }: TableObject,
): Promise<void> {
	// Where there was nothing to print it under, the first change brings it.
	let heading = rows.length === 0;
	for await (const event of watchEvents(client, kind, names, options, metadata.resourceVersion, TABLE)) {
		const table = { ...(event.object as TableObject), columnDefinitions };
		printTable(table, null, kind, options, heading, event.type === 'DELETED');
		heading = false;
	}
}

function printTable(
	table: TableObject,
	prefix: AnyKind | null,
	kind: AnyKind,
	options: GetOptions,
	heading: boolean,
	deleted = false,
): void {
	const columns = table.columnDefinitions
		.map((column, index) => ({ ...column, index }))
		.filter((column) => column.priority === 0 || options.output === 'wide');
	const withNamespace = options.allNamespaces === true && kind.namespaced;
	const names = columns.map((column) => column.name.toUpperCase());
	const rows = table.rows.map((row) => {
		const cells = columns.map((column, position) => {
			const text = String(row.cells[column.index] ?? '');
			const shown = position === 0 && prefix !== null ? displayName(prefix, text) : text;
			return { text: position === 0 && deleted ? `${shown} (deleted)` : shown };
		});
		return withNamespace ? [{ text: row.object.metadata.namespace ?? '' }, ...cells] : cells;
	});
	const lines = formatTable(withNamespace ? ['NAMESPACE', ...names] : names, rows);
	for (const line of heading ? lines : lines.slice(1)) print(line);
}

async function getObjects(client: ApiClient, wanted: readonly Wanted[], options: GetOptions): Promise<void> {
	const objects: MeshObject[] = [];
	let resourceVersion: string | undefined;
	for (const { kind, names } of wanted) {
		for (const path of pathsFor(kind, names, options)) {
			const body = (await client.call({ path })) as MeshObject & { items?: MeshObject[] };
			resourceVersion = body.metadata.resourceVersion;
			objects.push(...(body.items ?? [body]));
		}
	}
	const isOne = wanted.length === 1 && wanted[0]?.names.length === 1;
	if (isData(options.output)) printObjects(objects, options.output, isOne);
	else for (const object of objects) printName(object);
	const [watched] = wanted;
	if (options.watch !== true || watched === undefined) return;
	const { kind, names } = watched;
	for await (const event of watchEvents(client, kind, names, options, resourceVersion, 'application/json')) {
		const object = event.object as MeshObject;
		if (options.output === 'yaml') print('---');
		if (isData(options.output)) printData(object, options.output);
		else printName(object);
	}
}

function printName({ kind, metadata }: MeshObject): void {
	print(`${kind.toLowerCase()}/${metadata.name}`);
}

async function* watchEvents(
	client: ApiClient,
	kind: AnyKind,
	names: string[],
	options: GetOptions,
	resourceVersion: string | undefined,
	accept: string,
): AsyncGenerator<{ type: string; object: unknown }> {
	const query = new URLSearchParams({ watch: '1', timeoutSeconds: '86400', resourceVersion: resourceVersion ?? '0' });
	if (names[0] !== undefined) query.set('fieldSelector', `metadata.name=${names[0]}`);
	if (options.selector !== undefined) query.set('labelSelector', options.selector);
	const path = `${resourcePath(kind, namespaceOf(options))}?${query}`;
	for await (const line of client.stream({ path, accept }, '\n')) {
		if (line === '') continue;
		const event = JSON.parse(line) as { type: string; object: unknown };
		if (event.type === 'ERROR') {
			throw new ExitError(EXIT_FAILED, String((event.object as { message?: string }).message ?? 'the watch failed'));
		}
		if (event.type !== 'BOOKMARK') yield event;
	}
}

function pathsFor(kind: AnyKind, names: string[], options: GetOptions): string[] {
	if (names.length > 0) return names.map((name) => resourcePath(kind, options.namespace, name));
	const query = options.selector === undefined ? '' : `?${new URLSearchParams({ labelSelector: options.selector })}`;
	return [`${resourcePath(kind, namespaceOf(options))}${query}`];
}

function namespaceOf(options: GetOptions): string | undefined {
	return options.allNamespaces === true ? undefined : options.namespace;
}
