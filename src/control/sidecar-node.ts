// Who a connected proxy says it is: the xDS node, read and checked. Everything in it comes from
// the network; what is not of the right form or size is refused with the field's name.

import { isIPv4 } from 'node:net';
import { z } from 'zod';
import { dnsSubdomain, labels, port as portSchema } from '../config/schema.ts';
import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';
import { parseWorkloadSpiffeId } from '../identity/spiffe.ts';
import { WeftError } from '../std/errors.ts';
import {
	canonicalRevision,
	canonicalService,
	PROGRAM_PROTOCOLS,
	type SidecarNodeMetadata,
	type WeftNodeMetadata,
} from '../xds/node-metadata.ts';
import type { StreamPeer } from '../xds/resource-view.ts';
import type { Dialect } from './compile/route.ts';

const PORTS_MAX = 64;
const PUBLISH_MAX = 64;
const NODE_ID_CHARACTERS_MAX = 512;

const ipv4 = z.string().refine((text) => isIPv4(text), { error: 'an IPv4 address' });
const loopback = ipv4.refine((text) => text.startsWith('127.'), { error: 'a loopback address' });
/** A path that a socket call may be given; which one it may be is the sidecar's own kernel's business. */
const path = z.string().min(1).max(1024).startsWith('/');

const weftSchema = z.object({
	instance: dnsSubdomain,
	service: z.union([dnsSubdomain, z.literal('')]),
	ports: z.array(z.object({ port: portSchema, protocol: z.enum(PROGRAM_PROTOCOLS) })).max(PORTS_MAX),
	capture: z.enum(['transparent', 'loopback', 'explicit']),
	address: ipv4,
	inboundPorts: z.record(z.string().regex(/^\d{1,5}$/), portSchema).optional(),
	programAddress: loopback.optional(),
	networkNamespace: path.optional(),
	outboundBase: ipv4.optional(),
	outboundPortMin: portSchema.optional(),
	capturePort: portSchema.optional(),
	httpProxyPort: portSchema.optional(),
	outbound: z.enum(['allow-any', 'registry-only']).optional(),
	publish: z
		.array(
			z.object({
				// A door for people on this machine, never to the outside.
				address: loopback,
				port: portSchema,
				targetPort: portSchema,
			}),
		)
		.max(PUBLISH_MAX)
		.optional(),
	healthCheck: z
		.object({
			kind: z.enum(['http', 'tcp']),
			path: z.string().max(1024).startsWith('/').optional(),
			port: portSchema,
			intervalMs: z.number().min(100).max(3_600_000).optional(),
		})
		.optional(),
}) satisfies z.ZodType<WeftNodeMetadata>;

const metadataSchema = z.object({
	NAMESPACE: dnsSubdomain,
	SERVICE_ACCOUNT: dnsSubdomain,
	WORKLOAD_NAME: dnsSubdomain,
	LABELS: labels.default({}),
	MESH_ID: z.string().max(253).default(''),
	WEFT: weftSchema.optional(),
});

export interface SidecarNode {
	readonly id: string;
	readonly dialect: Dialect;
	/** `weft` or `envoy`, or what the client calls itself. */
	readonly agent: string;
	readonly agentVersion: string;
	readonly namespace: string;
	readonly serviceAccount: string;
	readonly workload: string;
	readonly labels: Readonly<Record<string, string>>;
	readonly app: string;
	readonly version: string;
	/** Null for a client that is no sidecar of ours (a gateway, proxyless gRPC): it gets clusters and routes only. */
	readonly weft: WeftNodeMetadata | null;
}

/**
 * @throws WeftError `invalid_node`: a field is not of the right form; `permission_denied`: the node claims a
 * namespace or an account that is not its certificate's
 */
export function readSidecarNode(node: Node, peer: StreamPeer): SidecarNode {
	if (node.id.length > NODE_ID_CHARACTERS_MAX)
		throw invalid(`node.id is longer than ${NODE_ID_CHARACTERS_MAX} characters`);
	const parsed = metadataSchema.safeParse(node.metadata ?? {});
	if (!parsed.success) {
		const issue = parsed.error.issues[0]!;
		throw invalid(`node.metadata.${issue.path.join('.')}: expected ${issue.message}`);
	}
	const metadata: Omit<SidecarNodeMetadata, 'WEFT'> & { WEFT?: WeftNodeMetadata } = parsed.data;
	checkIdentity(metadata.NAMESPACE, metadata.SERVICE_ACCOUNT, peer);
	const agent = node.userAgentName === '' ? 'unknown' : node.userAgentName.slice(0, 64);
	const build = node.userAgentVersionType;
	const version = build.case === 'userAgentBuildVersion' ? build.value.version : undefined;
	return {
		id: node.id,
		dialect: agent === 'weft' ? 'weft' : 'envoy',
		agent,
		agentVersion:
			build.case === 'userAgentVersion'
				? build.value.slice(0, 64)
				: version === undefined
					? ''
					: `${version.majorNumber}.${version.minorNumber}.${version.patch}`,
		namespace: metadata.NAMESPACE,
		serviceAccount: metadata.SERVICE_ACCOUNT,
		workload: metadata.WORKLOAD_NAME,
		labels: metadata.LABELS,
		app: canonicalService(metadata.LABELS, metadata.WORKLOAD_NAME),
		version: canonicalRevision(metadata.LABELS),
		weft: metadata.WEFT ?? null,
	};
}

function checkIdentity(namespace: string, serviceAccount: string, peer: StreamPeer): void {
	if (peer.spiffeId === null) return;
	const workload = parseWorkloadSpiffeId(peer.spiffeId);
	if (workload?.namespace === namespace && workload.serviceAccount === serviceAccount) return;
	throw new WeftError(
		'permission_denied',
		`the node says that it is of namespace ${namespace}, account ${serviceAccount}; its certificate is ${peer.spiffeId}`,
		{ origin: 'downstream' },
	);
}

function invalid(message: string): WeftError {
	return new WeftError('invalid_node', message, { origin: 'downstream' });
}

/** Where the sidecar's program listens. */
export function programAddress({ capture, programAddress: given }: WeftNodeMetadata): string {
	return capture === 'transparent' ? '127.0.0.1' : (given ?? '127.0.0.1');
}

/** Whether the program's connections to where no service is go there; without capture they go by themselves. */
export function passesThrough({ capture, outbound }: WeftNodeMetadata): boolean {
	return capture === 'transparent' && outbound === 'allow-any';
}
