import { describe, expect, test } from 'bun:test';
import { CALM, ShopMesh } from '../../../test/fixtures/shop-snapshot.ts';
import type { MeshSnapshot, ServiceSummary } from '../../control/mesh-snapshot.ts';
import { Attention } from './attention.ts';
import { layOut, shapeOf } from './layout.ts';
import { buildTopology } from './topology.ts';

function service(name: string, apps: readonly string[], instances: number): ServiceSummary {
	const traffic = { requestRate: 0, successRate: 1, p50Ms: null, p90Ms: null, p99Ms: null, byClass: {} };
	return {
		namespace: 'default',
		name,
		address: '127.96.0.9',
		ports: [80],
		apps,
		instances,
		healthy: instances,
		versions: [],
		traffic,
	};
}

describe('the map', () => {
	test('has a node for each app, whoever names it', () => {
		const { nodes } = buildTopology(new ShopMesh().step());
		expect(nodes.map((node) => [node.name, node.kind])).toEqual([
			['outside', 'outside'],
			['accounts', 'service'],
			['legacy', 'service'],
			['loadgen', 'client'],
			['payments', 'service'],
			['products', 'service'],
			['reviews', 'service'],
			['storefront', 'service'],
		]);
	});

	test('a Service for some versions of an app is not drawn beside it; one without instances is', () => {
		const snapshot = new ShopMesh().step();
		const services = [...snapshot.services, service('products-v3', ['products'], 1), service('empty', [], 0)];
		const { nodes } = buildTopology({ ...snapshot, services });
		const names = nodes.map((node) => node.name);
		expect(names).toContain('empty');
		expect(names).not.toContain('products-v3');
		expect(nodes.find((node) => node.name === 'products')!.services.map(({ name }) => name)).toEqual([
			'products',
			'products-v3',
		]);
	});

	test('shares of versions are what they receive', () => {
		const { nodes } = buildTopology(new ShopMesh().step({ ...CALM, canary: 0.5 }));
		const { versions } = nodes.find((node) => node.name === 'products')!;
		expect(versions.map(({ version, instances }) => [version, instances])).toEqual([
			['v1', 2],
			['v2', 1],
			['v3', 1],
		]);
		expect(versions.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1);
		expect(versions[2]!.share).toBeCloseTo(0.5, 1);
	});

	test('keeps its places while figures change, in whatever order they come', () => {
		const shop = new ShopMesh();
		const first = buildTopology(shop.step());
		const snapshot = shop.step({ ...CALM, canary: 0.6 });
		const second = buildTopology({
			...snapshot,
			links: [...snapshot.links].reverse(),
			services: [...snapshot.services].reverse(),
		} satisfies MeshSnapshot);
		expect(shapeOf(second.nodes, second.links)).toBe(shapeOf(first.nodes, first.links));
		expect(layOut(second.nodes, second.links, 'wide', 900)).toEqual(layOut(first.nodes, first.links, 'wide', 900));
	});

	test('cards do not overlap, and callers stand before those they call', () => {
		const { nodes, links } = buildTopology(new ShopMesh().step());
		for (const style of ['wide', 'narrow'] as const) {
			const layout = layOut(nodes, links, style, 600);
			const boxes = [...layout.nodes.values()];
			const along = style === 'wide' ? 'x' : 'y';
			for (const [i, a] of boxes.entries()) {
				for (const b of boxes.slice(i + 1)) {
					const apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
					expect(apart).toBe(true);
				}
			}
			for (const link of links) {
				expect(layout.nodes.get(link.from)![along]).toBeLessThan(layout.nodes.get(link.to)![along]);
			}
		}
	});

	test('where many are called by one, a phone shows them below each other', () => {
		const snapshot = new ShopMesh().step();
		const link = snapshot.links.find((each) => each.source.service === 'storefront')!;
		const more = ['one', 'two', 'three'].map((name) => ({
			...link,
			destination: { ...link.destination, service: name },
		}));
		const { nodes, links } = buildTopology({ ...snapshot, links: [...snapshot.links, ...more] });
		const xOf = (width: number, name: string) => {
			const layout = layOut(nodes, links, 'narrow', width);
			return layout.nodes.get(nodes.find((node) => node.name === name)!.key)!.x;
		};
		expect(xOf(2000, 'one')).not.toBe(xOf(2000, 'two'));
		expect(xOf(360, 'one')).toBe(xOf(360, 'two'));
	});

	test('survives services that call each other in a circle, and themselves', () => {
		const snapshot = new ShopMesh().step();
		const link = snapshot.links.find((each) => each.source.service === 'payments')!;
		const back = { ...link, source: link.destination, destination: link.source };
		const self = { ...link, destination: link.source };
		const { nodes, links } = buildTopology({ ...snapshot, links: [...snapshot.links, back, self] });
		const { lines } = layOut(nodes, links, 'wide', 900);
		expect(lines.size).toBe(links.length - 1);
		for (const line of lines.values()) expect(line.path).not.toContain('NaN');
	});
});

describe('what needs attention', () => {
	test('worst first, and nothing twice', () => {
		const snapshot = new ShopMesh().step({
			canary: 0.1,
			paymentsFailing: true,
			sidecarRejects: true,
			plainLegacy: true,
		});
		const items = new Attention().update(snapshot, buildTopology(snapshot));
		expect(items.map(({ severity }) => severity)).toEqual(['bad', 'bad', 'warn', 'warn', 'warn', 'warn']);
		expect(new Set(items.map(({ key }) => key)).size).toBe(items.length);
	});

	test('a push on its way is not worth a line, one that stays is', () => {
		const attention = new Attention();
		const shop = new ShopMesh();
		const about = () => {
			const snapshot = shop.step();
			const sidecars = snapshot.sidecars.map((sidecar, i) => ({ ...sidecar, inSync: i !== 0 }));
			const items = attention.update({ ...snapshot, sidecars }, buildTopology(snapshot));
			return items.filter(({ text }) => text.includes('acknowledged')).length;
		};
		expect([1, 2, 3, 4, 5, 6].map(about)).toEqual([0, 0, 0, 0, 0, 1]);
	});
});
