// SPIFFE IDs, by the letter of the SPIFFE-ID specification §2: what may be in a trust domain and in
// a path, how long it may be, and Istio's form of a workload's path. Nothing is normalised: an ID
// that is not already in its one right form is refused, so that comparing strings is enough.

import { WeftError } from '../std/errors.ts';

export interface SpiffeId {
	/** `cluster.local` */
	readonly trustDomain: string;
	/** `/ns/default/sa/reviews`; empty for the trust domain's own ID. */
	readonly path: string;
}

/** Who a workload is: the path `/ns/NAMESPACE/sa/SERVICE_ACCOUNT`. */
export interface WorkloadName {
	readonly trustDomain: string;
	readonly namespace: string;
	readonly serviceAccount: string;
}

export const DEFAULT_TRUST_DOMAIN = 'cluster.local';

/** Specification §2.3: both maxima count bytes of the whole URI, and of the trust domain. */
const SPIFFE_ID_BYTES_MAX = 2048;
const TRUST_DOMAIN_BYTES_MAX = 255;

const SCHEME = 'spiffe://';
const TRUST_DOMAIN_PATTERN = /^[a-z0-9._-]+$/;
const SEGMENT_PATTERN = /^[A-Za-z0-9._-]+$/;
/** RFC 1123 label, as Kubernetes names namespaces; service accounts may also have dots between labels. */
const NAMESPACE_PATTERN = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const SERVICE_ACCOUNT_PATTERN = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** @throws WeftError `invalid_spiffe_id`, with the reason. */
export function parseSpiffeId(text: string): SpiffeId {
	if (text.length > SPIFFE_ID_BYTES_MAX) throw invalid(text, `longer than ${SPIFFE_ID_BYTES_MAX} bytes`);
	if (!text.startsWith(SCHEME)) throw invalid(text, 'it must begin with "spiffe://"');
	const slash = text.indexOf('/', SCHEME.length);
	const trustDomain = slash === -1 ? text.slice(SCHEME.length) : text.slice(SCHEME.length, slash);
	const path = slash === -1 ? '' : text.slice(slash);
	const domainFault = trustDomainFault(trustDomain);
	if (domainFault !== null) throw invalid(text, domainFault);
	if (path !== '') {
		for (const segment of path.slice(1).split('/')) {
			if (segment === '') throw invalid(text, 'a path segment is empty');
			if (segment === '.' || segment === '..') throw invalid(text, 'a path segment is relative');
			if (!SEGMENT_PATTERN.test(segment)) {
				throw invalid(text, 'a path segment may have only letters, digits, ".", "-" and "_"');
			}
		}
	}
	return { trustDomain, path };
}

export function formatSpiffeId(id: SpiffeId): string {
	return `${SCHEME}${id.trustDomain}${id.path}`;
}

/** @throws WeftError `invalid_spiffe_id` when a name cannot be part of one. */
export function workloadSpiffeId(workload: WorkloadName): string {
	const text = `${SCHEME}${workload.trustDomain}/ns/${workload.namespace}/sa/${workload.serviceAccount}`;
	const domainFault = trustDomainFault(workload.trustDomain);
	if (domainFault !== null) throw invalid(text, domainFault);
	if (!NAMESPACE_PATTERN.test(workload.namespace)) throw invalid(text, 'the namespace is not a DNS label');
	if (!SERVICE_ACCOUNT_PATTERN.test(workload.serviceAccount)) {
		throw invalid(text, 'the service account is not a DNS name');
	}
	return text;
}

/** Null: a SPIFFE ID, but not of Istio's workload form. @throws WeftError `invalid_spiffe_id` */
export function parseWorkloadSpiffeId(text: string): WorkloadName | null {
	const { trustDomain, path } = parseSpiffeId(text);
	const segments = path.split('/');
	if (segments.length !== 5 || segments[1] !== 'ns' || segments[3] !== 'sa') return null;
	const namespace = segments[2]!;
	const serviceAccount = segments[4]!;
	if (!NAMESPACE_PATTERN.test(namespace) || !SERVICE_ACCOUNT_PATTERN.test(serviceAccount)) return null;
	return { trustDomain, namespace, serviceAccount };
}

/** Why it cannot be a trust domain; null when it can. */
export function trustDomainFault(trustDomain: string): string | null {
	if (trustDomain === '') return 'the trust domain is empty';
	if (trustDomain.length > TRUST_DOMAIN_BYTES_MAX) return `the trust domain is longer than ${TRUST_DOMAIN_BYTES_MAX}`;
	if (!TRUST_DOMAIN_PATTERN.test(trustDomain)) {
		return 'the trust domain may have only lower-case letters, digits, ".", "-" and "_"';
	}
	return null;
}

function invalid(text: string, reason: string): WeftError {
	const shown = text.length > 128 ? `${text.slice(0, 128)}…` : text;
	return new WeftError('invalid_spiffe_id', `not a SPIFFE ID: ${JSON.stringify(shown)}: ${reason}`);
}
