// What the xDS server serves: encoded resources, and one client's view of them. A resource is
// encoded once, when it is compiled; every client that sees it is sent the same bytes. The server
// knows nothing of meshes, and the side that compiles knows nothing of streams.

import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Node } from '../generated/envoy/config/core/v3/base_pb.ts';

/** Immutable. */
export interface EncodedResource {
	readonly name: string;
	/** Equal exactly when the content is equal. */
	readonly version: string;
	/** `google.protobuf.Any`, encoded: an element of `DiscoveryResponse.resources`. */
	readonly any: Uint8Array;
	/** `envoy.service.discovery.v3.Resource`, encoded: an element of `DeltaDiscoveryResponse.resources`. */
	readonly resource: Uint8Array;
	/** Names of other resources that a client asks for once it has this one: the endpoints of a cluster, the routes of a listener. */
	readonly follows: readonly FollowedResource[];
}

export interface FollowedResource {
	readonly typeUrl: string;
	readonly name: string;
}

const NO_FOLLOWS: readonly FollowedResource[] = [];

/** `value` is the encoded message. Its version is the first 16 hex digits of its SHA-256. */
export function encodeResource(
	typeUrl: string,
	name: string,
	value: Uint8Array,
	follows: readonly FollowedResource[] = NO_FOLLOWS,
): EncodedResource {
	const version = new Bun.CryptoHasher('sha256').update(value).digest('hex').slice(0, 16);
	const any = new BinaryWriter()
		.tag(1, WireType.LengthDelimited)
		.string(typeUrl)
		.tag(2, WireType.LengthDelimited)
		.bytes(value)
		.finish();
	const resource = new BinaryWriter()
		.tag(1, WireType.LengthDelimited)
		.string(version)
		.tag(2, WireType.LengthDelimited)
		.bytes(any)
		.tag(3, WireType.LengthDelimited)
		.string(name)
		.finish();
	return { name, version, any, resource, follows };
}

/** Live: what it answers changes as the mesh does, and `onChange` says which names to look at again. */
export interface ResourceView {
	/** Version of the whole, for people: `system_version_info`. */
	readonly version: string;
	get(typeUrl: string, name: string): EncodedResource | undefined;
	/** All names of a type: what a wildcard subscription covers. Each once. */
	names(typeUrl: string): Iterable<string>;
}

/** By type URL, the names whose resource may have appeared, changed or gone. */
export type ResourceChanges = ReadonlyMap<string, ReadonlySet<string>>;

export interface NodeView extends ResourceView {
	/** The stream is over; `orderly` when the client ended it, false when the connection was lost. */
	close(orderly: boolean): void;
}

/** Who is on the other end of a stream, as its transport proved. */
export interface StreamPeer {
	/** SPIFFE ID of its verified certificate; null on a door that needs none. */
	readonly spiffeId: string | null;
	/** Wall-clock end of that certificate; null without one. */
	readonly certificateNotAfterMs: number | null;
	/** SHA-256 of that certificate (DER), hex; absent without one. */
	readonly certificateSha256?: string;
	/** `127.0.0.1:4711`, for logs. */
	readonly address: string;
}

export interface ResourceSource {
	/**
	 * A client's first request has come. `onChange` may be called from then on until `close`.
	 * @throws WeftError `permission_denied` or `invalid_node`: the stream is ended with its message.
	 */
	open(node: Node, peer: StreamPeer, onChange: (changes: ResourceChanges) => void): NodeView;
}
