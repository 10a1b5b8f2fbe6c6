// The map: cards for services, lines for who calls whom. Cards and line labels are real buttons
// over an SVG of lines, so that the keyboard and a screen reader reach what the mouse reaches.
// Places come from layout.ts and change only with the mesh's shape.

import { select as d3Select } from 'd3-selection';
import { type ZoomBehavior, zoom, zoomIdentity } from 'd3-zoom';
import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { LinkLabel, LinkLine, NodeCard } from './graph-parts.tsx';
import { FitIcon, LockIcon, MinusIcon, PlusIcon } from './icons.tsx';
import { type Layout, type LayoutStyle, layOut, shapeOf } from './layout.ts';
import { selection } from './state.ts';
import type { Topology } from './topology.ts';

const NARROW_BELOW_PX = 560;
const HEIGHT_PX_MIN = { wide: 430, narrow: 240 };
const HEIGHT_PX_MAX = 640;
const SCALE_MIN = 0.25;
/** Below it nothing can be read: then the map begins at its top left, and is moved by hand. */
const FIT_SCALE_MIN = 0.6;
const SCALE_MAX = 2;

export function Graph({ topology }: { readonly topology: Topology }) {
	const frame = useRef<HTMLDivElement>(null);
	const canvas = useRef<HTMLDivElement>(null);
	const behavior = useRef<ZoomBehavior<HTMLDivElement, unknown> | null>(null);
	const [width, setWidth] = useState(0);
	const style: LayoutStyle = width > 0 && width < NARROW_BELOW_PX ? 'narrow' : 'wide';
	const shape = shapeOf(topology.nodes, topology.links);
	const layout = useMemo(() => layOut(topology.nodes, topology.links, style, width), [shape, style, width]);
	const scale = fitScale(layout, width);
	const height = Math.round(Math.min(HEIGHT_PX_MAX, Math.max(HEIGHT_PX_MIN[style], layout.height * scale)));

	useLayoutEffect(() => {
		const element = frame.current!;
		const observer = new ResizeObserver(() => setWidth(element.clientWidth));
		observer.observe(element);
		setWidth(element.clientWidth);
		return () => observer.disconnect();
	}, []);

	useLayoutEffect(() => {
		const element = frame.current!;
		const zooming = zoom<HTMLDivElement, unknown>()
			.scaleExtent([SCALE_MIN, SCALE_MAX])
			.filter(movesTheMap)
			.on('zoom', (event) => {
				const { x, y, k } = event.transform;
				canvas.current!.style.transform = `translate(${x}px, ${y}px) scale(${k})`;
			});
		behavior.current = zooming;
		const chosen = d3Select(element);
		chosen.call(zooming).on('dblclick.zoom', null);
		// d3 takes all touches; one finger must still scroll the page.
		element.style.touchAction = 'pan-x pan-y';
		return () => {
			chosen.on('.zoom', null);
		};
	}, []);

	const fit = () => {
		if (behavior.current === null || width === 0) return;
		const x = Math.max(0, (width - layout.width * scale) / 2);
		const y = Math.max(0, (height - layout.height * scale) / 2);
		behavior.current.transform(d3Select(frame.current!), zoomIdentity.translate(x, y).scale(scale));
	};
	useLayoutEffect(fit, [layout, width, height]);

	const zoomBy = (factor: number) => {
		if (behavior.current !== null) behavior.current.scaleBy(d3Select(frame.current!), factor);
	};

	return (
		<div class={`graph is-${style}`}>
			<div class="graph-head">
				<h2>Map</h2>
				<Legend />
				<div class="graph-tools">
					<button type="button" onClick={() => zoomBy(1.3)} aria-label="Zoom in">
						<PlusIcon />
					</button>
					<button type="button" onClick={() => zoomBy(1 / 1.3)} aria-label="Zoom out">
						<MinusIcon />
					</button>
					<button type="button" onClick={fit} aria-label="Fit the map">
						<FitIcon />
					</button>
				</div>
			</div>
			<div ref={frame} class="graph-frame" style={{ height: `${height}px` }}>
				<div ref={canvas} class="graph-canvas" style={{ width: `${layout.width}px`, height: `${layout.height}px` }}>
					{/* Not before the width is known: cards would slide to other places. */}
					{width > 0 && <Drawing topology={topology} layout={layout} style={style} />}
				</div>
			</div>
		</div>
	);
}

function Drawing({
	topology,
	layout,
	style,
}: {
	readonly topology: Topology;
	readonly layout: Layout;
	readonly style: LayoutStyle;
}) {
	const related = relatedTo(topology);
	const drawn = topology.links.flatMap((link) => {
		const line = layout.lines.get(link.key);
		return line === undefined ? [] : [{ link, line, faded: isFaded(related, link.key) }];
	});
	return (
		<>
			<svg class="graph-lines" width={layout.width} height={layout.height} aria-hidden="true">
				{drawn.map((each) => (
					<LinkLine key={each.link.key} {...each} />
				))}
			</svg>
			{topology.nodes.map((node) => (
				<NodeCard
					key={node.key}
					node={node}
					box={layout.nodes.get(node.key)!}
					style={style}
					withNamespace={topology.manyNamespaces}
					faded={isFaded(related, node.key)}
				/>
			))}
			{drawn.map(({ link, line, faded }) => (
				<LinkLabel key={link.key} link={link} box={line.label} style={style} topology={topology} faded={faded} />
			))}
		</>
	);
}

function Legend() {
	return (
		<ul class="legend">
			<li>
				<span class="legend-line" /> thicker: more requests
			</li>
			<li>
				<span class="legend-line is-warn" /> <span class="legend-line is-bad" /> failing
			</li>
			<li>
				<span class="lock">
					<LockIcon size={11} />
				</span>{' '}
				mutual TLS
			</li>
			<li>requests/s, p50 · p99</li>
		</ul>
	);
}

function fitScale(layout: Layout, width: number): number {
	if (width === 0 || layout.width === 0) return 1;
	return Math.max(FIT_SCALE_MIN, Math.min(1, width / layout.width, HEIGHT_PX_MAX / layout.height));
}

/** The wheel scrolls the page unless Ctrl or Cmd is held; one finger too, two move the map. */
function movesTheMap(event: Event): boolean {
	if (event.type === 'wheel') return (event as WheelEvent).ctrlKey || (event as WheelEvent).metaKey;
	if (event.type.startsWith('touch')) return (event as TouchEvent).touches.length > 1;
	return !(event as MouseEvent).button && (event.target as Element).closest('button') === null;
}

/** The keys of what is selected and all that touches it; null when nothing is. */
function relatedTo(topology: Topology): ReadonlySet<string> | null {
	const chosen = selection.value;
	if (chosen === null) return null;
	if (chosen.kind === 'link') {
		const link = topology.linkByKey.get(chosen.key);
		return link === undefined ? null : new Set([link.key, link.from, link.to]);
	}
	const node = topology.nodeByKey.get(chosen.key);
	if (node === undefined) return null;
	return new Set([node.key, ...[...node.inbound, ...node.outbound].flatMap((link) => [link.key, link.from, link.to])]);
}

function isFaded(related: ReadonlySet<string> | null, key: string): boolean {
	return related !== null && !related.has(key);
}
