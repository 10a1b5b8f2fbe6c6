// The loads: wrk (HTTP/1.1), h2load (HTTP/2, and both at a fixed rate), curl (one long transfer), our own gRPC streams.
// Each sends as much as goes through, except `steady`.

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GIGABYTE } from './upstream.ts';

export interface LoadResult {
	/** Requests, streams or transfers that ended. */
	readonly requests: number;
	readonly requestsPerSecond: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
	/** Answers other than 2xx and 3xx, and broken connections. */
	readonly failures: number;
}

export interface Latency {
	readonly p50Ms: number;
	readonly p99Ms: number;
	readonly p999Ms: number;
	readonly failures: number;
}

export interface Target {
	readonly port: number;
	readonly path: string;
	readonly isTls: boolean;
}

/** What a load needs to know of the run. */
export interface LoadSize {
	readonly connections: number;
	readonly seconds: number;
	/** Files of a load may go there. */
	readonly directory: string;
}

export type Load = (target: Target, size: LoadSize) => Promise<LoadResult>;

const STEADY_CONNECTIONS = 16;
export const STEADY_RATE = 1000;

function urlOf(target: Target): string {
	return `${target.isTls ? 'https' : 'http'}://127.0.0.1:${target.port}${target.path}`;
}

/** HTTP/1.1 by wrk on one thread. */
export function http1(options: { readonly uploadBytes?: number; readonly isNewConnectionEach?: boolean } = {}): Load {
	return async (target, { connections, seconds, directory }) => {
		const command = ['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '--latency'];
		if (options.isNewConnectionEach) command.push('-H', 'Connection: close');
		if (options.uploadBytes !== undefined) {
			const script = join(directory, `upload-${options.uploadBytes}.lua`);
			writeFileSync(script, `wrk.method = "POST"\nwrk.body = string.rep("x", ${options.uploadBytes})\n`);
			command.push('-s', script);
		}
		return parseWrk(await output([...command, urlOf(target)]));
	};
}

/** HTTP/2 by h2load on one thread: `streams` at a time on each of a quarter of the connections. */
export function http2(options: { readonly streams: number; readonly grpcMessageBytes?: number }): Load {
	return async (target, { connections, seconds, directory }) => {
		const log = join(directory, 'h2load.log');
		const clients = Math.max(1, connections >> 2);
		const text = await output([
			...['h2load', '-t1', `-c${clients}`, `-m${options.streams}`, `-D${seconds}`, `--log-file=${log}`],
			...grpcFlags(options.grpcMessageBytes, directory),
			urlOf(target),
		]);
		const times = readLog(log);
		const requests = Number(/(\d+) succeeded/.exec(text)?.[1] ?? Number.NaN);
		const broken = /(\d+) failed, (\d+) errored, (\d+) timeout/.exec(text);
		if (Number.isNaN(requests) || broken === null) throw new Error(`h2load said what is not understood: ${text}`);
		return {
			requests,
			requestsPerSecond: requests / seconds,
			p50Ms: percentile(times, 50),
			p99Ms: percentile(times, 99),
			failures: Number(broken[1]) + Number(broken[2]) + Number(broken[3]),
		};
	};
}

/** {@link STEADY_RATE} requests a second over 16 connections, whether answers come or not. */
export async function steady(
	target: Target,
	options: { readonly isHttp2: boolean; readonly grpcMessageBytes?: number },
	{ seconds, directory }: LoadSize,
): Promise<Latency> {
	const log = join(directory, 'steady.log');
	const text = await output([
		...['h2load', '-t1', `-c${STEADY_CONNECTIONS}`, `--rps=${STEADY_RATE / STEADY_CONNECTIONS}`, `-D${seconds}`],
		// HTTP/1.1 has one request at a time on a connection; more would be pipelined.
		...(options.isHttp2 ? ['-m10'] : ['--h1', '-m1']),
		`--log-file=${log}`,
		...grpcFlags(options.grpcMessageBytes, directory),
		urlOf(target),
	]);
	const times = readLog(log);
	const broken = /(\d+) failed, (\d+) errored, (\d+) timeout/.exec(text);
	if (broken === null) throw new Error(`h2load said what is not understood: ${text}`);
	return {
		p50Ms: percentile(times, 50),
		p99Ms: percentile(times, 99),
		p999Ms: percentile(times, 99.9),
		failures: Number(broken[1]) + Number(broken[2]) + Number(broken[3]),
	};
}

/** One stream of 1 GB by curl, HTTP/2 without TLS. */
export function gigabyte(direction: 'download' | 'upload'): Load {
	return async (target, { directory }) => {
		const command = ['curl', '--silent', '--show-error', '--fail', '--http2-prior-knowledge', '--output', '/dev/null'];
		if (direction === 'upload') command.push('-H', 'Expect:', '--upload-file', join(directory, 'files/gigabyte'));
		const started = performance.now();
		const text = await output([
			...command,
			'--write-out',
			`%{http_code} %{size_${direction}}`,
			urlOf({ ...target, path: direction === 'upload' ? '/upload' : '/gigabyte' }),
		]);
		const tookMs = performance.now() - started;
		const isWhole = text.trim() === `200 ${GIGABYTE}`;
		return { requests: 1, requestsPerSecond: 1000 / tookMs, p50Ms: tookMs, p99Ms: tookMs, failures: isWhole ? 0 : 1 };
	};
}

/** gRPC streams of 100 small messages and as many answers, 16 at a time, sent by one of our scripts. */
export function grpcStreams(script: 'grpc-streams.ts' | 'grpc-bursts.ts'): Load {
	return async (target, { seconds }) => {
		const path = join(import.meta.dir, script);
		const text = await output([process.execPath, path, String(target.port), '16', String(seconds)]);
		const found = JSON.parse(text) as { streams: number; seconds: number; failures: number; durations: number[] };
		const times = Float64Array.from(found.durations).sort();
		return {
			requests: found.streams,
			requestsPerSecond: found.streams / found.seconds,
			p50Ms: percentile(times, 50),
			p99Ms: percentile(times, 99),
			failures: found.failures,
		};
	};
}

function grpcFlags(messageBytes: number | undefined, directory: string): string[] {
	if (messageBytes === undefined) return [];
	const file = join(directory, `message-${messageBytes}`);
	const message = Buffer.alloc(5 + messageBytes, 'x');
	message.writeUInt8(0, 0);
	message.writeUInt32BE(messageBytes, 1);
	writeFileSync(file, message);
	return ['-d', file, '-H', 'content-type: application/grpc', '-H', 'te: trailers'];
}

async function output(command: readonly string[]): Promise<string> {
	const child = Bun.spawn([...command], { stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' });
	const [text, complaint] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
	if ((await child.exited) !== 0) throw new Error(`${command[0]} failed: ${complaint}${text}`);
	return text;
}

/** Milliseconds of each request in h2load's log, sorted. */
function readLog(file: string): Float64Array {
	const lines = readFileSync(file, 'latin1').split('\n');
	rmSync(file);
	if (lines.at(-1) === '') lines.pop();
	return Float64Array.from(lines, (line) => Number(line.slice(line.lastIndexOf('\t') + 1)) / 1000).sort();
}

function percentile(sorted: Float64Array, percent: number): number {
	if (sorted.length === 0) return Number.NaN;
	return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))]!;
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
