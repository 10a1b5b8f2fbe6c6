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

/** Ends these, or all that `start` started, and nothing else. */
export async function stop(children?: readonly Child[]): Promise<void> {
	const ending = running.filter(({ child }) => children?.some((one) => one.pid === child.pid) ?? true);
	for (const { child } of ending) child.kill('SIGTERM');
	await Promise.all(
		ending.map(async (one) => {
			const late = setTimeout(() => one.child.kill('SIGKILL'), 1000);
			await one.child.exited;
			clearTimeout(late);
			running.splice(running.indexOf(one), 1);
		}),
	);
}

export interface Usage {
	/** User and system time so far, of the process and its descendants. */
	readonly cpuSeconds: number;
	readonly residentMegabytes: number;
	/** The part of it that is the process's own: the rest are pages of files, which processes of one program share. */
	readonly anonymousMegabytes: number;
}

/** Of all of these together. */
export function usageOf(children: readonly Child[]): Usage {
	let ticks = 0;
	let residentKilobytes = 0;
	let anonymousKilobytes = 0;
	for (const one of children.flatMap((child) => withDescendants(child.pid))) {
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

/** Until something listens there. @throws Error with what a process wrote, when one ends or it takes 20 s. */
export async function untilListening(port: number, children: readonly Child[]): Promise<void> {
	const deadline = performance.now() + 20_000;
	for (;;) {
		const connection = await Bun.connect({ hostname: '127.0.0.1', port, socket: { data() {} } }).catch(() => null);
		connection?.end();
		if (connection !== null) return;
		const ended = children.find((child) => child.exitCode !== null);
		if (ended !== undefined) throw new Error(`${ended.name} ended with ${ended.exitCode}: ${ended.errors().trim()}`);
		if (performance.now() > deadline) {
			throw new Error(`nobody listens on port ${port}: ${children.map((child) => child.errors()).join('\n')}`);
		}
		await Bun.sleep(50);
	}
}
