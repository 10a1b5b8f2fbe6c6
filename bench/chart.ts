// The CPU of each shape beside Envoy's, as a picture.

import { median, ratiosTo, type ShapeReport } from './report.ts';

const LEFT = 430;
const WIDTH = 420;
const BAR = 13;
const GAP = 14;
const COLOURS: Readonly<Record<string, string>> = {
	weft: '#2563eb',
	Envoy: '#9ca3af',
	HAProxy: '#f59e0b',
	nginx: '#10b981',
};

/** An SVG: a bar for each proxy of each shape, Envoy's CPU as 1, and a mark where the goal is. */
export function drawChart(reports: readonly ShapeReport[]): string {
	const parts: string[] = [];
	let y = 58;
	const scale = WIDTH / 1.5;
	for (const { shape, measured } of reports) {
		const envoy = measured.find((one) => one.name === 'Envoy');
		if (envoy === undefined) continue;
		const top = y;
		for (const one of measured) {
			const ratio = one === envoy ? 1 : median(ratiosTo(one, envoy));
			if (!Number.isFinite(ratio)) continue;
			const width = Math.min(ratio, 1.5) * scale;
			parts.push(
				`<rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR - 2}" fill="${COLOURS[one.name]}"/>`,
				`<text x="${(LEFT + width + 5).toFixed(1)}" y="${y + BAR - 4}" class="figure">${one.name} ${ratio.toFixed(2)}</text>`,
			);
			y += BAR;
		}
		const goalX = (LEFT + shape.goal * scale).toFixed(1);
		parts.push(
			`<line x1="${goalX}" y1="${top - 2}" x2="${goalX}" y2="${y}" class="goal"/>`,
			`<text x="${LEFT - 10}" y="${top + BAR - 4}" text-anchor="end">${escapeXml(shape.title)}</text>`,
		);
		y += GAP;
	}
	return `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="CPU for the same work" width="${LEFT + WIDTH + 110}" height="${y + 6}" font-family="sans-serif" font-size="12">
<style>.figure{font-size:10px;fill:#374151}.goal{stroke:#dc2626;stroke-dasharray:3 2}</style>
<rect width="100%" height="100%" fill="white"/>
<text x="14" y="24" font-size="16">CPU for the same work, Envoy = 1</text>
<text x="14" y="42" class="figure">user and system time of the proxies; less is better; the red line is the goal</text>
${parts.join('\n')}
</svg>
`;
}

function escapeXml(text: string): string {
	return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
