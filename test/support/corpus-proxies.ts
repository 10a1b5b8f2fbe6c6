// The proxies that the corpus is sent through: weft in this process, and real Envoy, HAProxy and
// nginx. Each has a listener per variant and lane; a lane has an upstream of its own, so that cases
// can run side by side and what arrives is known to be of which.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Variant } from '../corpus/case.ts';
import { freePort } from './free-ports.ts';
import { peerPath } from './peers.ts';
import { RecordingUpstream } from './recording-upstream.ts';
import { httpListener, startRealEnvoy, startTestProxy, staticCluster } from './test-proxy.ts';

export interface Lane {
	readonly upstream: RecordingUpstream;
	/** Proxies other than weft and Envoy have one port for all variants that they can do. */
	port(variant: Variant): number | null;
}

export interface CorpusProxy {
	readonly lanes: readonly Lane[];
	stop(): Promise<void>;
}

const VARIANTS: readonly Variant[] = ['plain', 'http10', 'paths', 'small', 'hosts'];

const MANAGERS: Readonly<Record<Variant, object>> = {
	plain: {
		upgrade_configs: [{ upgrade_type: 'websocket' }],
		// As weft has it by default.
		http_protocol_options: { enable_trailers: true },
	},
	http10: {
		http_protocol_options: { accept_http_10: true, default_host_for_http_10: 'old.example' },
	},
	paths: {
		normalize_path: true,
		merge_slashes: true,
		path_with_escaped_slashes_action: 'REJECT_REQUEST',
	},
	hosts: {
		strip_any_host_port: true,
		strip_trailing_host_dot: true,
		normalize_path: true,
		merge_slashes: true,
		path_with_escaped_slashes_action: 'UNESCAPE_AND_FORWARD',
		common_http_protocol_options: { headers_with_underscores_action: 'REJECT_REQUEST' },
	},
	small: {
		max_request_headers_kb: 1,
		common_http_protocol_options: { max_headers_count: 10 },
	},
};

/** The listener of lane 0's plain variant is named `test`. */
function bootstrap(upstreams: readonly RecordingUpstream[], port: (lane: number, variant: Variant) => number): object {
	const listeners: object[] = [];
	const clusters: object[] = [];
	upstreams.forEach((upstream, lane) => {
		const cluster = `lane${lane}`;
		// Trailers upstream are an option of the cluster in Envoy, and the default in weft.
		clusters.push(staticCluster(cluster, [upstream.port]));
		const routes = [{ match: { prefix: '/' }, route: { cluster } }];
		for (const variant of VARIANTS) {
			const manager = {
				// The preface of HTTP/2 is no HTTP/1.1 here.
				codec_type: 'HTTP1',
				...MANAGERS[variant],
				route_config: { name: cluster, virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
			};
			const name = listenerName(lane, variant);
			listeners.push(httpListener(port(lane, variant), manager, { name }));
		}
	});
	return { static_resources: { listeners, clusters } };
}

function listenerName(lane: number, variant: Variant): string {
	return lane === 0 && variant === 'plain' ? 'test' : `${variant}-${lane}`;
}

function startUpstreams(count: number): Promise<RecordingUpstream[]> {
	return Promise.all(Array.from({ length: count }, () => RecordingUpstream.start()));
}

function stopUpstreams(upstreams: readonly RecordingUpstream[]): void {
	for (const upstream of upstreams) upstream.stop();
}

/** One lane. */
export async function startWeft(): Promise<CorpusProxy> {
	const upstreams = await startUpstreams(1);
	const running = await startTestProxy(bootstrap(upstreams, () => 0));
	const lanes = upstreams.map((upstream, lane): Lane => {
		const ports = new Map<Variant, number>();
		for (const variant of VARIANTS) {
			const address = running.proxy.listeners.addressOf(listenerName(lane, variant));
			if (address?.kind === 'ip') ports.set(variant, address.port);
		}
		return { upstream, port: (variant) => ports.get(variant) ?? null };
	});
	return {
		lanes,
		stop: async () => {
			await running.stop();
			stopUpstreams(upstreams);
		},
	};
}

export async function startEnvoyPeer(laneCount: number): Promise<CorpusProxy> {
	const upstreams = await startUpstreams(laneCount);
	const { envoy, adminPort } = await again(async () => {
		const adminPort = await freePort();
		const admin = { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } };
		return { adminPort, envoy: await startRealEnvoy({ admin, ...bootstrap(upstreams, () => 0) }, adminPort) };
	});
	const ports = await envoyPorts(adminPort);
	const portOf = (lane: number, variant: Variant): number => ports.get(listenerName(lane, variant))!;
	return {
		lanes: upstreams.map((upstream, lane) => ({ upstream, port: (variant) => portOf(lane, variant) })),
		stop: async () => {
			await envoy.stop();
			stopUpstreams(upstreams);
		},
	};
}

