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

/** `default/reviews`. */
export type ObjectKey = string;

export function objectKey(object: { metadata: ObjectMeta }): ObjectKey {
	return `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
}

/** Labels and annotations of weft's own. */
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';
export const WEFT_RUN = 'weft-run';
