// What every object looks like, by the Kubernetes API conventions, and how its kind is described.

export interface ObjectMeta {
	name: string;
	namespace?: string;
	uid?: string;
	/** Opaque to clients; the store's revision. */
	resourceVersion?: string;
	/** Grows with each change of spec. */
	generation?: number;
	/** RFC 3339. */
	creationTimestamp?: string;
	labels?: Record<string, string>;
	annotations?: Record<string, string>;
}

export interface Condition {
	type: string;
	status: 'True' | 'False' | 'Unknown';
	reason: string;
	message: string;
	lastTransitionTime: string;
	observedGeneration?: number;
}

export interface MeshObject<Spec = unknown, Status = unknown> {
	apiVersion: string;
	kind: string;
	metadata: ObjectMeta;
	spec: Spec;
	status?: Status;
}

/** Where an object is kept: `/GROUP/KIND/NAMESPACE/NAME`; the core group is `core`, no namespace is `-`. */
export function storeKey(group: string, kind: string, namespace: string | undefined, name: string): string {
	return `/${group === '' ? 'core' : group}/${kind}/${namespace || '-'}/${name}`;
}

/** Prefix of the keys of all objects of a kind. */
export function storePrefix(group: string, kind: string): string {
	return `/${group === '' ? 'core' : group}/${kind}/`;
}

/** Labels and annotations of weft's own. */
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';
export const WEFT_RUN = 'weft-run';

/** Made by a registration of `weft run`, and not a user's own. */
export function isManaged(object: Pick<MeshObject, 'metadata'>): boolean {
	return object.metadata.labels?.[MANAGED_BY_LABEL] === WEFT_RUN;
}
