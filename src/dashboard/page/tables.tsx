// The two tables. A column sorts by a click on its head; the order stays until changed, and ties
// are broken by name, so that rows do not swap places each second. Busy columns sort on whole
// steps for the same reason.

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { ServiceSummary, SidecarSummary } from '../../control/mesh-snapshot.ts';
import { Sparkline, Status } from './figures.tsx';
import { formatDuration, formatMs, formatRate, formatShare, secondsBetween } from './format.ts';
import { severityOfCertificate, severityOfTraffic } from './severity.ts';
import { history, select, selection, serviceHistoryKey, type View } from './state.ts';
import { addressOf } from './topology.ts';

interface Column<Row> {
	readonly name: string;
	readonly cell: (row: Row) => ComponentChildren;
	/** Smaller first. Absent: cannot be sorted by. */
	readonly order?: (row: Row) => number | string;
	readonly numeric?: boolean;
	/** Left out on a phone. */
	readonly wide?: boolean;
}

function Table<Row>({
	rows,
	columns,
	keyOf,
	caption,
	after,
	isSelected,
}: {
	readonly rows: readonly Row[];
	readonly columns: readonly Column<Row>[];
	readonly keyOf: (row: Row) => string;
	readonly caption: string;
	/** A line under the row. */
	readonly after?: (row: Row) => ComponentChildren;
	readonly isSelected?: (row: Row) => boolean;
}) {
	const [sort, setSort] = useState<{ index: number; up: boolean }>({ index: 0, up: true });
	const order = columns[sort.index]!.order ?? keyOf;
	const sorted = [...rows].sort((a, b) => {
		const by = compare(order(a), order(b));
		return (sort.up ? by : -by) || compare(keyOf(a), keyOf(b));
	});
	return (
		<table class="table">
			<caption class="sr-only">{caption}</caption>
			<thead>
				<tr>
					{columns.map((column, index) => (
						<th
							key={column.name}
							scope="col"
							class={classOf(column)}
							aria-sort={sort.index !== index ? undefined : sort.up ? 'ascending' : 'descending'}
						>
							{column.order === undefined ? (
								column.name
							) : (
								<button
									type="button"
									onClick={() => setSort({ index, up: sort.index === index ? !sort.up : !column.numeric })}
								>
									{column.name}
								</button>
							)}
						</th>
					))}
				</tr>
			</thead>
			<tbody>
				{sorted.flatMap((row) => {
					const more = after?.(row) ?? null;
					return [
						<tr key={keyOf(row)} class={`${more === null ? '' : 'has-more'} ${isSelected?.(row) ? 'is-selected' : ''}`}>
							{columns.map((column) => (
								<td key={column.name} class={classOf(column)}>
									{column.cell(row)}
								</td>
							))}
						</tr>,
						more !== null && (
							<tr key={`${keyOf(row)} more`} class="more">
								<td colSpan={columns.length}>{more}</td>
							</tr>
						),
					];
				})}
			</tbody>
		</table>
	);
}

function classOf(column: { readonly numeric?: boolean; readonly wide?: boolean }): string {
	return `${column.numeric ? 'numeric' : ''} ${column.wide ? 'wide-only' : ''}`.trim();
}

function compare(a: number | string, b: number | string): number {
	if (a === b) return 0;
	return a < b ? -1 : 1;
}

export function ServiceTable({ current }: { readonly current: View }) {
	const { topology, snapshot } = current;
	const rows = snapshot.services;
	if (rows.length === 0) {
		return <p class="quiet empty">No service yet. Start one: weft run --service NAME --port PORT -- COMMAND</p>;
	}
	const appKey = (service: ServiceSummary) => `${service.namespace}/${service.apps[0] ?? service.name}`;
	const columns: Column<ServiceSummary>[] = [
		{
			name: 'Service',
			order: (service) => service.name,
			cell: (service) => (
				<>
					<button type="button" class="link" onClick={() => select({ kind: 'node', key: appKey(service) })}>
						{service.name}
					</button>
					{topology.manyNamespaces && <span class="quiet"> {service.namespace}</span>}
				</>
			),
		},
		{
			name: 'Address',
			wide: true,
			cell: (service) => <span class="mono quiet">{addressOf(service)}</span>,
		},
		{
			name: 'Versions',
			wide: true,
			cell: (service) =>
				service.versions.map(({ version }) => (
					<span class="chip" key={version}>
						{version || '–'}
					</span>
				)),
		},
		{
			name: 'Healthy',
			numeric: true,
			order: (service) => service.healthy - service.instances,
			cell: (service) => (
				<span class={service.healthy < service.instances || service.instances === 0 ? 'is-warn' : ''}>
					{service.healthy}/{service.instances}
				</span>
			),
		},
		{
			name: 'Last 2 min',
			wide: true,
			cell: (service) => (
				<Sparkline
					samples={history.of(serviceHistoryKey(service))}
					value={(sample) => sample.rate}
					width={110}
					height={18}
				/>
			),
		},
		{
			name: 'req/s',
			numeric: true,
			order: ({ traffic }) => Math.round(Math.log2(1 + traffic.requestRate) * 4),
			cell: ({ traffic }) => formatRate(traffic.requestRate),
		},
		{
			name: 'Success',
			numeric: true,
			order: ({ traffic }) => Math.round(traffic.successRate * 1000),
			cell: ({ traffic }) =>
				traffic.requestRate === 0 ? (
					<span class="quiet">–</span>
				) : (
					<span class={`is-${severityOfTraffic(traffic)}`}>{formatShare(traffic.successRate)}</span>
				),
		},
		{ name: 'p50 ms', numeric: true, wide: true, cell: ({ traffic }) => formatMs(traffic.p50Ms) },
		{
			name: 'p99 ms',
			numeric: true,
			order: ({ traffic }) => Math.round(Math.log2(1 + (traffic.p99Ms ?? 0)) * 4),
			cell: ({ traffic }) => formatMs(traffic.p99Ms),
		},
	];
	const chosen = selection.value;
	return (
		<Table
			rows={rows}
			columns={columns}
			keyOf={(service) => `${service.namespace}/${service.name}`}
			caption="Services and what they receive"
			isSelected={(service) => chosen?.kind === 'node' && chosen.key === appKey(service)}
		/>
	);
}

