// A real Envoy as a sidecar of the mesh: a bootstrap that points at the control plane over mutual
// TLS, and its secrets from a server of SDS.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WorkloadIdentity } from '../../src/net/identity-source.ts';
import type { SidecarNodeMetadata } from '../../src/xds/node-metadata.ts';
import { eventually, type TestControlPlane } from './mesh-control.ts';
import { peerPath } from './peers.ts';
import { startSecretServer } from './secret-server.ts';

export interface EnvoyOptions {
	readonly mesh: TestControlPlane;
	readonly identity: WorkloadIdentity;
	readonly metadata: SidecarNodeMetadata;
	/** Default delta. */
	readonly variant?: 'delta' | 'state-of-the-world';
}

export interface RunningEnvoy {
	readonly nodeId: string;
	/** GET of a path of the admin interface. */
	admin(path: string): Promise<string>;
	readonly logFile: string;
	/** SIGKILL: its connections are lost, nothing is said. */
	kill(): void;
	stop(): Promise<void>;
}

const SERVER_NAME = 'weft-control-plane.weft-system.svc';

export async function startEnvoy(options: EnvoyOptions): Promise<RunningEnvoy> {
	const { mesh, identity, metadata, variant = 'delta' } = options;
	const { instance, address } = metadata.WEFT;
	const directory = join(mesh.directory, instance);
	mkdirSync(directory);
	const sdsPath = join(directory, 'sds.sock');
	const secrets = await startSecretServer(sdsPath, identity, mesh.clock);
	const nodeId = `sidecar~${address}~${instance}.${metadata.NAMESPACE}~${metadata.NAMESPACE}.svc.cluster.local`;
	const http2 = {
		'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
			'@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
			explicit_http_config: { http2_protocol_options: {} },
		},
	};
	const cluster = (name: string, endpointAddress: object) => ({
		name,
		type: 'STATIC',
		connect_timeout: '2s',
		typed_extension_protocol_options: http2,
		load_assignment: {
			cluster_name: name,
			endpoints: [{ lb_endpoints: [{ endpoint: { address: endpointAddress } }] }],
		},
	});
	const ads = { ads: {}, resource_api_version: 'V3' };
	const bootstrap = {
		node: { id: nodeId, cluster: 'test', metadata },
		admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
		dynamic_resources: {
			lds_config: ads,
			cds_config: ads,
			ads_config: {
				api_type: variant === 'delta' ? 'DELTA_GRPC' : 'GRPC',
				transport_api_version: 'V3',
				grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }],
			},
		},
		static_resources: {
			clusters: [
				cluster('sds-grpc', { pipe: { path: sdsPath } }),
				{
					...cluster('xds-grpc', { socket_address: { address: '127.0.0.1', port_value: mesh.port } }),
					transport_socket: {
						name: 'envoy.transport_sockets.tls',
						typed_config: {
							'@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
							sni: SERVER_NAME,
							common_tls_context: {
								alpn_protocols: ['h2'],
								tls_certificates: [
									{
										certificate_chain: { inline_string: identity.certificateChainPem },
										private_key: { inline_string: identity.privateKeyPem },
									},
								],
								validation_context: {
									trusted_ca: { inline_string: identity.rootsPem },
									match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: SERVER_NAME } }],
								},
							},
						},
					},
				},
			],
		},
	};
	const file = join(directory, 'envoy.json');
	const adminFile = join(directory, 'admin');
	const logFile = join(directory, 'log');
	writeFileSync(file, JSON.stringify(bootstrap));
	const program = peerPath('envoy');
	if (program === null) throw new Error('envoy is not installed');
	const log = Bun.file(logFile);
	const child = Bun.spawn(
		[
			program,
			'-c',
			file,
			'--use-dynamic-base-id',
			'--concurrency',
			'1',
			'-l',
			'info',
			'--admin-address-path',
			adminFile,
		],
		{ stdout: 'ignore', stderr: log },
	);
	const adminAddress = await eventually('Envoy says where its admin interface is', () => {
		if (child.exitCode !== null) throw new Error(`Envoy ended: ${readFileSync(logFile, 'utf8').slice(-2000)}`);
		try {
			// Envoy makes the file first and fills it a moment later.
			const address = readFileSync(adminFile, 'utf8').trim();
			return address === '' ? null : address;
		} catch {
			return null;
		}
	});
	return {
		nodeId,
		logFile,
		admin: async (path) => await (await fetch(`http://${adminAddress}${path}`)).text(),
		kill: () => child.kill('SIGKILL'),
		async stop() {
			child.kill();
			await child.exited;
			secrets.stop();
		},
	};
}
