// A card, a line and a line's label on the map.

import { ShareBar } from './figures.tsx';
import { formatMs, formatPart, formatRate, formatShare, plural } from './format.ts';
import { LockIcon, OpenLockIcon } from './icons.tsx';
import type { Box, LayoutStyle, Line } from './layout.ts';
import { rowsOf } from './layout.ts';
import { type Severity, severityOfTraffic, worst } from './severity.ts';
import { select, selection } from './state.ts';
import { type MeshLink, type MeshNode, OUTSIDE, type Topology } from './topology.ts';

function place(box: Box) {
	return { transform: `translate(${box.x}px, ${box.y}px)`, width: `${box.width}px`, height: `${box.height}px` };
}

export function severityOfNode(node: MeshNode): Severity {
	if (node.kind !== 'service') return 'ok';
	const health: Severity =
		node.healthy === node.instances && node.instances > 0 ? 'ok' : node.healthy === 0 ? 'bad' : 'warn';
	const rejected: Severity = node.sidecars.some((sidecar) => sidecar.rejected.length > 0) ? 'bad' : 'ok';
	const traffic = node.received === null ? 'ok' : severityOfTraffic(node.received);
	return worst([node.instances === 0 ? 'warn' : health, rejected, traffic]);
}

export function NodeCard({
	node,
	box,
	style,
	withNamespace,
	faded,
}: {
	readonly node: MeshNode;
	readonly box: Box;
	readonly style: LayoutStyle;
	readonly withNamespace: boolean;
	readonly faded: boolean;
}) {
	const chosen = selection.value;
	const isSelected = chosen?.kind === 'node' && chosen.key === node.key;
	const received = node.received;
	const rows = rowsOf(node) > 0;
	const alone = node.versions.length === 1 ? node.versions[0]!.version : '';
	const title = withNamespace && node.namespace !== '' ? `${node.namespace}/${node.name}` : node.name;
	return (
		<button
			type="button"
			class={`node is-${severityOfNode(node)} kind-${node.kind} ${isSelected ? 'is-selected' : ''} ${faded ? 'is-faded' : ''}`}
			style={place(box)}
			aria-pressed={isSelected}
			data-node={node.key}
			onClick={() => select(isSelected ? null : { kind: 'node', key: node.key })}
		>
			<span class="node-head">
				<span class="node-name" title={title}>
					{title}
				</span>
				{node.kind === 'service' && (
					<span class="node-instances" title={`${node.healthy} of ${plural(node.instances, 'instance')} healthy`}>
						{node.healthy === node.instances ? node.instances : `${node.healthy}/${node.instances}`}
						<span class="sr-only"> instances</span>
					</span>
				)}
			</span>
			<span class="node-figures">
				{received !== null ? (
					<>
						<b>{formatRate(received.requestRate)}</b>
						<span class="quiet">/s</span>
						<span class={`node-success is-${severityOfTraffic(received)}`}>
							{received.requestRate === 0 ? 'idle' : formatShare(received.successRate)}
						</span>
					</>
				) : (
					<>
						<b>{formatRate(node.sentRate)}</b>
						<span class="quiet">/s sent</span>
					</>
				)}
				{!rows && alone !== '' && style === 'wide' && <span class="quiet node-alone">{alone}</span>}
			</span>
			{rows && (
				<span class="node-versions">
					{node.versions.map((version) => (
						<span class="node-version" key={version.version}>
							<span class="node-version-name">{version.version || '–'}</span>
							<ShareBar
								share={version.share}
								severity={severityOfTraffic({ requestRate: version.rate, successRate: version.successRate })}
							/>
							<span class="node-version-share">{formatPart(version.share)}</span>
						</span>
					))}
				</span>
			)}
		</button>
	);
}

export function LinkLine({
	link,
	line,
	faded,
}: {
	readonly link: MeshLink;
	readonly line: Line;
	readonly faded: boolean;
}) {
	const { traffic } = link.summary;
	const chosen = selection.value;
	const isSelected = chosen?.kind === 'link' && chosen.key === link.key;
	const idle = traffic.requestRate === 0;
	return (
		<g
			class={`line is-${severityOfTraffic(traffic)} ${idle ? 'is-idle' : ''} ${isSelected ? 'is-selected' : ''} ${faded ? 'is-faded' : ''}`}
		>
			<path
				class="line-path"
				d={line.path}
				style={{ strokeWidth: `${1.2 + Math.log10(1 + traffic.requestRate) * 0.9}px` }}
			/>
			<path class="line-head" d={line.head} />
			{/* biome-ignore lint/a11y/noStaticElementInteractions: a wide target for the mouse; the label is the button */}
			<path
				class="line-target"
				d={line.path}
				onClick={() => select(isSelected ? null : { kind: 'link', key: link.key })}
			/>
		</g>
	);
}

const SECURITY_WORDS = { true: 'mutual TLS', false: 'plain text', null: 'security not known yet' };

export function LinkLabel({
	link,
	box,
	style,
	topology,
	faded,
}: {
	readonly link: MeshLink;
	readonly box: Box;
	readonly style: LayoutStyle;
	readonly topology: Topology;
	readonly faded: boolean;
}) {
	const { traffic, mtls } = link.summary;
	const chosen = selection.value;
	const isSelected = chosen?.kind === 'link' && chosen.key === link.key;
	const severity = severityOfTraffic(traffic);
	const outside = link.summary.source.service === OUTSIDE;
	const words = [
		`${topology.nodeByKey.get(link.from)?.name} to ${topology.nodeByKey.get(link.to)?.name}`,
		`${formatRate(traffic.requestRate)} requests a second`,
		`${formatShare(1 - traffic.successRate)} errors`,
		`p50 ${formatMs(traffic.p50Ms)} ms, p99 ${formatMs(traffic.p99Ms)} ms`,
		SECURITY_WORDS[String(mtls) as 'true' | 'false' | 'null'],
	];
	return (
		<button
			type="button"
			class={`link-label is-${severity} ${isSelected ? 'is-selected' : ''} ${faded ? 'is-faded' : ''}`}
			style={place(box)}
			aria-pressed={isSelected}
			aria-label={words.join(', ')}
			title={words.slice(1).join('\n')}
			data-link={link.key}
			onClick={() => select(isSelected ? null : { kind: 'link', key: link.key })}
		>
			<span class="link-rate">
				{mtls !== null && (mtls || !outside) && (
					<span class={mtls ? 'lock' : 'lock is-open'}>
						{mtls ? <LockIcon size={11} /> : <OpenLockIcon size={12} />}
					</span>
				)}
				<b>{formatRate(traffic.requestRate)}</b>
				<span class="quiet">/s</span>
				{severity !== 'ok' && <span class="link-errors">{formatPart(1 - traffic.successRate)}</span>}
			</span>
			{style === 'wide' && (
				<span class="link-latency">
					{formatMs(traffic.p50Ms)} · {formatMs(traffic.p99Ms)} ms
				</span>
			)}
		</button>
	);
}
