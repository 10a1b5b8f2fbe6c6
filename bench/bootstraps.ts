// Envoy v3 bootstrap files of the shapes that are measured. weft and Envoy run on the same file.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestAuthority } from '../src/net/testing-certificates.ts';

const TYPE = 'type.googleapis.com/envoy.extensions';
const CLIENT_ID = 'spiffe://cluster.local/ns/bench/sa/client';
const SERVER_ID = 'spiffe://cluster.local/ns/bench/sa/server';

type Json = { readonly [name: string]: Json } | readonly Json[] | string | number | boolean;

interface HopOptions {
	readonly listenPort: number;
	readonly targetPort: number;
	readonly downstreamTls?: Json;
	readonly upstreamTls?: Json;
}

/** One HTTP listener, one route, one cluster, round robin. */
function hop(options: HopOptions): Json {
	const manager: Json = {
		'@type': `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
		stat_prefix: 'bench',
		route_config: {
			name: 'bench',
			virtual_hosts: [
				{
					name: 'all',
					domains: ['*'],
					routes: [{ match: { prefix: '/' }, route: { cluster: 'target', timeout: '15s' } }],
				},
			],
		},
		http_filters: [
			{ name: 'envoy.filters.http.router', typed_config: { '@type': `${TYPE}.filters.http.router.v3.Router` } },
		],
	};
	const listener: Record<string, Json> = {
		name: 'in',
		address: { socket_address: { address: '127.0.0.1', port_value: options.listenPort } },
		filter_chains: [
			{
				filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }],
				...(options.downstreamTls === undefined
					? {}
					: { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: options.downstreamTls } }),
			},
		],
	};
	const cluster: Record<string, Json> = {
		name: 'target',
		type: 'STATIC',
		connect_timeout: '5s',
		load_assignment: {
			cluster_name: 'target',
			endpoints: [
				{
					lb_endpoints: [
						{
							endpoint: {
								address: { socket_address: { address: '127.0.0.1', port_value: options.targetPort } },
							},
						},
					],
				},
			],
		},
		...(options.upstreamTls === undefined
			? {}
			: { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: options.upstreamTls } }),
	};
	return { static_resources: { listeners: [listener], clusters: [cluster] } };
}

export function writePlain(directory: string, name: string, listenPort: number, targetPort: number): string {
	return write(directory, name, hop({ listenPort, targetPort }));
}

export interface Identities {
	readonly client: Json;
	readonly server: Json;
}

/** Certificates for mutual TLS 1.3, each end checking the SPIFFE ID of the other. */
export async function makeIdentities(directory: string): Promise<Identities> {
	const root = await TestAuthority.create('bench root');
	const rootFile = join(directory, 'root.pem');
	writeFileSync(rootFile, root.certificatePem);
	const common = async (name: string, id: string, peerId: string): Promise<Json> => {
		const leaf = await root.issue({ name, uris: [id], dns: [`${name}.bench`] });
		const certificateFile = join(directory, `${name}.pem`);
		const keyFile = join(directory, `${name}.key`);
		writeFileSync(certificateFile, leaf.certificatePem);
		writeFileSync(keyFile, leaf.privateKeyPem, { mode: 0o600 });
		return {
			tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
			tls_certificates: [{ certificate_chain: { filename: certificateFile }, private_key: { filename: keyFile } }],
			validation_context: {
				trusted_ca: { filename: rootFile },
				match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: peerId } }],
			},
		};
	};
	return {
		client: {
			'@type': `${TYPE}.transport_sockets.tls.v3.UpstreamTlsContext`,
			common_tls_context: await common('client', CLIENT_ID, SERVER_ID),
			sni: 'server.bench',
		},
		server: {
			'@type': `${TYPE}.transport_sockets.tls.v3.DownstreamTlsContext`,
			common_tls_context: await common('server', SERVER_ID, CLIENT_ID),
			require_client_certificate: true,
		},
	};
}

/** Two files: the caller's proxy, and the one before the program. */
export function writeMutualTls(
	directory: string,
	name: string,
	identities: Identities,
	ports: { readonly listen: number; readonly between: number; readonly target: number },
): [string, string] {
	return [
		write(
			directory,
			`${name}-outbound`,
			hop({ listenPort: ports.listen, targetPort: ports.between, upstreamTls: identities.client }),
		),
		write(
			directory,
			`${name}-inbound`,
			hop({ listenPort: ports.between, targetPort: ports.target, downstreamTls: identities.server }),
		),
	];
}

function write(directory: string, name: string, bootstrap: Json): string {
	const file = join(directory, `${name}.json`);
	writeFileSync(file, JSON.stringify(bootstrap, null, '\t'));
	return file;
}
