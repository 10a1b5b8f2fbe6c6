// `weft describe`: one object in full, with what belongs to it: a Service's instances and routes,
// conditions with their reasons.

import type { Command } from 'commander';
import { stringify } from 'yaml';
import { ExitError } from '../app/exit-error.ts';
import { GRPC_ROUTE } from '../config/grpc-route.ts';
import { HTTP_ROUTE, type HttpRouteSpec } from '../config/http-route.ts';
import { type AnyKind, erased } from '../config/kinds.ts';
import type { Condition, MeshObject } from '../config/object.ts';
import type { ServiceSpec } from '../config/service.ts';
import { WORKLOAD_ENTRY, type WorkloadEntrySpec } from '../config/workload-entry.ts';
import { humanDuration } from '../std/duration.ts';
import { type ApiClient, clientFor } from './api-client.ts';
import { EXIT_FAILED } from './exit-codes.ts';
import { parseWanted } from './kind-argument.ts';
import { coloured, formatTable, print, printable } from './output.ts';

export function register(program: Command): void {
	program
		.command('describe')
		.description('show one object in full, with what belongs to it')
		.argument('<kind>', 'kind, plural or short name, or KIND/NAME')
		.argument('[names...]')
		.option('-n, --namespace <name>', 'namespace', 'default')
		.addHelpText('after', '\nExamples:\n  weft describe service reviews\n  weft describe httproute/reviews -n shop\n')
		.action(async (kindText: string, names: string[], options: { namespace: string }, command: Command) => {
			const client = clientFor(command);
			let described = 0;
			for (const { kind, names: given } of parseWanted(kindText, names)) {
				const wanted =
					given.length > 0 ? given : (await client.list(kind, options.namespace)).map((object) => object.metadata.name);
				for (const name of wanted) {
					const object = await client.get(kind, options.namespace, name);
					if (object === null)
						throw new ExitError(EXIT_FAILED, `${kind.singular} ${name} not found in namespace ${options.namespace}`);
					if (described++ > 0) print('');
					for (const line of await describeLines(client, kind, object)) print(line);
				}
			}
		});
}

async function describeLines(client: ApiClient, kind: AnyKind, object: MeshObject): Promise<string[]> {
	const { metadata } = object;
	const created = metadata.creationTimestamp ?? '';
	const lines = [field('Name', metadata.name), field('Kind', `${kind.kind} (${object.apiVersion})`)];
	if (metadata.namespace !== undefined) lines.push(field('Namespace', metadata.namespace));
	lines.push(field('Created', `${created} (${humanDuration(Date.now() - Date.parse(created))} ago)`));
	lines.push(field('Generation', `${metadata.generation ?? 1}, resource version ${metadata.resourceVersion}`));
	lines.push(...mapLines('Labels', metadata.labels), ...mapLines('Annotations', metadata.annotations));
	lines.push('Spec:', ...indented(stringify(object.spec, { aliasDuplicateObjects: false })));
	for (const [owner, conditions] of conditionsOf(object.status)) lines.push(...conditionLines(owner, conditions));
	if (kind.kind === 'Service') lines.push(...(await serviceLines(client, object as MeshObject<ServiceSpec>)));
	return lines;
}

function field(name: string, value: string): string {
	return `${`${name}:`.padEnd(13)}${oneLine(value)}`;
}

function oneLine(text: string): string {
	return printable(text.trim()).replaceAll('\n', ' ');
}

function mapLines(name: string, map: Readonly<Record<string, string>> | undefined): string[] {
	const entries = Object.entries(map ?? {}).map(([key, value]) => `${key}=${value}`);
	return entries.map((entry, index) => (index === 0 ? field(name, entry) : `${' '.repeat(13)}${oneLine(entry)}`));
}

function indented(text: string): string[] {
	return text
		.trimEnd()
		.split('\n')
		.map((line) => `  ${printable(line)}`);
}

/** Conditions of the object itself, or of each parent of a route. */
function conditionsOf(status: unknown): [string, readonly Condition[]][] {
	const { conditions, parents } = (status ?? {}) as {
		conditions?: Condition[];
		parents?: { parentRef: { name: string; port?: number }; conditions: Condition[] }[];
	};
	const found: [string, readonly Condition[]][] = [];
	if (conditions !== undefined) found.push(['', conditions]);
	for (const { parentRef, conditions: own } of parents ?? []) {
		found.push([` of parent ${parentRef.name}${parentRef.port === undefined ? '' : `:${parentRef.port}`}`, own]);
	}
	return found;
}

function conditionLines(owner: string, conditions: readonly Condition[]): string[] {
	const rows = conditions.map((one) => [
		{ text: one.type },
		{ text: one.status, colour: one.status === 'True' ? ('green' as const) : ('yellow' as const) },
		{ text: one.reason },
		{ text: one.message },
	]);
	return [
		`Conditions${owner}:`,
		...formatTable(['TYPE', 'STATUS', 'REASON', 'MESSAGE'], rows).map((line) => `  ${line}`),
	];
}

/** Unknown: it has no health check. */
function healthCell(entry: MeshObject<WorkloadEntrySpec>): { text: string; colour?: 'green' | 'red' } {
	const { conditions = [] } = (entry.status ?? {}) as { conditions?: readonly Condition[] };
	const status = conditions.find((one) => one.type === 'Healthy')?.status ?? 'Unknown';
	if (status === 'True') return { text: status, colour: 'green' };
	return status === 'False' ? { text: status, colour: 'red' } : { text: status };
}

async function serviceLines(client: ApiClient, service: MeshObject<ServiceSpec>): Promise<string[]> {
	const namespace = service.metadata.namespace ?? '';
	const selector = Object.entries(service.spec.selector ?? {});
	const entries = (await client.list(erased(WORKLOAD_ENTRY), namespace)) as MeshObject<WorkloadEntrySpec>[];
	const instances = entries.filter(
		(entry) => selector.length > 0 && selector.every(([key, value]) => entry.spec.labels?.[key] === value),
	);
	const lines = [`Instances: ${instances.length === 0 ? coloured('none', 'yellow') : ''}`.trimEnd()];
	const rows = instances.map((entry) => [
		{ text: entry.metadata.name },
		{ text: entry.spec.address },
		healthCell(entry),
		{
			text: Object.entries(entry.spec.labels)
				.map(([key, value]) => `${key}=${value}`)
				.join(','),
		},
	]);
	if (rows.length > 0)
		lines.push(...formatTable(['NAME', 'ADDRESS', 'HEALTHY', 'LABELS'], rows).map((line) => `  ${line}`));
	const routes = [...(await client.list(erased(HTTP_ROUTE))), ...(await client.list(erased(GRPC_ROUTE)))] as MeshObject<
		Pick<HttpRouteSpec, 'parentRefs'>
	>[];
	const own = routes.filter((route) =>
		route.spec.parentRefs.some(
			(parent) => parent.name === service.metadata.name && (parent.namespace ?? route.metadata.namespace) === namespace,
		),
	);
	lines.push(
		field('Routes', own.map((route) => `${route.metadata.namespace}/${route.metadata.name}`).join(', ') || 'none'),
	);
	return lines;
}
