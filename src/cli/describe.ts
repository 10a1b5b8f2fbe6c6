// `weft describe`: one object in full, with what belongs to it: a Service's instances and routes,
// conditions with their reasons.

import type { Command } from 'commander';
import { stringify } from 'yaml';
import { ExitError } from '../app/exit-error.ts';
import { GRPC_ROUTE } from '../config/grpc-route.ts';
import { HTTP_ROUTE, type HttpRouteSpec } from '../config/http-route.ts';
import { erased } from '../config/kinds.ts';
import type { Condition, MeshObject } from '../config/object.ts';
import type { ServiceSpec } from '../config/service.ts';
import { WORKLOAD_ENTRY, type WorkloadEntrySpec } from '../config/workload-entry.ts';
import { humanDuration } from '../std/duration.ts';
import { type ApiClient, clientFor } from './api-client.ts';
import { EXIT_FAILED } from './exit-codes.ts';
import { parseWanted } from './kind-argument.ts';
import { coloured, formatTable, print, printable, terminalWidth } from './output.ts';
import { isData, type OutputFormat, outputOption, printData } from './output-format.ts';

export function register(program: Command): void {
	program
		.command('describe')
		.description('show one object in full, with what belongs to it')
		.argument('<kind>', 'kind, plural or short name, or KIND/NAME')
		.argument('[names...]')
		.option('-n, --namespace <name>', 'namespace', 'default')
		.addOption(
			outputOption(['table', 'wide', 'json', 'yaml'], 'text for people (wide: nothing is cut), or the same as data'),
		)
		.addHelpText(
			'after',
			`
Examples:
  weft describe service reviews
  weft describe httproute/reviews -n shop
  weft describe service reviews -o json
`,
		)
		.action(async (kindText: string, names: string[], options: DescribeOptions, command: Command) => {
			const { namespace, output } = options;
			const client = clientFor(command);
			const wanted = parseWanted(kindText, names);
			const described: Description[] = [];
			for (const { kind, names: given } of wanted) {
				const all =
					given.length > 0 ? given : (await client.list(kind, namespace)).map(({ metadata }) => metadata.name);
				for (const name of all) {
					const object = await client.get(kind, namespace, name);
					if (object === null)
						throw new ExitError(EXIT_FAILED, `${kind.singular} ${name} not found in namespace ${namespace}`);
					const description = await describe(client, object);
					if (isData(output)) {
						described.push(description);
						continue;
					}
					if (described.push(description) > 1) print('');
					const width = output === 'wide' ? null : terminalWidth();
					for (const line of describeLines(description, width)) print(line);
				}
			}
			if (!isData(output)) return;
			const isOne = wanted.length === 1 && wanted[0]?.names.length === 1;
			printData(isOne ? described[0] : { items: described }, output);
		});
}

interface DescribeOptions {
	readonly namespace: string;
	readonly output: OutputFormat;
}

/** The object, its status with it, and what belongs to it. `-o json` and `-o yaml` show it as it is. */
interface Description {
	readonly object: MeshObject;
	/** Of a Service: by its selector. */
	readonly instances?: readonly InstanceSummary[];
	/** Of a Service: those that have it as a parent. */
	readonly routes?: readonly { readonly kind: string; readonly namespace: string; readonly name: string }[];
}

interface InstanceSummary {
	readonly name: string;
	readonly address: string;
	/** Unknown: it has no health check, or has not said. */
	readonly healthy: Condition['status'];
	readonly labels: Readonly<Record<string, string>>;
}

async function describe(client: ApiClient, object: MeshObject): Promise<Description> {
	return object.kind === 'Service' ? await describeService(client, object as MeshObject<ServiceSpec>) : { object };
}

function describeLines({ object, instances, routes }: Description, width: number | null): string[] {
	const { metadata } = object;
	const created = metadata.creationTimestamp ?? '';
	const lines = [field('Name', metadata.name), field('Kind', `${object.kind} (${object.apiVersion})`)];
	if (metadata.namespace !== undefined) lines.push(field('Namespace', metadata.namespace));
	lines.push(field('Created', `${created} (${humanDuration(Date.now() - Date.parse(created))} ago)`));
	lines.push(field('Generation', `${metadata.generation ?? 1}, resource version ${metadata.resourceVersion}`));
	lines.push(...mapLines('Labels', metadata.labels), ...mapLines('Annotations', metadata.annotations));
	lines.push('Spec:', ...indented(stringify(object.spec, { aliasDuplicateObjects: false })));
	for (const [owner, conditions] of conditionsOf(object.status))
		lines.push(...conditionLines(owner, conditions, width));
	if (instances !== undefined) lines.push(...instanceLines(instances, width));
	if (routes !== undefined) {
		lines.push(field('Routes', routes.map(({ namespace, name }) => `${namespace}/${name}`).join(', ') || 'none'));
	}
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

function conditionLines(owner: string, conditions: readonly Condition[], width: number | null): string[] {
	const rows = conditions.map((one) => [
		{ text: one.type },
		{ text: one.status, colour: one.status === 'True' ? ('green' as const) : ('yellow' as const) },
		{ text: one.reason },
		{ text: one.message },
	]);
	return [
		`Conditions${owner}:`,
		...formatTable(['TYPE', 'STATUS', 'REASON', 'MESSAGE'], rows, width).map((line) => `  ${line}`),
	];
}

const HEALTH_COLOURS = { True: 'green', False: 'red', Unknown: undefined } as const;

function instanceLines(instances: readonly InstanceSummary[], width: number | null): string[] {
	if (instances.length === 0) return [`Instances: ${coloured('none', 'yellow')}`];
	const rows = instances.map(({ name, address, healthy, labels }) => [
		{ text: name },
		{ text: address },
		{ text: healthy, colour: HEALTH_COLOURS[healthy] },
		{
			text: Object.entries(labels)
				.map(([key, value]) => `${key}=${value}`)
				.join(','),
		},
	]);
	const table = formatTable(['NAME', 'ADDRESS', 'HEALTHY', 'LABELS'], rows, width);
	return ['Instances:', ...table.map((line) => `  ${line}`)];
}

async function describeService(client: ApiClient, service: MeshObject<ServiceSpec>): Promise<Description> {
	const namespace = service.metadata.namespace ?? '';
	const selector = Object.entries(service.spec.selector ?? {});
	const entries = (await client.list(erased(WORKLOAD_ENTRY), namespace)) as MeshObject<WorkloadEntrySpec>[];
	const instances = entries.filter(
		(entry) => selector.length > 0 && selector.every(([key, value]) => entry.spec.labels?.[key] === value),
	);
	const routes = [...(await client.list(erased(HTTP_ROUTE))), ...(await client.list(erased(GRPC_ROUTE)))] as MeshObject<
		Pick<HttpRouteSpec, 'parentRefs'>
	>[];
	const own = routes.filter((route) =>
		route.spec.parentRefs.some(
			(parent) => parent.name === service.metadata.name && (parent.namespace ?? route.metadata.namespace) === namespace,
		),
	);
	return {
		object: service,
		instances: instances.map(({ metadata, spec, status }) => ({
			name: metadata.name,
			address: spec.address,
			healthy: healthOf(status),
			labels: spec.labels,
		})),
		routes: own.map(({ kind, metadata }) => ({ kind, namespace: metadata.namespace ?? '', name: metadata.name })),
	};
}

function healthOf(status: unknown): Condition['status'] {
	const { conditions = [] } = (status ?? {}) as { conditions?: readonly Condition[] };
	return conditions.find((one) => one.type === 'Healthy')?.status ?? 'Unknown';
}