/** By listener, as its admin interface tells them. */
async function envoyPorts(adminPort: number): Promise<ReadonlyMap<string, number>> {
	const response = await fetch(`http://127.0.0.1:${adminPort}/listeners?format=json`);
	const { listener_statuses: statuses } = (await response.json()) as {
		listener_statuses: { name: string; local_address: { socket_address: { port_value: number } } }[];
	};
	return new Map(statuses.map((one) => [one.name, one.local_address.socket_address.port_value]));
}

/** Ports that were free a moment ago may be taken by now: other ports, another try. */
async function again<Started>(start: () => Promise<Started>): Promise<Started> {
	for (let attempt = 1; ; attempt++) {
		try {
			return await start();
		} catch (error) {
			if (attempt === 5) throw error;
		}
	}
}

/** Only the plain variant. */
export function startHaproxyPeer(laneCount: number): Promise<CorpusProxy> {
	return startConfigured('haproxy', laneCount, (_directory, pairs) => ({
		text: `global
	nbthread 1
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 15s
	http-reuse always
${pairs
	.map(
		([port, target], lane) => `frontend in${lane}
	bind 127.0.0.1:${port}
	default_backend target${lane}
backend target${lane}
	server target 127.0.0.1:${target}
`,
	)
	.join('')}`,
		command: (file) => ['-db', '-f', file],
	}));
}

/** Only the plain variant. */
export function startNginxPeer(laneCount: number): Promise<CorpusProxy> {
	return startConfigured('nginx', laneCount, (directory, pairs) => {
		const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
		return {
			text: `worker_processes 1;
daemon off;
pid ${directory}/pid;
error_log ${directory}/errors error;
events { worker_connections 1024; }
http {
	access_log off;
${temporary.map((kind) => `\t${kind}_temp_path ${directory}/${kind};`).join('\n')}
${pairs
	.map(
		([port, target], lane) => `	upstream target${lane} { server 127.0.0.1:${target}; keepalive 16; }
	server {
		listen 127.0.0.1:${port};
		location / {
			proxy_pass http://target${lane};
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_next_upstream off;
			proxy_request_buffering off;
		}
	}
`,
	)
	.join('')}}
`,
			command: (file) => ['-e', `${directory}/errors`, '-p', directory, '-c', file],
		};
	});
}

interface Configured {
	readonly text: string;
	command(file: string): readonly string[];
}

type Configure = (directory: string, pairs: readonly (readonly [number, number])[]) => Configured;

async function startConfigured(program: string, laneCount: number, configure: Configure): Promise<CorpusProxy> {
	const upstreams = await startUpstreams(laneCount);
	return again(() => startOnPorts(program, upstreams, configure));
}

async function startOnPorts(
	program: string,
	upstreams: readonly RecordingUpstream[],
	configure: Configure,
): Promise<CorpusProxy> {
	const ports = await Promise.all(upstreams.map(() => freePort()));
	const directory = mkdtempSync(join(tmpdir(), `weft-${program}-`));
	const scratch = join(directory, 'scratch');
	mkdirSync(scratch);
	const pairs = upstreams.map((upstream, lane) => [ports[lane]!, upstream.port] as const);
	const configured = configure(scratch, pairs);
	const file = join(directory, 'configuration');
	writeFileSync(file, configured.text);
	const child = Bun.spawn([peerPath(program)!, ...configured.command(file)], {
		stdin: 'ignore',
		stdout: 'ignore',
		stderr: 'pipe',
	});
	const deadline = Date.now() + 10_000;
	for (let lane = 0; lane < upstreams.length; ) {
		if (child.exitCode !== null) throw new Error(`${program} ended: ${await new Response(child.stderr).text()}`);
		try {
			const response = await fetch(`http://127.0.0.1:${ports[lane]}/`);
			await response.arrayBuffer();
			lane++;
		} catch (error) {
			if (Date.now() > deadline) {
				child.kill('SIGKILL');
				throw error;
			}
			await Bun.sleep(25);
		}
	}
	return {
		lanes: upstreams.map((upstream, lane) => ({
			upstream,
			port: (variant) => (variant === 'plain' ? ports[lane]! : null),
		})),
		stop: async () => {
			child.kill('SIGKILL');
			await child.exited;
			stopUpstreams(upstreams);
			rmSync(directory, { recursive: true, force: true });
		},
	};
}
