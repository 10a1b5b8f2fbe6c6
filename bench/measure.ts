// Micro-benchmarks: runs `work` until the figures stand still enough, prints nanoseconds per run.

const WARM_UP_MS = 200;
const ROUNDS = 7;
const ROUND_MS = 100;

/** Prints the median and the spread over the rounds; returns the median, ns. */
export function measure(name: string, work: () => void): number {
	let runs = 0;
	const warmUntil = Bun.nanoseconds() + WARM_UP_MS * 1e6;
	while (Bun.nanoseconds() < warmUntil) {
		for (let i = 0; i < 100; i++) work();
		runs += 100;
	}
	const perRound = Math.max(100, Math.round((runs * ROUND_MS) / WARM_UP_MS));
	const rounds: number[] = [];
	for (let round = 0; round < ROUNDS; round++) {
		const start = Bun.nanoseconds();
		for (let i = 0; i < perRound; i++) work();
		rounds.push((Bun.nanoseconds() - start) / perRound);
	}
	rounds.sort((a, b) => a - b);
	const median = rounds[ROUNDS >> 1]!;
	console.log(
		`${name.padEnd(64)} ${median.toFixed(0).padStart(8)} ns  (${rounds[0]!.toFixed(0)} … ${rounds[ROUNDS - 1]!.toFixed(0)})`,
	);
	return median;
}
