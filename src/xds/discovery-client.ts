// How a part of the proxy asks for its resources, whoever brings them: the ADS stream, a file, or
// a test. One subscription per type and name set; the subscriber decodes, checks and applies.

export interface DiscoveredResource {
	readonly name: string;
	readonly version: string;
	/** The message inside the resource's Any, encoded. */
	readonly value: Uint8Array;
}

export interface DiscoveryUpdate {
	readonly updated: readonly DiscoveredResource[];
	/** Names that are gone (delta), or that were asked for and do not exist. */
	readonly removed: readonly string[];
}

export interface ResourceSubscriber {
	/**
	 * Applies what it can; a resource that is wrong is left at its last good state and named in the result,
	 * which becomes the NACK's detail. Null: all is in force (ACK). Must not throw for bad content.
	 */
	onUpdate(update: DiscoveryUpdate): string | null;
}

export interface Subscription {
	/** Changes which names are asked for (a delta request goes out when the set really changes). */
	setNames(names: readonly string[]): void;
	close(): void;
}

export interface DiscoveryClient {
	/** `names` null: all that the server has for this node (wildcard), as LDS and CDS do. */
	subscribe(typeUrl: string, names: readonly string[] | null, subscriber: ResourceSubscriber): Subscription;
}
