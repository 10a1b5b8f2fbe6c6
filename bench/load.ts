// The load: wrk, one thread, as many requests as go through.

export interface LoadResult {
	readonly requests: number;
	readonly requestsPerSecond: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
	/** Answers other than 2xx and 3xx, and broken connections. */
	readonly failures: number;
}

export async function load(url: string, connections: number, seconds: number): Promise<LoadResult> {
	const wrk = Bun.spawn(['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--latency', url], {
		stdin: 'ignore',
		stdout: 'pipe',
		stderr: 'inherit',
	});
	const text = await new Response(wrk.stdout).text();
	if ((await wrk.exited) !== 0) throw new Error(`wrk failed: ${text}`);
	return parseWrk(text);
}

export function parseWrk(text: string): LoadResult {
	const number = (pattern: RegExp): number | null => {
		const found = pattern.exec(text)?.[1];
		return found === undefined ? null : Number(found);
	};
	const requests = number(/^\s*(\d+) requests in/m);
	const requestsPerSecond = number(/^Requests\/sec:\s+([\d.]+)/m);
	if (requests === null || requestsPerSecond === null) throw new Error(`wrk said what is not understood: ${text}`);
	const socketErrors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
	const broken = socketErrors === null ? 0 : socketErrors.slice(1).reduce((sum, field) => sum + Number(field), 0);
	return {
		requests,
		requestsPerSecond,
		p50Ms: milliseconds(/^\s+50%\s+(\S+)/m.exec(text)?.[1]),
		p99Ms: milliseconds(/^\s+99%\s+(\S+)/m.exec(text)?.[1]),
		failures: broken + (number(/Non-2xx or 3xx responses: (\d+)/) ?? 0),
	};
}

const UNIT_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

function milliseconds(text: string | undefined): number {
	const match = /^([\d.]+)(us|ms|s|m)$/.exec(text ?? '');
	if (match === null) throw new Error(`no duration: ${text}`);
	return Number(match[1]) * UNIT_MS[match[2]!]!;
}
