// Discovery responses as they go over the wire, put together out of resources that are encoded
// already. When many clients connect at once, each is sent the same long lists: their bytes are put
// together once and kept for as long as they are asked for.

import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Clock, Timer } from '../std/clock.ts';
import type { EncodedResource } from './resource-view.ts';
import type { ResponsePlan, Variant } from './subscription-state.ts';

/** Shorter lists are put together as fast as they are found. */
const KEPT_RESOURCES_MIN = 64;
const KEPT_BYTES_MAX = 2 * 1024 * 1024;
const KEPT_LISTS_MAX = 16;
/** A list that was not asked for in so long is forgotten, with all others. */
const KEPT_MS = 1000;

interface KeptList {
	readonly variant: Variant;
	readonly resources: readonly EncodedResource[];
	readonly bytes: Uint8Array;
}

const CONTROL_PLANE = new BinaryWriter().tag(1, WireType.LengthDelimited).string('weft').finish();
/** Field 2, length-delimited. */
const RESOURCES_TAG = 0x12;

export class ResponseEncoder {
	/** The one used last comes first. */
	private kept: KeptList[] = [];
	private expiry: Timer | null = null;

	constructor(private readonly clock: Clock) {}

	/** `DeltaDiscoveryResponse` or `DiscoveryResponse`. The bytes are the caller's. */
	encode(variant: Variant, version: string, typeUrl: string, nonce: string, plan: ResponsePlan): Uint8Array {
		const writer = new BinaryWriter();
		const field = (number: number) => writer.tag(number, WireType.LengthDelimited);
		field(1).string(version);
		field(4).string(typeUrl);
		field(5).string(nonce);
		for (const name of plan.removed) field(6).string(name);
		field(variant === 'delta' ? 7 : 6).bytes(CONTROL_PLANE);
		const head = writer.finish();
		const list = this.list(variant, plan.resources);
		// Every byte is written below.
		const response = Buffer.allocUnsafeSlow(head.length + list.length);
		response.set(head);
		response.set(list, head.length);
		return response;
	}

	private list(variant: Variant, resources: readonly EncodedResource[]): Uint8Array {
		if (resources.length < KEPT_RESOURCES_MIN) return encodeList(variant, resources);
		const index = this.kept.findIndex((one) => one.variant === variant && sameResources(one.resources, resources));
		const found = this.kept[index];
		if (found !== undefined) {
			this.kept.splice(index, 1);
			this.keep(found);
			return found.bytes;
		}
		const bytes = encodeList(variant, resources);
		if (bytes.length <= KEPT_BYTES_MAX) this.keep({ variant, resources, bytes });
		return bytes;
	}

	private keep(list: KeptList): void {
		this.kept.unshift(list);
		if (this.kept.length > KEPT_LISTS_MAX) this.kept.pop();
		this.expiry ??= this.clock.after(KEPT_MS, () => {
			this.kept = [];
		});
		this.expiry.restart(KEPT_MS);
	}
}

function encodeList(variant: Variant, resources: readonly EncodedResource[]): Uint8Array {
	let length = 0;
	for (const resource of resources) {
		const bytes = variant === 'delta' ? resource.resource : resource.any;
		length += 1 + varintLength(bytes.length) + bytes.length;
	}
	const list = Buffer.allocUnsafeSlow(length);
	let position = 0;
	for (const resource of resources) {
		const bytes = variant === 'delta' ? resource.resource : resource.any;
		list[position++] = RESOURCES_TAG;
		let rest = bytes.length;
		for (; rest > 127; rest >>>= 7) list[position++] = (rest & 127) | 128;
		list[position++] = rest;
		list.set(bytes, position);
		position += bytes.length;
	}
	return list;
}

function varintLength(value: number): number {
	let length = 1;
	for (let rest = value; rest > 127; rest >>>= 7) length += 1;
	return length;
}

function sameResources(left: readonly EncodedResource[], right: readonly EncodedResource[]): boolean {
	if (left.length !== right.length) return false;
	for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
	return true;
}
