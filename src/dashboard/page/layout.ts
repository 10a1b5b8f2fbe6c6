// Where the graph's nodes, labels and lines go. Layers by dagre, computed only when the mesh's
// shape changes; lines leave and enter a card at ports of their own, ordered so that they do not
// cross at the card, and run level through their label.

import dagre from '@dagrejs/dagre';
import type { MeshLink, MeshNode } from './topology.ts';

export interface Point {
	readonly x: number;
	readonly y: number;
}

export interface Box extends Point {
	/** x and y are the top left corner. */
	readonly width: number;
	readonly height: number;
}

export interface Line {
	/** SVG path. */
	readonly path: string;
	/** SVG path of the arrow's head. */
	readonly head: string;
	readonly label: Box;
}

export interface Layout {
	readonly width: number;
	readonly height: number;
	readonly nodes: ReadonlyMap<string, Box>;
	readonly lines: ReadonlyMap<string, Line>;
}

/** `wide`: left to right with full cards; `narrow`: small cards, for phones, and top to bottom where that fits better. */
export type LayoutStyle = 'wide' | 'narrow';

interface Sizes {
	readonly nodeWidth: number;
	readonly headHeight: number;
	readonly rowHeight: number;
	readonly label: { readonly width: number; readonly height: number };
	readonly nodeGap: number;
	readonly rankGap: number;
}

export const SIZES: Readonly<Record<LayoutStyle, Sizes>> = {
	wide: { nodeWidth: 168, headHeight: 50, rowHeight: 18, label: { width: 92, height: 34 }, nodeGap: 44, rankGap: 44 },
	narrow: { nodeWidth: 112, headHeight: 46, rowHeight: 17, label: { width: 54, height: 18 }, nodeGap: 14, rankGap: 26 },
};

/** More of them stand closer. */
const ROOMY_NODES_MAX = 16;
const MARGIN = 10;
const HEAD = 7;
const PORT_GAP = 11;

/** Cards grow with rows for versions, when there is more than one. */
export function rowsOf(node: MeshNode): number {
	return node.versions.length > 1 ? node.versions.length : 0;
}

/** The same text for two snapshots whose drawings have the same places. */
export function shapeOf(nodes: readonly MeshNode[], links: readonly MeshLink[]): string {
	return JSON.stringify([nodes.map((node) => [node.key, rowsOf(node)]), links.map((link) => link.key)]);
}

type Direction = 'right' | 'down';

/** `width`: of the frame that it is to fit into. */
export function layOut(
	nodes: readonly MeshNode[],
	links: readonly MeshLink[],
	style: LayoutStyle,
	width: number,
): Layout {
	if (style === 'wide') return place(nodes, links, style, 'right');
	const down = place(nodes, links, style, 'down');
	if (down.width <= width) return down;
	// One service that calls many: side by side they would be too small to read, or run out of the frame.
	const right = place(nodes, links, style, 'right');
	return right.width < down.width ? right : down;
}

function place(
	nodes: readonly MeshNode[],
	links: readonly MeshLink[],
	style: LayoutStyle,
	direction: Direction,
): Layout {
	const sizes = SIZES[style];
	const graph = new dagre.graphlib.Graph();
	graph.setGraph({
		rankdir: direction === 'right' ? 'LR' : 'TB',
		nodesep: nodes.length > ROOMY_NODES_MAX ? sizes.nodeGap / 2 : sizes.nodeGap,
		edgesep: 12,
		ranksep: sizes.rankGap,
		marginx: MARGIN,
		marginy: MARGIN,
	});
	graph.setDefaultEdgeLabel(() => ({}));
	for (const node of nodes) {
		const rows = rowsOf(node);
		const height = sizes.headHeight + (rows > 0 ? rows * sizes.rowHeight + 6 : 0);
		graph.setNode(node.key, { width: sizes.nodeWidth, height });
	}
	// A call to itself is shown in the detail only.
	const drawn = links.filter((link) => link.from !== link.to);
	for (const link of drawn) graph.setEdge(link.from, link.to, { ...sizes.label, labelpos: 'c', weight: 1 });
	dagre.layout(graph);

	const boxes = new Map<string, Box>();
	for (const node of nodes) {
		const placed = graph.node(node.key) as { x: number; y: number; width: number; height: number };
		boxes.set(node.key, {
			x: Math.round(placed.x - placed.width / 2),
			y: Math.round(placed.y - placed.height / 2),
			width: placed.width,
			height: placed.height,
		});
	}
	const lines = drawLines(drawn, boxes, (link) => graph.edge(link.from, link.to) as Placed, direction, sizes);
	const size = graph.graph() as { width?: number; height?: number };
	return { width: Math.ceil(size.width ?? 0), height: Math.ceil(size.height ?? 0), nodes: boxes, lines };
}

