import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../../std/random.ts';
import { ClientResources } from '../../xds/client-resources.ts';
import type { DiscoveryClient, DiscoveryUpdate, Subscription } from '../../xds/discovery-client.ts';
import { ForwardedDiscovery, ForwardingTap } from './forwarded-discovery.ts';
import type { ForwardedUpdate } from './messages.ts';

const TYPE = 'type.googleapis.com/thing';

/** Keeps the newest of each name; refuses content that begins with `bad`. */
class Keeper {
	readonly kept = new Map<string, string>();
	readonly missing = new Set<string>();
	readonly subscription: Subscription;

	constructor(client: DiscoveryClient, names: readonly string[] | null) {
		this.subscription = client.subscribe(TYPE, names, { onUpdate: (update) => this.onUpdate(update) });
	}

	private onUpdate({ updated, removed }: DiscoveryUpdate): string | null {
		const refused: string[] = [];
		for (const { name, value } of updated) {
			const text = Buffer.from(value).toString();
			if (text.startsWith('bad')) refused.push(name);
			else this.kept.set(name, text);
		}
		for (const name of removed) {
			this.kept.delete(name);
			this.missing.add(name);
		}
		return refused.length === 0 ? null : `refused: ${refused.join()}`;
	}
}

/** A main process and workers, without the processes. */
class Bed {
	readonly server = new ClientResources(TYPE, () => {});
	readonly workers: ForwardedDiscovery[] = [];
	readonly refusals: string[] = [];
	readonly forwarded: ForwardedUpdate[] = [];
	readonly tap = new ForwardingTap((updates) => {
		this.forwarded.push(...updates);
		for (const worker of this.workers) this.tell(worker, updates);
	});
	readonly main: DiscoveryClient;

	constructor() {
		const client: DiscoveryClient = { subscribe: (_type, names, target) => this.server.subscribe(names, target) };
		this.main = this.tap.wrap('ads', client);
	}

	/** One that starts now. */
	worker(): DiscoveryClient {
		const worker = new ForwardedDiscovery();
		this.tell(worker, this.tap.known());
		this.workers.push(worker);
		return worker.source('ads');
	}

	async send(updated: Readonly<Record<string, string>>, removed: readonly string[] = []): Promise<string | null> {
		const resources = Object.entries(updated).map(([name, text]) => ({ name, version: '1', value: Buffer.from(text) }));
		const refused = this.server.apply({ updated: resources, removed });
		await Promise.resolve();
		return refused;
	}

	private tell(worker: ForwardedDiscovery, updates: readonly ForwardedUpdate[]): void {
		worker.apply(structuredClone(updates), (_type, reason) => this.refusals.push(reason));
	}
}

describe('configuration that the main process passes on', () => {
	test('is the same in a worker, whether it was there before or comes later', async () => {
		const bed = new Bed();
		const early = new Keeper(bed.worker(), null);
		const main = new Keeper(bed.main, null);
		await bed.send({ a: '1', b: '1' });
		await bed.send({ a: '2' }, ['b']);
		const late = new Keeper(bed.worker(), null);
		expect([...main.kept]).toEqual([['a', '2']]);
		expect([...early.kept]).toEqual([...main.kept]);
		expect([...late.kept]).toEqual([...main.kept]);
	});

	test('that the main process refuses is refused by all, and the last good one stays', async () => {
		const bed = new Bed();
		const early = new Keeper(bed.worker(), null);
		const main = new Keeper(bed.main, null);
		await bed.send({ a: '1' });
		expect(await bed.send({ a: 'bad', b: '1' })).toBe('refused: a');
		const late = new Keeper(bed.worker(), null);
		expect(Object.fromEntries(main.kept)).toEqual({ a: '1', b: '1' });
		expect(Object.fromEntries(early.kept)).toEqual({ a: '1', b: '1' });
		expect(Object.fromEntries(late.kept)).toEqual({ a: '1', b: '1' });
		expect(bed.refusals).toEqual([]);
	});

	test('that only a worker refuses is told', async () => {
		const bed = new Bed();
		new Keeper(bed.main, null);
		const worker = bed.worker();
		worker.subscribe(TYPE, null, { onUpdate: () => 'not with me' });
		await bed.send({ a: '1' });
		expect(bed.refusals).toEqual(['not with me']);
	});

	test('waits for a worker that asks later than the main process did, also that a name does not exist', async () => {
		const bed = new Bed();
		const worker = bed.worker();
		new Keeper(bed.main, ['a', 'none']);
		await bed.send({ a: '1' }, ['none']);
		const keeper = new Keeper(worker, ['a', 'none']);
		expect([...keeper.kept]).toEqual([['a', '1']]);
		expect([...keeper.missing]).toEqual(['none']);
		const late = new Keeper(bed.worker(), ['none']);
		expect([...late.missing]).toEqual(['none']);
	});

	test('an empty answer is an answer', async () => {
		const bed = new Bed();
		let answers = 0;
		const worker = bed.worker();
		new Keeper(bed.main, null);
		await bed.send({});
		worker.subscribe(TYPE, null, {
			onUpdate: () => {
				answers += 1;
				return null;
			},
		});
		expect(answers).toBe(1);
	});

	test('what nobody wants any more is forgotten', async () => {
		const bed = new Bed();
		const main = new Keeper(bed.main, ['a', 'b']);
		await bed.send({ a: '1', b: '1' });
		main.subscription.setNames(['b']);
		expect(bed.tap.known().flatMap(({ updated }) => updated.map(({ name }) => name))).toEqual(['b']);
		main.subscription.close();
		expect(bed.tap.known().flatMap(({ updated }) => updated)).toEqual([]);
	});

	test('a name that went while all of the type were wanted is not remembered as gone, however many there are', async () => {
		const bed = new Bed();
		const worker = bed.worker();
		new Keeper(bed.main, null);
		new Keeper(worker, null);
		await bed.send({ a: '1' });
		await bed.send({}, ['a']);
		expect([...new Keeper(worker, ['a']).missing]).toEqual([]);
		expect(bed.tap.known().flatMap(({ removed }) => removed)).toEqual([]);
	});

	test('random updates leave all in the same state (seed 11)', async () => {
		const random = new SeededRandom(11);
		const pick = (count: number) => Math.floor(random.next() * count);
		const bed = new Bed();
		const main = new Keeper(bed.main, null);
		const keepers = [new Keeper(bed.worker(), null)];
		for (let step = 0; step < 500; step++) {
			const name = String.fromCharCode(97 + pick(6));
			const text = pick(5) === 0 ? `bad ${step}` : `${step}`;
			if (pick(6) === 0) await bed.send({}, [name]);
			else await bed.send({ [name]: text });
			if (pick(50) === 0) keepers.push(new Keeper(bed.worker(), null));
			for (const keeper of keepers) expect(Object.fromEntries(keeper.kept)).toEqual(Object.fromEntries(main.kept));
		}
		expect(keepers.length).toBeGreaterThan(3);
		expect(bed.refusals).toEqual([]);
	});
});
