// The proxies that the corpus is sent through: weft in this process, and real Envoy, HAProxy and
// nginx. Each has a listener per variant and lane; a lane has an upstream of its own, so that cases
// can run side by side and what arrives is known to be of which.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Variant } from '../corpus/case.ts';
import { freePort, freePorts } from './free-ports.ts';
import { peerPath } from './peers.ts';
import { RecordingUpstream } from './recording-upstream.ts';
import { httpListener, startRealEnvoy, startTestProxy, staticCluster } from './test-proxy.ts';

export interface Lane {
	readonly upstream: RecordingUpstream;
	/** Null: the proxy has nothing of the kind. */
	port(variant: Variant): number | null;
}

export interface CorpusProxy {
	readonly lanes: readonly Lane[];
	stop(): Promise<void>;
}

const VARIANTS: readonly Variant[] = [
	...(['plain', 'http10', 'paths', 'small', 'hosts'] as const),
	...(['connect', 'terminate', 'slow', 'proxy'] as const),
];
const PROXY_PROTOCOL = {
	name: 'proxy_protocol',
	typed_config: {
		'@type': 'type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol',
	},
};

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
	connect: { upgrade_configs: [{ upgrade_type: 'CONNECT' }, { upgrade_type: 'websocket' }] },
	terminate: { upgrade_configs: [{ upgrade_type: 'CONNECT' }, { upgrade_type: 'websocket' }] },
	slow: { request_headers_timeout: '0.3s' },
	proxy: { use_remote_address: true },
};

/** The listener of lane 0's plain variant is named `test`. */
function bootstrap(upstreams: readonly RecordingUpstream[], port: (lane: number, variant: Variant) => number): object {
	const listeners: object[] = [];
	const clusters: object[] = [];
	upstreams.forEach((upstream, lane) => {
		const cluster = `lane${lane}`;
		// Trailers upstream are an option of the cluster in Envoy, and the default in weft.
		clusters.push(staticCluster(cluster, [upstream.port]));
		for (const variant of VARIANTS) {
			const routes = [...connectRoutes(variant, cluster), { match: { prefix: '/' }, route: { cluster } }];
			const manager = {
				// The preface of HTTP/2 is no HTTP/1.1 here.
				codec_type: 'HTTP1',
				...MANAGERS[variant],
				route_config: { name: cluster, virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
			};
			const name = listenerName(lane, variant);
			const filters = variant === 'proxy' ? { listener_filters: [PROXY_PROTOCOL] } : {};
			listeners.push(httpListener(port(lane, variant), manager, { name, ...filters }));
		}
	});
	return { static_resources: { listeners, clusters } };
}

function connectRoutes(variant: Variant, cluster: string): object[] {
	const match = { connect_matcher: {} };
	if (variant === 'connect') return [{ match, route: { cluster } }];
	if (variant !== 'terminate') return [];
	return [{ match, route: { cluster, upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] } }];
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
	const adminPort = freePort();
	const admin = { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } };
	const envoy = await startRealEnvoy({ admin, ...bootstrap(upstreams, () => 0) }, adminPort);
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

/** The variants for which it has the feature; CONNECT it passes on wherever it is. */
export function startHaproxyPeer(laneCount: number): Promise<CorpusProxy> {
	const variants: readonly Variant[] = ['plain', 'connect', 'slow', 'proxy'];
	return startConfigured('haproxy', laneCount, variants, (_directory, pairs) => ({
		text: `global
	nbthread 1
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 15s
	timeout tunnel 15s
	http-reuse always
${pairs
	.map(
		([ports, target], lane) => `frontend in${lane}
	bind 127.0.0.1:${ports.get('plain')}
	bind 127.0.0.1:${ports.get('connect')}
	default_backend target${lane}
frontend slow${lane}
	timeout http-request 300ms
	bind 127.0.0.1:${ports.get('slow')}
	default_backend target${lane}
frontend proxy${lane}
	bind 127.0.0.1:${ports.get('proxy')} accept-proxy
	option forwardfor
	default_backend target${lane}
backend target${lane}
	server target 127.0.0.1:${target}
`,
	)
	.join('')}`,
		command: (file) => ['-db', '-f', file],
	}));
}

/** The variants for which it has the feature; CONNECT it does not know. */
export function startNginxPeer(laneCount: number): Promise<CorpusProxy> {
	const variants: readonly Variant[] = ['plain', 'slow', 'proxy'];
	return startConfigured('nginx', laneCount, variants, (directory, pairs) => {
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
		([ports, target], lane) => `	upstream target${lane} { server 127.0.0.1:${target}; keepalive 16; }
${[
	`listen 127.0.0.1:${ports.get('plain')};`,
	`listen 127.0.0.1:${ports.get('slow')}; client_header_timeout 300ms;`,
	`listen 127.0.0.1:${ports.get('proxy')} proxy_protocol; set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;`,
]
	.map(
		(settings) => `	server {
		${settings}
		location / {
			proxy_pass http://target${lane};
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_next_upstream off;
			proxy_request_buffering off;
		}
	}`,
	)
	.join('\n')}
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

/** Per lane: its ports, by variant, and its upstream's. */
type Configure = (
	directory: string,
	pairs: readonly (readonly [ports: ReadonlyMap<Variant, number>, upstream: number])[],
) => Configured;

async function startConfigured(
	program: string,
	laneCount: number,
	variants: readonly Variant[],
	configure: Configure,
): Promise<CorpusProxy> {
	const upstreams = await startUpstreams(laneCount);
	const free = freePorts(upstreams.length * variants.length);
	const ports = upstreams.map(
		(_upstream, lane) => new Map(variants.map((variant, i) => [variant, free[lane * variants.length + i]!])),
	);
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
	const stop = async () => {
		// In order: workers of a master that was killed would stay.
		child.kill('SIGTERM');
		const killing = setTimeout(() => child.kill('SIGKILL'), 5000);
		await child.exited;
		clearTimeout(killing);
		stopUpstreams(upstreams);
		rmSync(directory, { recursive: true, force: true });
	};
	const deadline = Date.now() + 10_000;
	for (let lane = 0; lane < upstreams.length; ) {
		if (child.exitCode !== null) throw new Error(`${program} ended: ${await new Response(child.stderr).text()}`);
		try {
			const response = await fetch(`http://127.0.0.1:${ports[lane]!.get('plain')}/`);
			await response.arrayBuffer();
			lane++;
		} catch (error) {
			if (Date.now() > deadline) {
				await stop();
				throw error;
			}
			await Bun.sleep(25);
		}
	}
	return {
		lanes: upstreams.map((upstream, lane) => ({
			upstream,
			port: (variant) => ports[lane]!.get(variant) ?? null,
		})),
		stop,
	};
}
