// The shell script that becomes the program: it sets up what the capture needs around itself, says
// `ready` on descriptor 3, waits for `go` there, and turns into the program (exec), which therefore
// has the process id, the standard streams and the terminal that `weft run`'s child was given.
// Namespaces live and die with it: nothing has a name, nothing is left behind.
//
//   unshare ─▶ sh: mounts, routes, rules ─▶ [unshare: own user again] ─▶ setpriv ─▶ sh: ready, go ─▶ program
//
// In `transparent` capture setpriv also takes away the capabilities by which a program of root could
// undo what was set up, and the control plane's data directory cannot be seen: as root, the program
// would read keys there, and speak to sockets that ask for no more than the user.

import { shellQuoted } from './tools.ts';

export interface Tools {
	readonly unshare: string;
	readonly mount: string;
	readonly ip: string;
	/** One of the two is there for `transparent`. */
	readonly nft: string | null;
	readonly iptables: string | null;
	/** Null: the program outlives a `weft run` that was killed, and keeps its capabilities. */
	readonly setpriv: string | null;
}

export interface TransparentScript {
	readonly kind: 'transparent';
	readonly tools: Tools;
	readonly capturePort: number;
	/** Where names are asked for, UDP and TCP. */
	readonly dnsPort: number;
	readonly hostsFile: string;
	/** Null: the machine has no /etc/resolv.conf to put it over. */
	readonly resolvFile: string | null;
	/** Directories that the program finds empty. */
	readonly hidden: readonly string[];
	/** Numbers of the capabilities that it loses for good (`UNDOING_CAPABILITIES`). */
	readonly droppedCapabilities: readonly number[];
}

export interface LoopbackScript {
	readonly kind: 'loopback';
	readonly tools: Pick<Tools, 'unshare' | 'mount' | 'setpriv'>;
	readonly hostsFile: string;
	/** Null: allowed to mount without a user namespace. */
	readonly unprivileged: { readonly uid: number; readonly gid: number } | null;
}

export interface ExplicitScript {
	readonly kind: 'explicit';
	readonly tools: Pick<Tools, 'setpriv'>;
}

export type CaptureScript = TransparentScript | LoopbackScript | ExplicitScript;

/** What the script's own failures exit with. */
export const SETUP_FAILED = 125;

/**
 * By each of these a program could leave the namespace, change its rules, or get at what is hidden
 * (capabilities(7)): DAC_READ_SEARCH (opens files by handle), NET_ADMIN, NET_RAW, SYS_MODULE, SYS_RAWIO,
 * SYS_PTRACE (other processes' namespaces and files), SYS_ADMIN, MKNOD (disks), PERFMON, BPF, CHECKPOINT_RESTORE.
 */
export const UNDOING_CAPABILITIES: readonly number[] = [2, 12, 13, 16, 17, 19, 21, 27, 38, 39, 40];

/** The words to spawn, before the program's own. */
export function captureCommand(script: CaptureScript): string[] {
	switch (script.kind) {
		case 'explicit':
			return sh(`exec ${waitThenRun(script.tools.setpriv)}`);
		case 'loopback': {
			const { tools, hostsFile, unprivileged } = script;
			const mounts = bindMount(tools.mount, hostsFile, '/etc/hosts');
			const last = waitThenRun(tools.setpriv);
			if (unprivileged === null) return [tools.unshare, '--mount', '--', ...sh(setup(mounts, `exec ${last}`))];
			// Mounting takes being root of a user namespace; the program is its own user again, in one inside.
			const own = `--user --map-user=${unprivileged.uid} --map-group=${unprivileged.gid}`;
			const next = `exec ${shellQuoted(tools.unshare)} ${own} -- ${last}`;
			return [tools.unshare, '--user', '--map-root-user', '--mount', '--', ...sh(setup(mounts, next))];
		}
		case 'transparent': {
			const { tools, hostsFile, resolvFile, capturePort, dnsPort, hidden, droppedCapabilities } = script;
			const steps = [
				bindMount(tools.mount, hostsFile, '/etc/hosts'),
				...(resolvFile === null ? [] : [bindMount(tools.mount, resolvFile, '/etc/resolv.conf')]),
				// After what is bound from there.
				...hidden.map((directory) => hide(tools.mount, directory)),
				...routes(tools.ip),
				...(tools.nft !== null
					? nftRules(tools.nft, capturePort, dnsPort)
					: iptablesRules(tools.iptables!, capturePort, dnsPort)),
			];
			const last = `exec ${waitThenRun(tools.setpriv, droppedCapabilities)}`;
			return [tools.unshare, '--net', '--mount', '--', ...sh(setup(steps.join(' &&\n'), last))];
		}
	}
}

