// What each instance may say that it is. A certificate names an account, which many instances share;
// which instance a sidecar stands for, of which service and at which address, was settled when it
// joined, and is held against what it says when it connects. Otherwise any workload of a namespace
// could take another service's requests by calling itself an instance of it.

import { WeftError } from '../std/errors.ts';
import type { ProgramPort } from '../xds/node-metadata.ts';
import type { SidecarNode } from './sidecar-node.ts';

export interface InstanceGrant {
	readonly namespace: string;
	readonly serviceAccount: string;
	readonly service: string;
	readonly version: string;
	/** `reviews-v2` */
	readonly workload: string;
	/** Where its sidecar takes mesh traffic. */
	readonly address: string;
	readonly ports: readonly ProgramPort[];
}

export interface InstanceGrants {
	/** Null: nobody joined by that name. */
	find(namespace: string, instance: string): InstanceGrant | null;
}

/** A client without `WEFT` metadata registers nothing, and is passed. @throws WeftError `permission_denied` */
export function checkGranted(node: SidecarNode, grants: InstanceGrants): void {
	if (node.weft === null) return;
	const { instance } = node.weft;
	const grant = grants.find(node.namespace, instance);
	const fault = grant === null ? 'nobody joined by that name' : mismatch(node, grant);
	if (fault === null) return;
	throw new WeftError('permission_denied', `instance ${node.namespace}/${instance}: ${fault}`, {
		origin: 'downstream',
	});
}

/**
 * One of two instances of an account is not the other. `issuedTo`: whose the certificate of its connection is; null:
 * not known. @throws WeftError `permission_denied`
 */
export function checkOwnCertificate(node: SidecarNode, issuedTo: string | null): void {
	if (node.weft === null || issuedTo === null || node.weft.instance === issuedTo) return;
	throw new WeftError(
		'permission_denied',
		`the node says that it is ${node.weft.instance}; its certificate was issued to ${issuedTo}`,
		{ origin: 'downstream' },
	);
}

/** Why the node is not the one that joined; null: it is. */
function mismatch(node: SidecarNode, grant: InstanceGrant): string | null {
	const weft = node.weft!;
	const differs = (field: string, found: string, joined: string) =>
		`it joined with ${field} ${JSON.stringify(joined)}, and says ${JSON.stringify(found)} now`;
	if (node.serviceAccount !== grant.serviceAccount) {
		return differs('account', node.serviceAccount, grant.serviceAccount);
	}
	// Empty: a client only.
	if (weft.service !== '' && weft.service !== grant.service) return differs('service', weft.service, grant.service);
	if (node.workload !== grant.workload) return differs('workload', node.workload, grant.workload);
	if (weft.address !== grant.address) return differs('address', weft.address, grant.address);
	// Services select their instances by labels.
	const labels: Readonly<Record<string, string>> = {
		app: grant.service,
		version: grant.version,
		'service.istio.io/canonical-name': grant.service,
		'service.istio.io/canonical-revision': grant.version,
	};
	for (const [name, value] of Object.entries({ app: '', ...node.labels })) {
		if (!Object.hasOwn(labels, name)) return `it joined without a label ${JSON.stringify(name)}`;
		if (value !== labels[name]) return differs(`label ${name}`, value, labels[name]!);
	}
	for (const { port, protocol } of weft.ports) {
		if (!grant.ports.some((one) => one.port === port && one.protocol === protocol)) {
			return `it joined without the ${protocol} port ${port}`;
		}
	}
	return null;
}