interface Placed {
	readonly points: readonly Point[];
	readonly x: number;
	readonly y: number;
}

function drawLines(
	links: readonly MeshLink[],
	boxes: ReadonlyMap<string, Box>,
	placedOf: (link: MeshLink) => Placed,
	direction: Direction,
	{ label }: Sizes,
): Map<string, Line> {
	// Downwards everything is mirrored at the diagonal, so that one drawing serves both.
	const flip = <P extends Point>(point: P): Point => (direction === 'right' ? point : { x: point.y, y: point.x });
	const flat = (box: Box): Box =>
		direction === 'right' ? box : { x: box.y, y: box.x, width: box.height, height: box.width };
	const inner = new Map(links.map((link) => [link, placedOf(link).points.slice(1, -1).map(flip)]));
	const ends = assignPorts(links, boxes, flat, inner);
	const lines = new Map<string, Line>();
	for (const link of links) {
		const { start, end, forward } = ends.get(link)!;
		const tip = { x: end.x + (forward ? -HEAD : HEAD), y: end.y };
		const points = [start, ...inner.get(link)!, tip];
		let path = `M${text(flip(start))}`;
		for (let i = 1; i < points.length; i++) {
			const [a, b] = [points[i - 1]!, points[i]!];
			const middle = (a.x + b.x) / 2;
			path += `C${text(flip({ x: middle, y: a.y }))} ${text(flip({ x: middle, y: b.y }))} ${text(flip(b))}`;
		}
		const wings = [-HEAD * 0.55, HEAD * 0.55].map((dy) => flip({ x: tip.x, y: tip.y + dy }));
		const placed = placedOf(link);
		lines.set(link.key, {
			path,
			head: `M${text(wings[0]!)}L${text(flip(end))}L${text(wings[1]!)}Z`,
			label: {
				x: Math.round(placed.x - label.width / 2),
				y: Math.round(placed.y - label.height / 2),
				...label,
			},
		});
	}
	return lines;
}

interface Ends {
	start: Point;
	end: Point;
	/** The callee lies after the caller; otherwise the line runs back. */
	readonly forward: boolean;
}

function assignPorts(
	links: readonly MeshLink[],
	boxes: ReadonlyMap<string, Box>,
	flat: (box: Box) => Box,
	inner: ReadonlyMap<MeshLink, readonly Point[]>,
): Map<MeshLink, Ends> {
	const result = new Map<MeshLink, Ends>();
	const sides = new Map<string, { box: Box; right: boolean; ports: { aim: number; take: (at: Point) => void }[] }>();
	const port = (key: string, right: boolean, aim: number, take: (at: Point) => void) => {
		const name = `${key} ${right}`;
		const side = sides.get(name) ?? { box: flat(boxes.get(key)!), right, ports: [] };
		side.ports.push({ aim, take });
		sides.set(name, side);
	};
	for (const link of links) {
		const from = flat(boxes.get(link.from)!);
		const to = flat(boxes.get(link.to)!);
		const forward = to.x >= from.x;
		const ends: Ends = { start: from, end: to, forward };
		result.set(link, ends);
		const points = inner.get(link)!;
		port(link.from, forward, points[0]?.y ?? to.y, (at) => {
			ends.start = at;
		});
		port(link.to, !forward, points.at(-1)?.y ?? from.y, (at) => {
			ends.end = at;
		});
	}
	for (const { box, right, ports } of sides.values()) {
		ports.sort((a, b) => a.aim - b.aim);
		const gap = Math.min(PORT_GAP, (box.height - 12) / ports.length);
		ports.forEach(({ take }, i) => {
			const y = box.y + box.height / 2 + (i - (ports.length - 1) / 2) * gap;
			take({ x: right ? box.x + box.width : box.x, y });
		});
	}
	return result;
}

function text({ x, y }: Point): string {
	return `${Math.round(x * 10) / 10},${Math.round(y * 10) / 10}`;
}
