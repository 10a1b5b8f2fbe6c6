// The processes of a benchmark: started here, watched through /proc, and all stopped at the end.

import { readdirSync, readFileSync } from 'node:fs';

/** `sysconf(_SC_CLK_TCK)`; 100 on every Linux that Bun runs on. */
const TICKS_PER_SECOND = 100;

export interface Child {
	readonly name: string;
	readonly pid: number;
	/** What it wrote to standard error, its end. */
	errors(): string;
	readonly exitCode: number | null;
}

const running: { readonly child: Bun.Subprocess; readonly name: string }[] = [];

export function start(name: string, command: readonly string[], environment: Record<string, string> = {}): Child {
	const child = Bun.spawn([...command], {
		stdin: 'ignore',
		stdout: 'ignore',
		stderr: 'pipe',
		env: { ...process.env, ...environment },
	});
	running.push({ child, name });
	let tail = '';
	void (async () => {
		for await (const bytes of child.stderr) tail = (tail + new TextDecoder().decode(bytes)).slice(-4000);
	})();
	return {
		name,
		pid: child.pid,
		errors: () => tail,
		get exitCode() {
			return child.exitCode;
		},
	};
}

/** Ends what `start` started, and nothing else. */
export async function stopAll(): Promise<void> {
	for (const { child } of running) child.kill('SIGTERM');
	await Promise.all(
		running.map(async ({ child }) => {
			const late = setTimeout(() => child.kill('SIGKILL'), 3000);
			await child.exited;
			clearTimeout(late);
		}),
	);
	running.length = 0;
}

export interface Usage {
	/** User and system time so far, of the process and its descendants. */
	readonly cpuSeconds: number;
	readonly residentMegabytes: number;
	/** The part of it that is the process's own: the rest are pages of files, which processes of one program share. */
	readonly anonymousMegabytes: number;
}

export function usageOf(pid: number): Usage {
	let ticks = 0;
	let residentKilobytes = 0;
	let anonymousKilobytes = 0;
	for (const one of withDescendants(pid)) {
		const stat = readStat(one);
		if (stat === null) continue;
		// Fields 14 to 17 of proc(5), and of children that have ended: utime, stime, cutime, cstime.
		ticks += stat.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
		const status = readOrEmpty(`/proc/${one}/status`);
		residentKilobytes += Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
		anonymousKilobytes += Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0);
	}
	return {
		cpuSeconds: ticks / TICKS_PER_SECOND,
		residentMegabytes: residentKilobytes / 1024,
		anonymousMegabytes: anonymousKilobytes / 1024,
	};
}

/** A launcher (a shell script, a Python shim) is counted with what it started. */
function withDescendants(pid: number): number[] {
	const childrenOf = new Map<number, number[]>();
	for (const entry of readdirSync('/proc')) {
		if (!/^\d+$/.test(entry)) continue;
		const stat = readStat(Number(entry));
		if (stat === null) continue;
		const parent = Number(stat[1]);
		childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(entry)]);
	}
	const all = [pid];
	for (const one of all) all.push(...(childrenOf.get(one) ?? []));
	return all;
}

/** The fields of /proc/PID/stat from the third (state) on: the second may hold anything. */
function readStat(pid: number): string[] | null {
	const text = readOrEmpty(`/proc/${pid}/stat`);
	return text === '' ? null : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function readOrEmpty(path: string): string {
	try {
		return readFileSync(path, 'utf8');
	} catch {
		return '';
	}
}

export function freePort(): number {
	const listener = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
	const { port } = listener;
	listener.stop(true);
	return port;
}

/** Until it answers 200. @throws Error with what the process wrote, when it ends or takes 20 s. */
export async function untilAnswering(url: string, children: readonly Child[]): Promise<void> {
	const deadline = performance.now() + 20_000;
	for (;;) {
		const answer = await fetch(url, { signal: AbortSignal.timeout(1000) }).catch(() => null);
		await answer?.arrayBuffer();
		if (answer?.status === 200) return;
		const ended = children.find((child) => child.exitCode !== null);
		if (ended !== undefined) throw new Error(`${ended.name} ended with ${ended.exitCode}: ${ended.errors().trim()}`);
		if (performance.now() > deadline) {
			throw new Error(
				`${url} does not answer (${answer?.status ?? 'no connection'}): ${children.map((child) => child.errors()).join('\n')}`,
			);
		}
		await Bun.sleep(50);
	}
}
