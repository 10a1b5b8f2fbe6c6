// weft and a real Envoy on the same bootstrap, with many listeners.

import { freePort, freePorts } from './free-ports.ts';
import { HCM_TYPE, ROUTER_TYPE, startRealEnvoy, startTestProxy, type TestProxy } from './test-proxy.ts';

export const DOWNSTREAM_TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';

export interface Running {
	/** By name of the listener. */
	port(name: string): number;
	stop(): Promise<void>;
}

/** Both proxies on one bootstrap: `listeners` are asked for the port of each of `names`, 0 for weft. */
export async function startBoth(
	listeners: (portOf: (name: string) => number) => object[],
	names: string[],
	more: object,
) {
	const adminPort = freePort();
	const ports = new Map<string, number>();
	const free = freePorts(names.length);
	for (const [i, name] of names.entries()) ports.set(name, free[i]!);
	const admin = { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } };
	const bootstrap = (portOf: (name: string) => number) => ({
		static_resources: { listeners: listeners(portOf), ...more },
	});
	const envoy = await startRealEnvoy({ admin, ...bootstrap((name) => ports.get(name)!) }, adminPort);
	let weft: TestProxy;
	try {
		weft = await startTestProxy(bootstrap(() => 0));
	} catch (error) {
		await envoy.stop();
		throw error;
	}
	const both: {
		readonly weft: Running;
		readonly envoy: Running;
		readonly adminPort: number;
		readonly proxy: TestProxy;
	} = {
		envoy: { port: (name) => ports.get(name)!, stop: envoy.stop },
		weft: {
			port: (name) => {
				const address = weft.proxy.listeners.addressOf(name);
				return address?.kind === 'ip' ? address.port : 0;
			},
			stop: weft.stop,
		},
		adminPort,
		proxy: weft,
	};
	return both;
}

/** HTTPS with these routes. */
export function httpsListener(name: string, port: number, routes: object[], transport_socket?: object): object {
	return {
		name,
		address: { socket_address: { address: '127.0.0.1', port_value: port } },
		filter_chains: [
			{
				...(transport_socket === undefined ? {} : { transport_socket }),
				filters: [
					{
						name: 'http',
						typed_config: {
							'@type': HCM_TYPE,
							stat_prefix: 'test',
							route_config: { name: 'r', virtual_hosts: [{ name: 'v', domains: ['*'], routes }] },
							http_filters: [{ name: 'router', typed_config: { '@type': ROUTER_TYPE } }],
						},
					},
				],
			},
		],
	};
}

export const DIRECT = [{ match: { prefix: '/' }, direct_response: { status: 200 } }];
