// The last two minutes of what the page draws as small lines. Kept by the page only: a reload
// begins anew. Series that are no longer fed are forgotten.

export const HISTORY_LENGTH = 120;

export interface Sample {
	readonly rate: number;
	readonly success: number;
	readonly p99Ms: number | null;
}

export class History {
	private readonly series = new Map<string, Sample[]>();

	/** One sample of every series at one time; series not among them are dropped. */
	record(samples: ReadonlyMap<string, Sample>): void {
		for (const key of this.series.keys()) if (!samples.has(key)) this.series.delete(key);
		for (const [key, sample] of samples) {
			const list = this.series.get(key) ?? [];
			list.push(sample);
			if (list.length > HISTORY_LENGTH) list.shift();
			this.series.set(key, list);
		}
	}

	of(key: string): readonly Sample[] {
		return this.series.get(key) ?? [];
	}
}
