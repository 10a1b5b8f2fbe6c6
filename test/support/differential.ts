// Weft and real Envoy on one bootstrap that has a listener for each variant of a connection
// manager, so that a test asks both the same and compares what it sees.

import type { MetricRegistry } from '../../src/telemetry/registry.ts';
import { freePort } from './free-ports.ts';
import type { SeenRequest } from './raw-http.ts';
import { HCM_TYPE, ROUTER_TYPE, startRealEnvoy, startTestProxy, staticCluster, type TestProxy } from './test-proxy.ts';

export interface Proxies {
	readonly weft: Side;
	readonly envoy: Side;
	readonly registry: MetricRegistry;
	readonly proxy: TestProxy;
	stop(): Promise<void>;
}

export interface Side {
	/** Which of the two, for file names and messages. */
	readonly name: 'weft' | 'envoy';
	/** Of the listener of that variant. */
	port(variant: string): number;
}

export interface DifferentialOptions {
	/** Fields of the connection manager, by the name of the variant. `side` tells apart what cannot be shared (log files). */
	readonly managers: (side: 'weft' | 'envoy') => Readonly<Record<string, object>>;
	/** Clusters by name and port. */
	readonly clusters: Readonly<Record<string, number>>;
	/** Fields of a cluster beyond its address. */
	readonly clusterFields?: Readonly<Record<string, object>>;
	/** Fields of the filter chain, such as its transport socket, by the name of the variant. */
	readonly chainFields?: Readonly<Record<string, object>>;
}

/** All to the cluster `a`. */
export const ROUTE_ALL = {
	name: 'r',
	virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'a' } }] }],
};

/** One route configuration of these routes. */
export function routesOf(...routes: readonly object[]): object {
	return { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes }] };
}

export async function startProxies(options: DifferentialOptions): Promise<Proxies> {
	const adminPort = freePort();
	const names = Object.keys(options.managers('envoy'));
	const ports = new Map<string, number>();
	for (const name of names) ports.set(name, freePort());
	const bootstrap = (side: 'weft' | 'envoy'): object => ({
		node: { id: 'interop', cluster: 'interop' },
		admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
		static_resources: {
			listeners: Object.entries(options.managers(side)).map(([name, manager]) => ({
				name,
				address: { socket_address: { address: '127.0.0.1', port_value: side === 'weft' ? 0 : ports.get(name) } },
				filter_chains: [
					{
						filters: [
							{
								name: 'http',
								typed_config: {
									'@type': HCM_TYPE,
									stat_prefix: name,
									http_filters: [{ name: 'router', typed_config: { '@type': ROUTER_TYPE } }],
									delayed_close_timeout: '0.02s',
									server_name: 'proxy',
									route_config: ROUTE_ALL,
									...manager,
								},
							},
						],
						...options.chainFields?.[name],
					},
				],
			})),
			clusters: Object.entries(options.clusters).map(([name, port]) =>
				staticCluster(name, [port], options.clusterFields?.[name] ?? {}),
			),
		},
	});
	const proxy = await startTestProxy(bootstrap('weft'));
	const envoy = await startRealEnvoy(bootstrap('envoy'), adminPort).catch(async (error: unknown) => {
		await proxy.stop();
		throw error;
	});
	const weftPorts = new Map<string, number>();
	for (const name of names) {
		const address = proxy.proxy.listeners.addressOf(name);
		weftPorts.set(name, address?.kind === 'ip' ? address.port : 0);
	}
	return {
		weft: { name: 'weft', port: (variant) => weftPorts.get(variant)! },
		envoy: { name: 'envoy', port: (variant) => ports.get(variant)! },
		registry: proxy.registry,
		proxy,
		async stop() {
			await proxy.stop();
			await envoy.stop();
		},
	};
}

const VOLATILE = new Set(['date', 'x-request-id', 'x-envoy-upstream-service-time', 'x-forwarded-for']);

/** Head lines that differ from run to run are shown as `*`; order is not compared. */
export function shownHeaders(headers: readonly (readonly [string, string])[]): string[] {
	return headers.map(([name, value]) => `${name}: ${VOLATILE.has(name) ? '*' : value}`).sort();
}

export function shownRequest(request: SeenRequest): string {
	const body = request.body === '' ? '' : ` ${JSON.stringify(request.body)}`;
	return `${request.method} ${request.path} | ${shownHeaders(request.headers).join(' | ')}${body}`;
}

/** What came back on a connection, as comparable text: each head with its lines sorted, and the bodies. */
export function shownAnswer(bytes: Buffer): string {
	let shown = '';
	let text = bytes.toString('latin1');
	while (text.startsWith('HTTP/1.')) {
		const end = text.indexOf('\r\n\r\n');
		if (end < 0) break;
		const [status = '', ...lines] = text.slice(0, end).split('\r\n');
		const headers = lines.map((line): [string, string] => {
			const colon = line.indexOf(':');
			return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
		});
		const length = headers.find(([name]) => name === 'content-length')?.[1];
		// 1xx, or a length: what follows is a message of its own.
		const bodyEnd = length !== undefined ? end + 4 + Number(length) : / 1\d\d/.test(status) ? end + 4 : text.length;
		// The reason is free text (RFC 9112 §4).
		shown += `${[status.split(' ').slice(0, 2).join(' '), ...shownHeaders(headers)].join('\n')}\n\n`;
		shown += `${text.slice(end + 4, bodyEnd)}\n`;
		text = text.slice(bodyEnd);
	}
	return shown + text;
}