export function SidecarTable({ current }: { readonly current: View }) {
	const { snapshot } = current;
	if (snapshot.sidecars.length === 0) return <p class="quiet empty">No sidecar is connected.</p>;
	const remaining = (sidecar: SidecarSummary) =>
		sidecar.certificate === null
			? Number.POSITIVE_INFINITY
			: secondsBetween(snapshot.time, sidecar.certificate.notAfter);
	const columns: Column<SidecarSummary>[] = [
		{
			name: 'Sidecar',
			order: (sidecar) => sidecar.instance,
			cell: (sidecar) => (
				<>
					<span class="mono">{sidecar.instance}</span>
					<span class="quiet under">
						{sidecar.address}
						{sidecar.health !== 'healthy' && sidecar.health !== 'unknown' && (
							<span class="narrow-only is-bad"> {sidecar.health}</span>
						)}
					</span>
				</>
			),
		},
		{
			name: 'Agent',
			wide: true,
			order: (sidecar) => `${sidecar.agent} ${sidecar.agentVersion}`,
			cell: (sidecar) => (
				<>
					{sidecar.agent} <span class="quiet">{sidecar.agentVersion}</span>
				</>
			),
		},
		{
			name: 'Connected',
			wide: true,
			order: (sidecar) => sidecar.connectedSince ?? '',
			cell: (sidecar) =>
				sidecar.connected ? (
					sidecar.connectedSince !== null && formatDuration(secondsBetween(sidecar.connectedSince, snapshot.time))
				) : (
					<Status severity="warn">not connected</Status>
				),
		},
		{ name: 'Configuration', order: syncOrder, cell: (sidecar) => <SyncCell sidecar={sidecar} /> },
		{
			name: 'Certificate',
			order: (sidecar) => Math.round(remaining(sidecar) / 60),
			cell: (sidecar) =>
				sidecar.certificate === null ? (
					<span class="quiet">none</span>
				) : (
					<span class={`is-${severityOfCertificate(remaining(sidecar))}`} title={sidecar.certificate.spiffeId}>
						{remaining(sidecar) <= 0 ? 'expired' : formatDuration(remaining(sidecar))}
					</span>
				),
		},
		{
			name: 'Health',
			wide: true,
			order: (sidecar) => sidecar.health,
			// Unknown is neither good nor bad: as a rule its program has no health check.
			cell: (sidecar) =>
				sidecar.health === 'unknown' ? (
					<span class="quiet">unknown</span>
				) : (
					<Status severity={sidecar.health === 'unhealthy' ? 'bad' : sidecar.health === 'draining' ? 'warn' : 'ok'}>
						{sidecar.health}
					</Status>
				),
		},
	];
	return (
		<Table
			rows={snapshot.sidecars}
			columns={columns}
			keyOf={(sidecar) => sidecar.id}
			caption="Sidecars, what they have acknowledged, and how long their certificates last"
			after={(sidecar) =>
				sidecar.rejected.length === 0
					? null
					: sidecar.rejected.map((each) => (
							<p class="nack" key={each.type}>
								<b>refused {each.type}</b> <span class="mono">{each.detail}</span>
							</p>
						))
			}
		/>
	);
}

function syncOrder(sidecar: SidecarSummary): number {
	if (sidecar.rejected.length > 0) return 0;
	if (!sidecar.connected) return 1;
	return sidecar.inSync ? 3 : 2;
}

function SyncCell({ sidecar }: { readonly sidecar: SidecarSummary }) {
	const types = Object.entries(sidecar.resources);
	const title = types.map(([type, { sent, acknowledged }]) => `${type} ${acknowledged} of ${sent}`).join('\n');
	const sum = (pick: 'sent' | 'acknowledged') => types.reduce((total, [, each]) => total + each[pick], 0);
	const severity = sidecar.rejected.length > 0 ? 'bad' : sidecar.inSync ? 'ok' : 'warn';
	return (
		<span title={title}>
			<Status severity={severity}>{severity === 'ok' ? 'in sync' : `${sum('acknowledged')} of ${sum('sent')}`}</Status>
			<span class="quiet wide-only"> at {sidecar.acknowledgedVersion || '–'}</span>
		</span>
	);
}
