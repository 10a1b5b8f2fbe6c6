// Which way the program's traffic gets to the sidecar, chosen by what this machine and this user can
// do, tried for real (the surroundings are made), and said with its reason.

import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import type { CaptureMode } from '../../xds/node-metadata.ts';
import { ExitError } from '../exit-error.ts';
import { type CaptureScript, type Tools, UNDOING_CAPABILITIES } from './capture-script.ts';
import { CaptureError, HeldProgram } from './held-program.ts';
import { CAP_NET_ADMIN, CAP_SYS_ADMIN, hasCapability } from './privileges.ts';
import { findTool } from './tools.ts';

export interface CaptureOptions {
	readonly wanted: 'auto' | CaptureMode;
	/** The program listens elsewhere than on 127.0.0.1 and so shares the machine's loopback. */
	readonly sharesLoopback: boolean;
	readonly capturePort: number;
	readonly dnsPort: number;
	/** What `resolvFile` says. */
	readonly resolvConf: string;
	/** Only what is captured can be held to this: no other way of capture will do. */
	readonly registryOnly: boolean;
	/** Files that exist and are bound over the machine's. */
	readonly hostsFile: string;
	readonly resolvFile: string;
	/** Directories that the program must not see, in `transparent` capture. */
	readonly hidden: readonly string[];
	readonly command: readonly string[];
	readonly env: (mode: CaptureMode) => Readonly<Record<string, string | undefined>>;
}

export interface Capture {
	readonly mode: CaptureMode;
	/** Why this one, for the user. */
	readonly reason: string;
	readonly program: HeldProgram;
	/**
	 * The program's network namespace, for `transparent`: a path that holds while this process lives,
	 * also when the program has ended.
	 */
	readonly networkNamespace: string | null;
	release(): void;
}

/** @throws ExitError 1 when the one that was wanted cannot be had */
export async function prepareCapture(options: CaptureOptions): Promise<Capture> {
	const candidates = options.wanted === 'auto' ? automatic(options) : [options.wanted];
	const reasons: string[] = [];
	if (options.registryOnly && !candidates.includes('transparent')) {
		throw new ExitError(1, '--outbound registry-only takes transparent capture: nothing else can hold a program to it');
	}
	if (options.registryOnly) reasons.push('--outbound registry-only takes transparent capture');
	if (options.wanted === 'auto' && options.sharesLoopback) reasons.push('--program-address shares the loopback');
	for (const mode of candidates) {
		try {
			const program = await HeldProgram.prepare({
				script: scriptFor(mode, options),
				command: options.command,
				env: options.env(mode),
			});
			const reason = options.wanted === 'auto' ? chosenBecause(mode, reasons) : 'as asked for';
			return held(mode, program, mode === 'transparent' ? `${reason}${transparentLimit()}` : reason);
		} catch (error) {
			if (!(error instanceof CaptureError)) throw error;
			reasons.push(`no ${mode} capture: ${error.message}`);
		}
	}
	throw new ExitError(1, reasons.join('; '));
}

function automatic(options: CaptureOptions): CaptureMode[] {
	if (options.registryOnly && !options.sharesLoopback) return ['transparent'];
	return options.sharesLoopback ? ['loopback', 'explicit'] : ['transparent', 'loopback', 'explicit'];
}

function chosenBecause(mode: CaptureMode, reasons: readonly string[]): string {
	if (reasons.length > 0) return reasons.join('; ');
	return mode === 'transparent' ? 'privileged: nothing gets round the sidecar' : 'chosen automatically';
}

function transparentLimit(): string {
	return findTool('setpriv') === null ? ', but a program of root can undo it: setpriv is not installed' : '';
}

function held(mode: CaptureMode, program: HeldProgram, reason: string): Capture {
	if (mode !== 'transparent') return { mode, reason, program, networkNamespace: null, release: () => {} };
	const descriptor = openSync(`/proc/${program.pid}/ns/net`, 'r');
	return {
		mode,
		reason,
		program,
		networkNamespace: `/proc/${process.pid}/fd/${descriptor}`,
		release: () => closeSync(descriptor),
	};
}

/** @throws CaptureError when something that it takes is not here */
function scriptFor(mode: CaptureMode, options: CaptureOptions): CaptureScript {
	const setpriv = findTool('setpriv');
	if (mode === 'explicit') return { kind: 'explicit', tools: { setpriv } };
	if (process.platform !== 'linux') throw new CaptureError('it takes Linux');
	const unshare = required('unshare');
	const mount = required('mount');
	const { hostsFile } = options;
	if (mode === 'loopback') {
		const uid = process.geteuid?.() ?? 0;
		const gid = process.getegid?.() ?? 0;
		const unprivileged = hasCapability(CAP_SYS_ADMIN) && uid === 0 ? null : { uid, gid };
		if (unprivileged !== null) tryUserNamespace(unshare);
		return { kind: 'loopback', tools: { unshare, mount, setpriv }, hostsFile, unprivileged };
	}
	if (!hasCapability(CAP_SYS_ADMIN) || !hasCapability(CAP_NET_ADMIN)) {
		throw new CaptureError('it takes root (CAP_SYS_ADMIN and CAP_NET_ADMIN)');
	}
	const nft = findTool('nft');
	const iptables = findTool('iptables');
	if (nft === null && iptables === null) throw new CaptureError('neither nft nor iptables is installed');
	const tools: Tools = { unshare, mount, ip: required('ip'), nft, iptables, setpriv };
	const { capturePort, dnsPort } = options;
	let resolvFile: string | null = null;
	if (existsSync('/etc/resolv.conf')) {
		writeFileSync(options.resolvFile, options.resolvConf, { mode: 0o644 });
		resolvFile = options.resolvFile;
	}
	const droppedCapabilities = UNDOING_CAPABILITIES.filter((number) => number <= lastCapability());
	return {
		kind: 'transparent',
		tools,
		capturePort,
		dnsPort,
		hostsFile,
		resolvFile,
		hidden: options.hidden,
		droppedCapabilities,
	};
}

/** Many containers and some distributions refuse them; unshare's words would be on the program's standard error. */
function tryUserNamespace(unshare: string): void {
	const { exitCode, stderr } = Bun.spawnSync(
		[unshare, '--user', '--map-root-user', '--mount', '--', unshare, '--user', '--', '/bin/sh', '-c', 'exit 0'],
		{
			stdin: null,
			stdout: 'ignore',
			stderr: 'pipe',
		},
	);
	if (exitCode === 0) return;
	const [line = ''] = stderr.toString().trim().split('\n');
	throw new CaptureError(`this user may make no user namespace here${line === '' ? '' : ` (${line})`}`);
}

function required(name: string): string {
	const file = findTool(name);
	if (file === null) throw new CaptureError(`${name} is not installed`);
	return file;
}

/** The kernel's highest; setpriv refuses those beyond. */
function lastCapability(): number {
	return Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8'));
}
