// The Prometheus text exposition format, version 0.0.4.

import { Histogram, type MetricRegistry } from './registry.ts';

export const PROMETHEUS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export function renderPrometheusText(registry: MetricRegistry): string {
	let text = '';
	for (const family of registry.all()) {
		let head = `# HELP ${family.name} ${escapeHelp(family.help)}\n# TYPE ${family.name} ${family.kind}\n`;
		for (const { labels, instrument } of family.series()) {
			text += head;
			head = '';
			const pairs = family.labelNames.map((name, i) => `${name}="${escapeLabel(labels[i] ?? '')}"`).join(',');
			if (instrument instanceof Histogram) text += histogramLines(family.name, pairs, instrument);
			else text += `${family.name}${pairs === '' ? '' : `{${pairs}}`} ${instrument.value}\n`;
		}
	}
	return text;
}

function histogramLines(name: string, pairs: string, histogram: Histogram): string {
	const before = pairs === '' ? '' : `${pairs},`;
	let text = '';
	let cumulative = 0;
	for (let i = 0; i < histogram.counts.length; i++) {
		cumulative += histogram.counts[i]!;
		const bound = i < histogram.bounds.length ? String(histogram.bounds[i]) : '+Inf';
		text += `${name}_bucket{${before}le="${bound}"} ${cumulative}\n`;
	}
	const labels = pairs === '' ? '' : `{${pairs}}`;
	return `${text}${name}_sum${labels} ${histogram.sum}\n${name}_count${labels} ${histogram.count}\n`;
}

function escapeHelp(text: string): string {
	return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function escapeLabel(text: string): string {
	return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}
