// Small figures that several parts share: a line of the last two minutes, a bar of response
// classes, a bar of shares, a severity's dot.

import type { ComponentChildren } from 'preact';
import type { TrafficFigures } from '../../control/mesh-snapshot.ts';
import { formatPart, formatRate } from './format.ts';
import { HISTORY_LENGTH, type Sample } from './history.ts';
import type { Severity } from './severity.ts';

/** Grows from the right; the scale begins at `floor` (default 0). */
export function Sparkline({
	samples,
	value,
	floor = 0,
	width = 96,
	height = 24,
}: {
	readonly samples: readonly Sample[];
	readonly value: (sample: Sample) => number | null;
	readonly floor?: number;
	readonly width?: number;
	readonly height?: number;
}) {
	const values = samples.map(value);
	let top = floor;
	for (const each of values) if (each !== null && each > top) top = each;
	const range = top - floor || 1;
	const step = width / (HISTORY_LENGTH - 1);
	const first = HISTORY_LENGTH - values.length;
	let line = '';
	let open = false;
	values.forEach((each, i) => {
		if (each === null) {
			open = false;
			return;
		}
		const x = ((first + i) * step).toFixed(1);
		const y = (height - 1.5 - (Math.max(0, each - floor) / range) * (height - 3)).toFixed(1);
		line += `${open ? 'L' : 'M'}${x},${y}`;
		open = true;
	});
	return (
		<svg class="sparkline" viewBox={`0 0 ${width} ${height}`} width={width} height={height} aria-hidden="true">
			<line x1="0" x2={width} y1={height - 0.5} y2={height - 0.5} class="sparkline-base" />
			<path d={line} fill="none" />
		</svg>
	);
}

const CLASS_NAMES: Readonly<Record<string, string>> = {
	'1xx': 'informational',
	'2xx': 'success',
	'3xx': 'redirect',
	'4xx': 'client error',
	'5xx': 'server error',
	'0': 'no response',
};

export function ClassBar({ traffic }: { readonly traffic: TrafficFigures }) {
	const classes = ['2xx', '3xx', '1xx', '4xx', '5xx', '0'].filter((name) => (traffic.byClass[name] ?? 0) > 0);
	if (classes.length === 0) return <p class="quiet">No request in the last 10 seconds.</p>;
	return (
		<div class="classes">
			<div class="class-bar" aria-hidden="true">
				{classes.map((name) => (
					<span key={name} class={`class-part class-${name}`} style={{ flexGrow: traffic.byClass[name] }} />
				))}
			</div>
			<ul class="class-legend">
				{classes.map((name) => (
					<li key={name}>
						<span class={`class-key class-${name}`} aria-hidden="true" />
						<span>{name === '0' ? 'none' : name}</span> <span class="quiet">{CLASS_NAMES[name]}</span>
						<b>{formatRate(traffic.byClass[name]!)}/s</b>
					</li>
				))}
			</ul>
		</div>
	);
}

export function ShareBar({ share, severity = 'ok' }: { readonly share: number; readonly severity?: Severity }) {
	return (
		<span class="share-bar" aria-hidden="true">
			<span class={`share-fill is-${severity}`} style={{ transform: `scaleX(${Math.min(1, share)})` }} />
		</span>
	);
}

export function ShareLine({
	label,
	share,
	severity = 'ok',
}: {
	readonly label: ComponentChildren;
	readonly share: number;
	readonly severity?: Severity;
}) {
	return (
		<span class="share-line">
			<span class="share-label">{label}</span>
			<ShareBar share={share} severity={severity} />
			<span class="share-value">{formatPart(share)}</span>
		</span>
	);
}

/** A coloured sign with its word for those who do not see colours. */
export function Status({ severity, children }: { readonly severity: Severity; readonly children: ComponentChildren }) {
	return (
		<span class={`status is-${severity}`}>
			<span class="status-dot" aria-hidden="true" />
			{children}
		</span>
	);
}
