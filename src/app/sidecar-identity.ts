// From a sidecar's bootstrap to its identity agent: who it must be is in the node's metadata, where
// certificates come from is the cluster that ADS goes over.

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { z } from 'zod';
import type { Bootstrap } from '../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { UpstreamTlsContextSchema } from '../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import type { GrpcAddress } from '../grpc/connect-attempt.ts';
import { GrpcCertificateClient } from '../identity/certificate-client.ts';
import { IdentityAgent } from '../identity/identity-agent.ts';
import { workloadSpiffeId } from '../identity/spiffe.ts';
import type { Network } from '../net/network.ts';
import { ConfigError, WeftError } from '../std/errors.ts';
import type { Random } from '../std/random.ts';
import { ROOTS_FILE, XDS_CLUSTER } from './run/sidecar-bootstrap.ts';
import type { SidecarOptions } from './sidecar.ts';

/** Where a sidecar's control plane is, and how it is recognised. */
export interface ControlPlaneTarget {
	readonly address: GrpcAddress;
	/** DNS name in its certificate. */
	readonly serverName: string;
}

const IDENTITY_FILE = 'identity.json';
const OBJECT = 'bootstrap';

const metadataSchema = z.object({
	NAMESPACE: z.string().min(1),
	SERVICE_ACCOUNT: z.string().min(1),
	/** The trust domain. */
	MESH_ID: z.string().min(1),
});

/** Resolves with the agent once it has its first certificate. @throws ConfigError; WeftError `identity_refused` */
export function startIdentity(options: SidecarOptions): Promise<IdentityAgent> {
	const { bootstrap, network, random, stateDir, joinToken } = options;
	if (stateDir === null) {
		throw new WeftError('state_dir_missing', 'a sidecar of the mesh needs --state-dir, for its identity');
	}
	return new Promise((resolve, reject) => {
		let failed: (error: WeftError) => void = reject;
		const agent = identityAgentFor(bootstrap, {
			stateDir,
			joinToken,
			network,
			random,
			onFailed: (error) => failed(error),
		});
		agent.subscribe(() => {
			failed = options.onFailed;
			resolve(agent);
		});
		void agent.start();
	});
}

interface IdentityAgentSurroundings {
	readonly stateDir: string;
	/** Null: there is none; what is on disk must do. */
	readonly joinToken: string | null;
	readonly network: Network;
	readonly random: Random;
	readonly onFailed: (error: WeftError) => void;
}

/** @throws ConfigError */
function identityAgentFor(bootstrap: Bootstrap, surroundings: IdentityAgentSurroundings): IdentityAgent {
	const parsed = metadataSchema.safeParse(bootstrap.node?.metadata ?? {});
	if (!parsed.success) {
		const field = `node.metadata.${parsed.error.issues[0]?.path.join('.') ?? ''}`;
		throw new ConfigError({ object: OBJECT, field, expected: 'a text, in the metadata of a sidecar of the mesh' });
	}
	const { NAMESPACE: namespace, SERVICE_ACCOUNT: serviceAccount, MESH_ID: trustDomain } = parsed.data;
	const { stateDir, network, random, joinToken, onFailed } = surroundings;
	return new IdentityAgent({
		joinToken,
		onFailed,
		random,
		clock: network.clock,
		spiffeId: workloadSpiffeId({ trustDomain, namespace, serviceAccount }),
		client: new GrpcCertificateClient({ ...controlPlaneTarget(bootstrap), network, random }),
		rootsPem: readRoots(join(stateDir, ROOTS_FILE)),
		file: join(stateDir, IDENTITY_FILE),
	});
}

/** @throws ConfigError when the bootstrap has no such cluster, or it says too little */
export function controlPlaneTarget(bootstrap: Bootstrap): ControlPlaneTarget {
	const cluster = bootstrap.staticResources?.clusters.find(({ name }) => name === XDS_CLUSTER);
	const object = `cluster "${XDS_CLUSTER}"`;
	if (cluster === undefined) {
		throw new ConfigError({ object: OBJECT, field: 'static_resources.clusters', expected: `one named ${XDS_CLUSTER}` });
	}
	const host = cluster.loadAssignment?.endpoints[0]?.lbEndpoints[0]?.hostIdentifier;
	const address = host?.case === 'endpoint' ? host.value.address?.address : undefined;
	if (address?.case !== 'socketAddress' || address.value.portSpecifier.case !== 'portValue') {
		throw new ConfigError({ object, field: 'load_assignment', expected: 'an endpoint with a socket_address' });
	}
	const config = cluster.transportSocket?.configType;
	const tls = config?.case === 'typedConfig' ? anyUnpack(config.value, UpstreamTlsContextSchema) : undefined;
	if (tls === undefined || tls.sni === '') {
		throw new ConfigError({ object, field: 'transport_socket', expected: 'TLS with an sni' });
	}
	const name = address.value.address;
	const port = address.value.portSpecifier.value;
	return {
		address: isIP(name) === 0 ? { kind: 'name', name, port } : { kind: 'ip', host: name, port },
		serverName: tls.sni,
	};
}

function readRoots(path: string): string {
	const expected = 'the roots by which the control plane is recognised, PEM';
	let text: string;
	try {
		text = readFileSync(path, 'utf8');
	} catch (error) {
		throw new ConfigError({ object: path, field: '', found: String((error as NodeJS.ErrnoException).code), expected });
	}
	if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
	throw new ConfigError({ object: path, field: '', found: 'no certificate', expected });
}