function sh(script: string): string[] {
	return ['/bin/sh', '-c', script, 'weft-run'];
}

/** What fails says so on descriptor 3, where `weft run` reads it, and not on the program's standard error. */
function setup(steps: string, next: string): string {
	return `{\n${steps}\n} 2>&3 >&3 </dev/null || exit ${SETUP_FAILED}\n${next}`;
}

/** The signal at the parent's death is asked for before `go`, so that no moment is left in which it is missed. */
function waitThenRun(setpriv: string | null, droppedCapabilities: readonly number[] = []): string {
	const wait = [
		"printf 'ready\\n' >&3",
		`read -r word <&3 && [ "$word" = go ] || exit ${SETUP_FAILED}`,
		'exec 3>&-',
		'exec "$@"',
	].join('\n');
	const run = `/bin/sh -c ${shellQuoted(wait)} weft-run "$@"`;
	if (setpriv === null) return run;
	const dropped = droppedCapabilities.map((number) => `-cap_${number}`).join(',');
	// What is inheritable would survive the bounding set.
	const drop = dropped === '' ? '' : ` --bounding-set ${dropped} --inh-caps=-all --ambient-caps=-all`;
	return `${shellQuoted(setpriv)} --pdeathsig KILL${drop} -- ${run}`;
}

function hide(mount: string, directory: string): string {
	return `${shellQuoted(mount)} -t tmpfs -o ro,mode=0,size=4k weft ${shellQuoted(directory)}`;
}

function bindMount(mount: string, from: string, to: string): string {
	return `${shellQuoted(mount)} --bind ${shellQuoted(from)} ${shellQuoted(to)}`;
}

/** Every address is local; without the source, connections would come from 0.0.0.0. */
function routes(ip: string): string[] {
	return [`${shellQuoted(ip)} link set lo up`, `${shellQuoted(ip)} route add default dev lo src 127.0.0.1`];
}

/** Addresses of services: one may well listen on port 53. */
const SERVICES = '127.96.0.0/16';

/**
 * Names are asked of the relay, TCP goes to the sidecar; what is neither, nor the program talking to itself, is
 * refused at once.
 */
function nftRules(nft: string, capturePort: number, dnsPort: number): string[] {
	const rules = `table inet weft {
	chain capture {
		type nat hook output priority -100;
		ip daddr 127.0.0.1 return
		meta nfproto ipv4 udp dport 53 redirect to :${dnsPort}
		ip daddr != ${SERVICES} tcp dport 53 redirect to :${dnsPort}
		meta nfproto ipv4 meta l4proto tcp redirect to :${capturePort}
	}
	chain guard {
		type filter hook output priority 0;
		oifname != "lo" drop
		ip daddr 127.0.0.0/8 accept
		ip6 daddr ::1 accept
		meta l4proto tcp reject with tcp reset
		reject with icmpx type admin-prohibited
	}
}
`;
	return [`printf %s ${shellQuoted(rules)} | ${shellQuoted(nft)} -f -`];
}

function iptablesRules(iptables: string, capturePort: number, dnsPort: number): string[] {
	const command = shellQuoted(iptables);
	return [
		`${command} -w -t nat -A OUTPUT -d 127.0.0.1/32 -j RETURN`,
		`${command} -w -t nat -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports ${dnsPort}`,
		`${command} -w -t nat -A OUTPUT -p tcp --dport 53 ! -d ${SERVICES} -j REDIRECT --to-ports ${dnsPort}`,
		`${command} -w -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports ${capturePort}`,
		`${command} -w -A OUTPUT -d 127.0.0.0/8 -j ACCEPT`,
		`${command} -w -A OUTPUT -j REJECT`,
	];
}
