// The door at which `weft run` asks to join the mesh: a unix socket that only the same user (or root)
// may speak to, by the kernel's word for who it is. It gives out one-time tokens, names and addresses.

import { z } from 'zod';
import { NAMESPACE } from '../../config/namespace.ts';
import type { ObjectStore } from '../../config/object-store.ts';
import { SERVICE } from '../../config/service.ts';
import {
	type SmallHandler,
	type SmallRequest,
	type SmallResponse,
	startSmallServer,
} from '../../http1/small-server.ts';
import type { CertificateAuthority } from '../../identity/certificate-authority.ts';
import { CONTROL_PLANE_NAME } from '../../identity/certificate-authority.ts';
import type { JoinTokens } from '../../identity/join-tokens.ts';
import type { Listener, Network } from '../../net/network.ts';
import { WeftError } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';
import { instanceAddress } from '../instance-addresses.ts';
import { JOIN_PATH, type JoinAnswer, type JoinRequest, joinRequestSchema } from '../join-protocol.ts';
import { processStamp } from '../process-stamp.ts';
import type { InstanceIndexes } from './instance-indexes.ts';

export interface JoinDoorOptions {
	readonly objects: ObjectStore;
	readonly authority: Pick<CertificateAuthority, 'trustDomain' | 'rootsPem'>;
	readonly tokens: Pick<JoinTokens, 'issue'>;
	readonly indexes: InstanceIndexes;
	/** Where sidecars reach the gRPC door. */
	readonly xds: { readonly address: string; readonly port: number };
	/** Who may join besides root; default: the user of this process. */
	readonly uid?: number;
}

const log = new Logger('join');
const REQUEST_BYTES_MAX = 64 * 1024;
/** What tells instances of one workload apart. */
const SUFFIX_HEX_DIGITS = 4;

/** @throws WeftError as `Network.listen` */
export function openJoinDoor(
	options: JoinDoorOptions & { readonly network: Network; readonly socketPath: string },
): Listener {
	const { network, socketPath } = options;
	return startSmallServer(network, { kind: 'pipe', path: socketPath }, joinHandler(options), {
		name: 'join',
		bodyBytesMax: REQUEST_BYTES_MAX,
		mode: 0o600,
	});
}

/** What is behind the door. */
export function joinHandler(options: JoinDoorOptions): SmallHandler {
	const door = new JoinDoor(options);
	return (request) => door.handle(request);
}

class JoinDoor {
	private readonly uid: number;

	constructor(private readonly options: JoinDoorOptions) {
		this.uid = options.uid ?? process.geteuid?.() ?? 0;
	}

	async handle(request: SmallRequest): Promise<SmallResponse> {
		if (request.path !== JOIN_PATH) return refusal(404, `there is nothing at ${request.path}`);
		if (request.method !== 'POST') return refusal(405, 'expected POST');
		const credentials = request.connection.peerCredentials();
		if (credentials === null || (credentials.uid !== this.uid && credentials.uid !== 0)) {
			log.warning('refused', { reason: 'another user', uid: credentials?.uid });
			return refusal(403, `only the user of the control plane (uid ${this.uid}) and root may join here`);
		}
		const wanted = parseRequest(request.body);
		if (typeof wanted === 'string') return refusal(400, wanted);
		try {
			const stamp = credentials.pid > 0 ? (processStamp(credentials.pid) ?? '') : '';
			const answer = await this.join(wanted, stamp);
			log.info('joined', {
				instance: answer.instance,
				namespace: wanted.namespace,
				again: wanted.instance !== undefined,
			});
			return { status: 200, contentType: 'application/json', body: JSON.stringify(answer) };
		} catch (error) {
			if (!(error instanceof WeftError)) throw error;
			return refusal(error.code === 'conflict' ? 409 : 503, error.message);
		}
	}

	private async join(wanted: JoinRequest, stamp: string): Promise<JoinAnswer> {
		const { objects, authority, tokens, xds } = this.options;
		const { namespace, serviceAccount } = wanted;
		if ((await objects.get(NAMESPACE, '', namespace)) === null) {
			await objects
				.create(NAMESPACE, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
				.catch((error: unknown) => {
					if (!(error instanceof WeftError) || error.code !== 'already_exists') throw error;
				});
		}
		const { name: instance, index } = await this.nameAndIndex(wanted, stamp);
		const services = (await objects.list(SERVICE)).items;
		return {
			token: tokens.issue({ namespace, serviceAccount, instance }),
			instance,
			instanceIndex: index,
			address: instanceAddress(index),
			trustDomain: authority.trustDomain,
			rootsPem: authority.rootsPem,
			xds: { ...xds, serverName: CONTROL_PLANE_NAME },
			services: services.map(({ metadata, spec }) => ({
				host: `${metadata.name}.${metadata.namespace}.svc.cluster.local`,
				address: spec.clusterIP,
				ports: spec.ports.map(({ port }) => port),
			})),
		};
	}

	private async nameAndIndex(wanted: JoinRequest, stamp: string): Promise<{ name: string; index: number }> {
		const { indexes } = this.options;
		const { namespace, serviceAccount, service, version, ports } = wanted;
		const workload = wanted.workload ?? `${service}-${version}`;
		const joined = { namespace, serviceAccount, service, version, workload, ports };
		if (wanted.instance !== undefined) {
			const { name, index } = wanted.instance;
			await indexes.retake(index, name, stamp, joined);
			return wanted.instance;
		}
		let name: string;
		do name = `${workload}-${randomHex(SUFFIX_HEX_DIGITS)}`;
		while (indexes.has(name));
		return { name, index: await indexes.take(name, stamp, joined) };
	}
}

/** A text says what is wrong with it. */
function parseRequest(body: Uint8Array): JoinRequest | string {
	let value: unknown;
	try {
		value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
	} catch {
		return 'the body is not JSON';
	}
	const parsed = joinRequestSchema.safeParse(value);
	return parsed.success ? parsed.data : z.prettifyError(parsed.error);
}

function refusal(status: number, message: string): SmallResponse {
	return { status, contentType: 'application/json', body: JSON.stringify({ message }) };
}

function randomHex(digits: number): string {
	const bytes = crypto.getRandomValues(new Uint8Array(Math.ceil(digits / 2)));
	return Buffer.from(bytes).toString('hex').slice(0, digits);
}
