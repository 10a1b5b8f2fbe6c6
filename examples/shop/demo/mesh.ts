// The demo's processes: the control plane, and each of the shop's instances under `weft run`, with
// their output in one log file each. Whatever was started here is stopped here.

import {
	closeSync,
	existsSync,
	lstatSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { lockData } from '../../../src/app/control-plane/data-lock.ts';
import type { MeshSnapshot } from '../../../src/control/mesh-snapshot.ts';

export const projectRoot = join(import.meta.dir, '../../..');
const shop = join(projectRoot, 'examples/shop');
/** The compiled binary: it starts quicker than a checkout's sources, and 20 of it start here. */
export const weft = join(projectRoot, 'dist/weft');

export interface ShopInstance {
	/** `products-v1-1`; names its log file. */
	readonly name: string;
	readonly service: string;
	readonly version: string;
	readonly command: readonly string[];
	/** False: only a client. */
	readonly listens: boolean;
	/** Published to people at this port of loopback. */
	readonly publishPort?: number;
	readonly env?: Readonly<Record<string, string>>;
}

const PROGRAM_PORT = 8080;

/** Says that a directory is a demo's, and may be removed by the next. */
const MARKER = 'weft-demo';

/** @throws Error, having removed nothing, when the directory is not an earlier demo's of this user, or one runs on it */
export function removeEarlierDemo(data: string): void {
	const found = lstatSync(data, { throwIfNoEntry: false });
	if (found === undefined) return;
	const own = found.isDirectory() && found.uid === (process.getuid?.() ?? found.uid);
	const isDemo = existsSync(join(data, MARKER)) || existsSync(join(data, 'logs', 'control-plane.log'));
	if (own && (isDemo || readdirSync(data).length === 0)) {
		const lock = join(data, 'lock');
		// Throws while another demo's control plane runs on it.
		if (existsSync(lock)) lockData(lock).release();
		rmSync(data, { recursive: true });
		return;
	}
	throw new Error(`${data} is there, and is not an earlier demo's: name another directory by --data DIR`);
}

/** Stdout of a child, split into lines. */
async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
	const decoder = new TextDecoder();
	let rest = '';
	for await (const chunk of stream) {
		const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
		rest = parts.pop()!;
		yield* parts;
	}
}

export async function freePort(wanted: number): Promise<number> {
	const tryPort = (port: number) =>
		new Promise<number | null>((resolve) => {
			const server = createServer();
			server.once('error', () => resolve(null));
			server.listen(port, '127.0.0.1', () => {
				const address = server.address();
				server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : null));
			});
		});
	return (await tryPort(wanted)) ?? (await tryPort(0))!;
}

export class DemoMesh {
	private controlPlane: Bun.Subprocess | null = null;
	private readonly instances = new Map<string, Bun.Subprocess>();
	private stopping = false;
	private readonly privileged = process.getuid?.() === 0;
	private listenAddresses = 0;
	/** Hears what ended by itself. */
	onNews: (text: string, name: string) => void = (text) => console.error(text);

	private constructor(
		/** The control plane's data directory; the instances' logs are in `logs` within. */
		readonly data: string,
		readonly apiPort: number,
		private readonly xdsPort: number,
	) {}

	static async create(data: string): Promise<DemoMesh> {
		removeEarlierDemo(data);
		mkdirSync(join(data, 'logs'), { recursive: true, mode: 0o700 });
		writeFileSync(join(data, MARKER), '');
		return new DemoMesh(data, await freePort(15080), await freePort(15012));
	}

	get dashboardUrl(): string {
		return `http://127.0.0.1:${this.apiPort}/`;
	}

	logPath(name: string): string {
		return join(this.data, 'logs', `${name}.log`);
	}

	startControlPlane(): void {
		const addresses = ['--api-address', `127.0.0.1:${this.apiPort}`, '--xds-address', `127.0.0.1:${this.xdsPort}`];
		const log = openSync(this.logPath('control-plane'), 'a');
		this.controlPlane = Bun.spawn([weft, 'up', '--data', this.data, ...addresses], {
			stdin: 'ignore',
			stdout: log,
			stderr: log,
		});
		closeSync(log);
	}

	/** kill -9, and waits until it is gone. */
	async killControlPlane(): Promise<void> {
		this.controlPlane?.kill('SIGKILL');
		await this.controlPlane?.exited;
		this.controlPlane = null;
	}

