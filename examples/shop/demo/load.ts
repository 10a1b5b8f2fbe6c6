// What the load generator says of itself, line by line (loadgen/load.mjs).

export interface LoadTotals {
	readonly sent: number;
	/** All of the first so many have ended. */
	readonly settled: number;
	readonly done: number;
	readonly failed: number;
	/** Pages by the release of products that served them. */
	readonly products: Readonly<Record<string, number>>;
	/** Pages by the service that gave the reviews. */
	readonly reviews: Readonly<Record<string, number>>;
	readonly failures: readonly string[];
}

const NOTHING: LoadTotals = { sent: 0, settled: 0, done: 0, failed: 0, products: {}, reviews: {}, failures: [] };

function subtract(now: Readonly<Record<string, number>>, before: Readonly<Record<string, number>>) {
	return Object.fromEntries(Object.entries(now).map(([key, value]) => [key, value - (before[key] ?? 0)]));
}

export class LoadObserver {
	totals = NOTHING;
	/** Median of the orders that ended in the last second, milliseconds; null when none did. */
	orderP50Ms: number | null = null;
	private waiting: (() => void)[] = [];

	readonly onLine = (line: string): void => {
		if (!line.startsWith('{')) return;
		const report = JSON.parse(line) as { totals: LoadTotals; orderP50Ms?: number | null };
		this.totals = report.totals;
		this.orderP50Ms = report.orderP50Ms ?? null;
		const ready = this.waiting;
		this.waiting = [];
		for (const wake of ready) wake();
	};

	/** The next report, one second away at most while the generator runs. */
	next(): Promise<void> {
		return new Promise((resolve) => this.waiting.push(resolve));
	}

	/** Whether within `limitMs` a second comes whose orders took a median for which `holds`. */
	async ordersTake(holds: (p50Ms: number) => boolean, limitMs: number): Promise<number | null> {
		const end = performance.now() + limitMs;
		while (performance.now() < end) {
			await Promise.race([this.next(), Bun.sleep(limitMs)]);
			if (this.orderP50Ms !== null && holds(this.orderP50Ms)) return this.orderP50Ms;
		}
		return null;
	}

	/**
	 * What comes in until at least `pages` pages were read, or `limitMs` is over. It begins when all that was sent before
	 * the call has ended, so that what was under way then counts for nothing.
	 */
	async during(pages: number, limitMs: number): Promise<LoadTotals> {
		const end = performance.now() + limitMs;
		await this.next();
		const { sent } = this.totals;
		while (this.totals.settled < sent && performance.now() < end) await Promise.race([this.next(), Bun.sleep(limitMs)]);
		const before = this.totals;
		for (;;) {
			await Promise.race([this.next(), Bun.sleep(limitMs)]);
			const now = this.totals;
			const seen: LoadTotals = {
				sent: now.sent - before.sent,
				settled: now.settled - before.settled,
				done: now.done - before.done,
				failed: now.failed - before.failed,
				products: subtract(now.products, before.products),
				reviews: subtract(now.reviews, before.reviews),
				failures: now.failures.slice(before.failures.length),
			};
			const read = Object.values(seen.products).reduce((sum, count) => sum + count, 0);
			if (read >= pages || performance.now() > end) return seen;
		}
	}
}

export function share(counts: Readonly<Record<string, number>>, key: string): number {
	const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
	return all === 0 ? 0 : (counts[key] ?? 0) / all;
}
