// `weft top`: who calls whom, live: a table of services and one of edges, drawn anew with each
// snapshot that the control plane sends.

import type { Command } from 'commander';
import type { EdgeEnd, MeshSnapshot, TrafficFigures } from '../control/mesh-snapshot.ts';
import { clientFor } from './api-client.ts';
import { LiveScreen } from './live-screen.ts';
import { meshSnapshot, meshSnapshots } from './mesh-client.ts';
import { type Cell, coloured, formatTable, print } from './output.ts';
import { isData, type OutputFormat, outputOption, printData } from './output-format.ts';

export function register(program: Command): void {
	program
		.command('top')
		.description('live traffic per service and edge: requests/s, success, latency, mutual TLS')
		.option('--once', 'print it once and end')
		.option('-n, --namespace <name>', 'only services of this namespace, and edges from or to it')
		.addOption(outputOption(['table', 'json', 'yaml'], 'json and yaml: once, as data'))
		.addHelpText('after', '\nExamples:\n  weft top\n  weft top --once -n shop\n  weft top -o json\n')
		.action(async (options: TopOptions, command: Command) => {
			const client = clientFor(command);
			if (isData(options.output)) {
				const mesh = await meshSnapshot(client);
				printData({ time: mesh.time, ...busiestFirst(mesh, options.namespace) }, options.output);
				return;
			}
			if (options.once === true || process.stdout.isTTY !== true) {
				for (const line of topLines(await meshSnapshot(client), options.namespace)) print(line);
				return;
			}
			const ending = new AbortController();
			const end = () => ending.abort();
			process.once('SIGINT', end).once('SIGTERM', end);
			const screen = new LiveScreen();
			screen.enter();
			try {
				for await (const mesh of meshSnapshots(client, ending.signal)) screen.draw(topLines(mesh, options.namespace));
			} finally {
				screen.leave();
				process.off('SIGINT', end).off('SIGTERM', end);
			}
		});
}

interface TopOptions {
	readonly once?: boolean;
	readonly namespace?: string;
	readonly output: OutputFormat;
}

/** All, or what has to do with one namespace. */
function busiestFirst(mesh: MeshSnapshot, namespace?: string): Pick<MeshSnapshot, 'services' | 'edges'> {
	const within = (one: { readonly namespace: string }) => namespace === undefined || one.namespace === namespace;
	return {
		services: mesh.services.filter(within).toSorted(byRate),
		edges: mesh.edges.filter((edge) => within(edge.source) || within(edge.destination)).toSorted(byRate),
	};
}

export function topLines(mesh: MeshSnapshot, namespace?: string): string[] {
	const { services, edges } = busiestFirst(mesh, namespace);
	const heading = ['RPS', 'SUCCESS', 'P50', 'P90', 'P99'];
	const healthy = services.filter((service) => service.healthy > 0 && service.healthy === service.instances).length;
	const lines = [
		`${coloured('weft top', 'bold')}  ${mesh.time}  ${healthy}/${services.length} services healthy, ${mesh.sidecars.filter((one) => one.connected).length} sidecars`,
		'',
	];
	const serviceRows = services.map((service) => [
		{ text: service.name },
		{ text: service.namespace },
		{ text: `${service.healthy}/${service.instances}`, right: true },
		...figures(service.traffic),
	]);
	lines.push(...formatTable(['SERVICE', 'NAMESPACE', 'HEALTHY', ...heading], serviceRows), '');
	if (edges.length === 0) return [...lines, 'no traffic in the last 10 seconds'];
	const edgeRows = edges.map((edge): Cell[] => [
		{ text: endName(edge.source) },
		{ text: endName(edge.destination) },
		...figures(edge.traffic),
		mutualTls(edge.mtls),
	]);
	return [...lines, ...formatTable(['FROM', 'TO', ...heading, 'MTLS'], edgeRows)];
}

/** `-`: nobody has said yet. */
function mutualTls(mtls: boolean | null): Cell {
	if (mtls === null) return { text: '-' };
	return mtls ? { text: 'yes', colour: 'green' } : { text: 'no', colour: 'yellow' };
}

function byRate(a: { readonly traffic: TrafficFigures }, b: { readonly traffic: TrafficFigures }): number {
	return b.traffic.requestRate - a.traffic.requestRate;
}

function endName(end: EdgeEnd): string {
	return end.version === '' || end.version === 'unknown' ? end.service : `${end.service} ${end.version}`;
}

function figures(traffic: TrafficFigures): Cell[] {
	const idle = traffic.requestRate === 0;
	const success = (traffic.successRate * 100).toFixed(traffic.successRate === 1 ? 0 : 2);
	const colour = idle
		? undefined
		: traffic.successRate >= 0.999
			? 'green'
			: traffic.successRate >= 0.99
				? 'yellow'
				: 'red';
	return [
		{ text: traffic.requestRate.toFixed(1), right: true },
		{ text: idle ? '-' : `${success}%`, right: true, colour },
		...[traffic.p50Ms, traffic.p90Ms, traffic.p99Ms].map((ms) => ({ text: latency(ms), right: true })),
	];
}

function latency(ms: number | null): string {
	if (ms === null) return '-';
	return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