	/** `onLine` hears each line of the program's standard output. */
	startInstance(instance: ShopInstance, onLine?: (line: string) => void): void {
		const command = [weft, 'run', '--data', this.data, '--service', instance.service, '--version', instance.version];
		const env: Record<string, string | undefined> = {
			...process.env,
			VERSION: instance.version,
			PYTHONDONTWRITEBYTECODE: '1',
			PORT: String(PROGRAM_PORT),
			...instance.env,
		};
		if (instance.listens) command.push('--port', String(PROGRAM_PORT));
		if (instance.listens && !this.privileged) {
			// Without a network namespace all programs share loopback: each gets an address of its own there.
			const address = `127.64.0.${++this.listenAddresses}`;
			command.push('--program-address', address);
			env.HOST = address;
		}
		if (instance.publishPort !== undefined) command.push('--publish', `${instance.publishPort}:${PROGRAM_PORT}`);
		const log = openSync(this.logPath(instance.name), 'a');
		const child = Bun.spawn([...command, '--', ...instance.command], {
			cwd: shop,
			env,
			stdin: 'ignore',
			stdout: onLine === undefined ? log : 'pipe',
			stderr: log,
		});
		closeSync(log);
		if (onLine !== undefined) void this.readLines(child, onLine);
		this.instances.set(instance.name, child);
		void child.exited.then((code) => {
			if (this.stopping || this.instances.get(instance.name) !== child) return;
			this.instances.delete(instance.name);
			const how = child.signalCode === null ? `ended with exit code ${code}` : `was ended by ${child.signalCode}`;
			this.onNews(`${instance.name} ${how}; its log is ${this.logPath(instance.name)}`, instance.name);
		});
	}

	/** kill -9 of `weft run`: with it go its sidecar and its program. */
	async killInstance(name: string): Promise<void> {
		const child = this.instances.get(name);
		if (child === undefined) throw new Error(`no instance ${name} is running`);
		this.instances.delete(name);
		child.kill('SIGKILL');
		await child.exited;
	}

	/** Process id of its `weft run`. */
	pidOf(name: string): number | null {
		return this.instances.get(name)?.pid ?? null;
	}

	/** Runs `weft ARGS` on this mesh; returns its standard output. @throws when it exits other than 0 */
	async cli(...args: readonly string[]): Promise<string> {
		const child = Bun.spawn([weft, ...args, '--data', this.data], {
			cwd: projectRoot,
			stdin: 'ignore',
			stdout: 'pipe',
			stderr: 'pipe',
		});
		const [out, problem, code] = await Promise.all([
			new Response(child.stdout).text(),
			new Response(child.stderr).text(),
			child.exited,
		]);
		if (code !== 0) throw new Error(`weft ${args.join(' ')} exited with ${code}: ${problem.trim() || out.trim()}`);
		return out;
	}

	async snapshot(): Promise<MeshSnapshot> {
		const response = await fetch(new URL('/weft/v1/mesh', this.dashboardUrl), { signal: AbortSignal.timeout(5000) });
		if (!response.ok) throw new Error(`the control plane answered ${response.status}`);
		return (await response.json()) as MeshSnapshot;
	}

	/** Asks for snapshots until one satisfies `holds`, for `limitMs` at most; null when none did. */
	async waitFor(holds: (mesh: MeshSnapshot) => boolean, limitMs: number): Promise<MeshSnapshot | null> {
		const end = performance.now() + limitMs;
		while (performance.now() < end) {
			const mesh = await this.snapshot().catch(() => null);
			if (mesh !== null && holds(mesh)) return mesh;
			if (this.controlPlane !== null && this.controlPlane.exitCode !== null) {
				throw new Error(`the control plane ended:\n${this.logTail('control-plane')}`);
			}
			await Bun.sleep(100);
		}
		return null;
	}

	logTail(name: string): string {
		return readFileSync(this.logPath(name), 'utf8').trimEnd().split('\n').slice(-15).join('\n');
	}

	/** Stops everything in order: programs first, then the control plane. Idempotent. */
	async stop(): Promise<void> {
		this.stopping = true;
		const children = [...this.instances.values()];
		this.instances.clear();
		await endAll(children, 15_000);
		if (this.controlPlane !== null) await endAll([this.controlPlane], 5_000);
		this.controlPlane = null;
	}

	private async readLines(child: Bun.Subprocess, onLine: (line: string) => void): Promise<void> {
		if (!(child.stdout instanceof ReadableStream)) return;
		for await (const line of lines(child.stdout)) onLine(line);
	}
}

async function endAll(children: readonly Bun.Subprocess[], limitMs: number): Promise<void> {
	for (const child of children) child.kill('SIGTERM');
	const timer = setTimeout(() => {
		for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
	}, limitMs);
	await Promise.all(children.map((child) => child.exited));
	clearTimeout(timer);
}
