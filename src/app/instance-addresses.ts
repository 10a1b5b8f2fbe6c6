// The addresses of instances on one machine (docs/architecture.md, "Addresses on one machine"):
// instance i has the block of 2048 addresses from 127.128.0.0 + (i << 11).

import { assert } from '../std/assert.ts';

export const INSTANCE_INDEX_MAX = 4095;
export const INSTANCE_BLOCK_SIZE = 2048;
const INSTANCES_BASE = (127 << 24) + (128 << 16);

/** First address of the block: where the instance's sidecar takes mesh traffic. */
export function instanceAddress(index: number): string {
	assert(index >= 1 && index <= INSTANCE_INDEX_MAX, `instance index ${index} is in range`);
	return formatIpv4(INSTANCES_BASE + index * INSTANCE_BLOCK_SIZE);
}

/** The index whose block `address` begins; null when it is no instance's address. */
export function instanceIndexOf(address: string): number | null {
	const offset = parseIpv4(address) - INSTANCES_BASE;
	const index = offset / INSTANCE_BLOCK_SIZE;
	return Number.isInteger(index) && index >= 1 && index <= INSTANCE_INDEX_MAX ? index : null;
}

/** The index in whose block `address` is; null when it is in none. */
export function instanceIndexOfAddress(address: string): number | null {
	const index = Math.floor((parseIpv4(address) - INSTANCES_BASE) / INSTANCE_BLOCK_SIZE);
	return index >= 1 && index <= INSTANCE_INDEX_MAX ? index : null;
}

/** Address n of a block; null when the block has no such address. */
export function addressInBlock(base: string, n: number): string | null {
	return n >= 1 && n < INSTANCE_BLOCK_SIZE ? formatIpv4(parseIpv4(base) + n) : null;
}

function parseIpv4(text: string): number {
	const parts = text.split('.').map(Number);
	if (parts.length !== 4) return Number.NaN;
	return parts.reduce((sum, part) => sum * 256 + part, 0);
}

function formatIpv4(value: number): string {
	return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}
