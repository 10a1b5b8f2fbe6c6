// What somebody probably meant: the nearest of a few known words, by optimal string alignment
// distance (a swap of neighbours counts one).

const LENGTH_MAX = 64;

/** The nearest of `known`, or null when none is near enough to be worth a guess. Letter case is free. */
export function didYouMean(found: string, known: Iterable<string>): string | null {
	if (found.length > LENGTH_MAX) return null;
	const wanted = found.toLowerCase();
	let best: string | null = null;
	let bestDistance = Math.max(1, Math.floor(found.length / 3)) + 1;
	for (const candidate of known) {
		if (candidate.length > LENGTH_MAX || Math.abs(candidate.length - found.length) >= bestDistance) continue;
		const distance = editDistance(wanted, candidate.toLowerCase());
		if (distance < bestDistance) {
			best = candidate;
			bestDistance = distance;
		}
	}
	return best;
}

function editDistance(a: string, b: string): number {
	let beforeLast: number[] = [];
	let last = Array.from({ length: b.length + 1 }, (_, index) => index);
	for (let i = 1; i <= a.length; i++) {
		const row = [i];
		for (let j = 1; j <= b.length; j++) {
			const same = a[i - 1] === b[j - 1];
			let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
			if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
				cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
			}
			row.push(cost);
		}
		beforeLast = last;
		last = row;
	}
	return last[b.length] ?? 0;
}
