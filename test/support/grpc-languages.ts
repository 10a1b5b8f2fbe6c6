// The interop programs of test/interop/grpc: servers to start, and clients that run all cases.

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { peerPath } from './peers.ts';

/** Of a client; its calls have limits of their own. */
const RUN_LIMIT_MS = 90_000;
const folder = join(import.meta.dir, '../interop/grpc');

/** In the order in which every client runs them. */
export const CASES = [
	'empty_unary',
	'large_unary',
	'client_streaming',
	'server_streaming',
	'ping_pong',
	'empty_stream',
	'timeout_on_sleeping_server',
	'cancel_after_begin',
	'cancel_after_first_response',
	'status_code_and_message',
	'special_status_message',
	'custom_metadata',
	'unimplemented_method',
	'unimplemented_service',
] as const;

export interface GrpcProgram {
	readonly language: string;
	/** The last word, the port, is missing. */
	readonly server: readonly string[];
	/** The last word, the address, is missing. */
	readonly client: readonly string[];
}

/** Those whose language is installed; others are said to be skipped, or with CI=true throw. */
export function grpcPrograms(): GrpcProgram[] {
	const programs: GrpcProgram[] = [];
	const node = peerPath('node');
	const file = (name: string): string => join(folder, name);
	if (node !== null) {
		programs.push({
			language: 'grpc-js',
			server: [node, file('node-server.mjs')],
			client: [node, file('node-client.mjs')],
		});
	}
	const python = pythonWithGrpc();
	if (python !== null) {
		programs.push({
			language: 'Python',
			server: [python, file('python_server.py')],
			client: [python, file('python_client.py')],
		});
	}
	const go = peerPath('weft-interop-go');
	if (go !== null) programs.push({ language: 'Go', server: [go, 'server'], client: [go, 'client'] });
	return programs;
}

/** Python with grpcio, or null. @throws with CI=true when it is missing */
export function pythonWithGrpc(): string | null {
	const python = peerPath('python3');
	if (python === null) return null;
	if (Bun.spawnSync([python, '-c', 'import grpc'], { stderr: 'ignore' }).exitCode === 0) return python;
	if (process.env.CI === 'true') throw new Error("Python's grpcio is not installed; run scripts/setup --tests");
	console.log("skipped: Python's grpcio is not installed (scripts/setup --tests)");
	return null;
}

export class GrpcServerProcess {
	/** Once it listens. */
	readonly port: Promise<number>;
	private readonly child: ChildProcess;
	private readonly exited: Promise<void>;

	constructor({ language, server: [file, ...words] }: GrpcProgram) {
		this.child = spawn(file!, [...words, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
		this.exited = new Promise((resolve) => this.child.once('close', () => resolve()));
		this.port = new Promise((resolve, reject) => {
			let said = '';
			this.child.stdout!.on('data', (bytes: Buffer) => {
				said += bytes.toString();
				if (said.includes('\n')) resolve(Number(said));
			});
			this.child.once('close', (code) => reject(new Error(`the server of ${language} ended with ${code}`)));
		});
	}

	async stop(): Promise<void> {
		this.child.kill('SIGKILL');
		await this.exited;
	}
}

/** Runs all cases: a line of each, `ok CASE` or `failed CASE: why`. */
export async function runInteropCases({ client }: GrpcProgram, address: string): Promise<string[]> {
	const child = Bun.spawn([...client, address], {
		stdout: 'pipe',
		stderr: 'inherit',
		timeout: RUN_LIMIT_MS,
		killSignal: 'SIGKILL',
	});
	const lines = (await new Response(child.stdout).text()).trim().split('\n');
	const exitCode = await child.exited;
	return exitCode === 0 ? lines : [...lines, `the client ended with ${exitCode}`];
}
