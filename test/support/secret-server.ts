// A server of SDS on a unix socket: what a real Envoy asks for its certificate and its roots. A
// sidecar of ours answers this from its own identity agent.

import { create, toBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { type Secret, SecretSchema } from '../../src/generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { IDENTITY_SECRET_NAME, ROOTS_SECRET_NAME, type WorkloadIdentity } from '../../src/net/identity-source.ts';
import type { Clock } from '../../src/std/clock.ts';
import { encodeResource, type NodeView } from '../../src/xds/resource-view.ts';
import { DiscoveryServer } from '../../src/xds/server.ts';
import { SECRET_TYPE } from '../../src/xds/type-urls.ts';

export async function startSecretServer(
	path: string,
	identity: Pick<WorkloadIdentity, 'certificateChainPem' | 'privateKeyPem' | 'rootsPem'>,
	clock: Clock,
): Promise<{ stop(): void }> {
	const inline = (text: string) => ({ specifier: { case: 'inlineString' as const, value: text } });
	const secrets: Secret[] = [
		create(SecretSchema, {
			name: IDENTITY_SECRET_NAME,
			type: {
				case: 'tlsCertificate',
				value: { certificateChain: inline(identity.certificateChainPem), privateKey: inline(identity.privateKeyPem) },
			},
		}),
		create(SecretSchema, {
			name: ROOTS_SECRET_NAME,
			type: { case: 'validationContext', value: { trustedCa: inline(identity.rootsPem) } },
		}),
	];
	const resources = new Map(
		secrets.map((secret) => [secret.name, encodeResource(SECRET_TYPE, secret.name, toBinary(SecretSchema, secret))]),
	);
	const view: NodeView = {
		version: '1',
		get: (typeUrl, name) => (typeUrl === SECRET_TYPE ? resources.get(name) : undefined),
		names: () => resources.keys(),
		close: () => {},
	};
	const server = new Server();
	new DiscoveryServer({
		source: { open: () => view },
		clock,
		authenticate: () => ({ spiffeId: null, certificateNotAfterMs: null, address: path }),
		observer: { onAcknowledged: () => {}, onRejected: () => {} },
	}).registerSecrets(server);
	await new Promise<void>((resolve, reject) => {
		server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
			error ? reject(error) : resolve(),
		);
	});
	return { stop: () => server.forceShutdown() };
}
