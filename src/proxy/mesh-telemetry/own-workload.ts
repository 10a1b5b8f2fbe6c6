// Whose proxy this is, out of its own xDS node (`src/xds/node-metadata.ts`): what mesh telemetry
// says of its own end where its configuration leaves it out, so that one listener serves the
// sidecars of all workloads.

import type { Node } from '../../generated/envoy/config/core/v3/base_pb.ts';
import { canonicalRevision, canonicalService } from '../../xds/node-metadata.ts';

/** By the fields of a telemetry configuration; absent: the node does not say. Not checked. */
export interface OwnWorkload {
	readonly workload?: string;
	readonly namespace?: string;
	readonly app?: string;
	readonly version?: string;
	readonly serviceAccount?: string;
	readonly trustDomain?: string;
}

/** Where in the node each field is, for errors. */
export const PLACE_IN_NODE: Readonly<Record<keyof OwnWorkload, string>> = {
	workload: 'node.metadata.WORKLOAD_NAME',
	namespace: 'node.metadata.NAMESPACE',
	app: 'node.metadata.LABELS.app',
	version: 'node.metadata.LABELS.version',
	serviceAccount: 'node.metadata.SERVICE_ACCOUNT',
	trustDomain: 'node.metadata.MESH_ID',
};

export function ownWorkload(node: Node | undefined): OwnWorkload {
	const metadata = node?.metadata ?? {};
	const own: { -readonly [Field in keyof OwnWorkload]: string } = {};
	const workload = textOf(metadata.WORKLOAD_NAME);
	const labels = textsOf(metadata.LABELS);
	if (workload !== '') {
		own.workload = workload;
		own.app = canonicalService(labels, workload);
		own.version = canonicalRevision(labels);
	}
	const namespace = textOf(metadata.NAMESPACE);
	if (namespace !== '') own.namespace = namespace;
	const serviceAccount = textOf(metadata.SERVICE_ACCOUNT);
	if (serviceAccount !== '') own.serviceAccount = serviceAccount;
	const trustDomain = textOf(metadata.MESH_ID);
	if (trustDomain !== '') own.trustDomain = trustDomain;
	return own;
}

function textOf(value: unknown): string {
	return typeof value === 'string' ? value : '';
}

function textsOf(value: unknown): Record<string, string> {
	const texts: Record<string, string> = {};
	if (typeof value !== 'object' || value === null) return texts;
	for (const [name, text] of Object.entries(value)) if (typeof text === 'string') texts[name] = text;
	return texts;
}
