// Envoy v3 bootstrap files of the shapes that are measured. weft and Envoy run on the same file.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestAuthority } from '../src/net/testing-certificates.ts';

const TYPE = 'type.googleapis.com/envoy.extensions';
const CLIENT_ID = 'spiffe://cluster.local/ns/bench/sa/client';
const SERVER_ID = 'spiffe://cluster.local/ns/bench/sa/server';

type Json = { readonly [name: string]: Json } | readonly Json[] | string | number | boolean;

export interface Hop {
	readonly listenPort: number;
	readonly targetPort: number;
	readonly downstreamTls?: Json;
	readonly upstreamTls?: Json;
	/** Default: HTTP/1.1. */
	readonly isUpstreamHttp2?: boolean;
	/** Bytes as they come, no HTTP. */
	readonly isTcp?: boolean;
	/** So many clusters and routes more. */
	readonly moreClusters?: number;
}

/** One listener, one route (or none: TCP), one cluster, round robin; the path of the file. */
export function writeHop(directory: string, name: string, hop: Hop): string {
	const more = Array.from({ length: hop.moreClusters ?? 0 }, (_, index) => `other-${index}`);
	const listener: Record<string, Json> = {
		name: 'in',
		address: { socket_address: { address: '127.0.0.1', port_value: hop.listenPort } },
		filter_chains: [
			{ filters: [hop.isTcp ? TCP_PROXY : connectionManager(more)], ...transportSocket(hop.downstreamTls) },
		],
	};
	const clusters = [
		cluster('target', hop.targetPort, {
			...transportSocket(hop.upstreamTls),
			...(hop.isUpstreamHttp2 ? { typed_extension_protocol_options: EXPLICIT_HTTP2 } : {}),
		}),
		...more.map((one) => cluster(one, hop.targetPort, {})),
	];
	const file = join(directory, `${name}.json`);
	writeFileSync(file, JSON.stringify({ static_resources: { listeners: [listener], clusters } }, null, '\t'));
	return file;
}

const TCP_PROXY: Json = {
	name: 'envoy.filters.network.tcp_proxy',
	typed_config: {
		'@type': `${TYPE}.filters.network.tcp_proxy.v3.TcpProxy`,
		stat_prefix: 'bench',
		cluster: 'target',
	},
};

const EXPLICIT_HTTP2: Json = {
	'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
		'@type': `${TYPE}.upstreams.http.v3.HttpProtocolOptions`,
		explicit_http_config: { http2_protocol_options: {} },
	},
};

function connectionManager(moreClusters: readonly string[]): Json {
	const routes: Json[] = moreClusters.map((name) => ({ match: { prefix: `/${name}/` }, route: { cluster: name } }));
	routes.push({ match: { prefix: '/' }, route: { cluster: 'target', timeout: '60s' } });
	return {
		name: 'envoy.filters.network.http_connection_manager',
		typed_config: {
			'@type': `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
			stat_prefix: 'bench',
			route_config: { name: 'bench', virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
			http_filters: [
				{ name: 'envoy.filters.http.router', typed_config: { '@type': `${TYPE}.filters.http.router.v3.Router` } },
			],
		},
	};
}

function transportSocket(tls: Json | undefined): Record<string, Json> {
	return tls === undefined ? {} : { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: tls } };
}

function cluster(name: string, port: number, more: Record<string, Json>): Json {
	const endpoint: Json = { address: { socket_address: { address: '127.0.0.1', port_value: port } } };
	return {
		name,
		type: 'STATIC',
		connect_timeout: '5s',
		load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
		...more,
	};
}

export interface Identities {
	/** Of the caller's proxy in mutual TLS 1.3, by the protocol that is to be spoken. */
	readonly client: (alpn: 'h2' | 'http/1.1') => Json;
	/** Of the proxy before the program; asks for the client's certificate. */
	readonly server: Json;
	/** Of a listener for all clients. */
	readonly public: Json;
	/** Certificate and key in one file, and each in its own. */
	readonly publicFiles: { readonly both: string; readonly certificate: string; readonly key: string };
}

/** Certificates for mutual TLS 1.3, each end checking the SPIFFE ID of the other, and for plain TLS. */
export async function makeIdentities(directory: string): Promise<Identities> {
	const root = await TestAuthority.create('bench root');
	const rootFile = join(directory, 'root.pem');
	writeFileSync(rootFile, root.certificatePem);
	const files = async (name: string, id: string) => {
		const leaf = await root.issue({ name, uris: [id], dns: [`${name}.bench`] });
		const both = join(directory, `${name}.both`);
		const certificate = join(directory, `${name}.pem`);
		const key = join(directory, `${name}.key`);
		writeFileSync(certificate, leaf.certificatePem);
		writeFileSync(key, leaf.privateKeyPem, { mode: 0o600 });
		writeFileSync(both, leaf.certificatePem + leaf.privateKeyPem, { mode: 0o600 });
		return { both, certificate, key };
	};
	const certificates = (of: { certificate: string; key: string }): Json => [
		{ certificate_chain: { filename: of.certificate }, private_key: { filename: of.key } },
	];
	const mutual = (of: { certificate: string; key: string }, peerId: string, alpn: readonly string[]): Json => ({
		tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
		tls_certificates: certificates(of),
		alpn_protocols: alpn,
		validation_context: {
			trusted_ca: { filename: rootFile },
			match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: peerId } }],
		},
	});
	const clientFiles = await files('client', CLIENT_ID);
	const serverFiles = await files('server', SERVER_ID);
	const publicFiles = await files('public', 'spiffe://cluster.local/ns/bench/sa/public');
	return {
		client: (alpn) => ({
			'@type': `${TYPE}.transport_sockets.tls.v3.UpstreamTlsContext`,
			common_tls_context: mutual(clientFiles, SERVER_ID, [alpn]),
			sni: 'server.bench',
		}),
		server: {
			'@type': `${TYPE}.transport_sockets.tls.v3.DownstreamTlsContext`,
			common_tls_context: mutual(serverFiles, CLIENT_ID, ['h2', 'http/1.1']),
			require_client_certificate: true,
		},
		public: {
			'@type': `${TYPE}.transport_sockets.tls.v3.DownstreamTlsContext`,
			common_tls_context: {
				tls_certificates: certificates(publicFiles),
				alpn_protocols: ['h2', 'http/1.1'],
			},
		},
		publicFiles,
	};
}
