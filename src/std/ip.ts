// IP addresses as bytes, and tables of prefixes in which the longest wins.

import { isIPv4, isIPv6 } from 'node:net';

/** 4 or 16 bytes in network order; null when it is no address. An IPv4-mapped IPv6 address stays IPv6. */
export function parseIp(text: string): Uint8Array | null {
	if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number);
	return isIPv6(text) ? parseIpv6(text) : null;
}

function parseIpv6(text: string): Uint8Array {
	const zone = text.indexOf('%');
	const [head, tail] = (zone < 0 ? text : text.slice(0, zone)).split('::') as [string, string | undefined];
	const before = groupsOf(head);
	const after = tail === undefined ? [] : groupsOf(tail);
	const groups = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
	return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

function groupsOf(text: string): number[] {
	if (text === '') return [];
	return text.split(':').flatMap((part) => {
		if (!part.includes('.')) return [Number.parseInt(part, 16)];
		const [a, b, c, d] = part.split('.').map(Number) as [number, number, number, number];
		return [(a << 8) | b, (c << 8) | d];
	});
}

interface PrefixesOfLength<T> {
	readonly length: number;
	readonly byPrefix: Map<string, T>;
}

/** Values by address prefix. What has no entry of its own is found under the longest prefix that holds it. */
export class PrefixTable<T> {
	/** Longest first. */
	private readonly v4: PrefixesOfLength<T>[] = [];
	private readonly v6: PrefixesOfLength<T>[] = [];

	/** Takes the place of what stands under the same prefix. */
	set(address: Uint8Array, length: number, value: T): void {
		const list = this.listOf(address);
		let entry = list.find((one) => one.length === length);
		if (entry === undefined) {
			entry = { length, byPrefix: new Map() };
			list.push(entry);
			list.sort((a, b) => b.length - a.length);
		}
		entry.byPrefix.set(prefixKey(address, length), value);
	}

	find(address: Uint8Array): T | undefined {
		for (const { length, byPrefix } of this.listOf(address)) {
			const found = byPrefix.get(prefixKey(address, length));
			if (found !== undefined) return found;
		}
		return undefined;
	}

	private listOf(address: Uint8Array): PrefixesOfLength<T>[] {
		return address.length === 4 ? this.v4 : this.v6;
	}
}

/** Equal for two addresses that agree in their first `length` bits. */
export function prefixKey(address: Uint8Array, length: number): string {
	let key = '';
	const whole = length >> 3;
	for (let i = 0; i < whole; i++) key += String.fromCharCode(address[i]!);
	const rest = length & 7;
	return rest === 0 ? key : key + String.fromCharCode(address[whole]! & (0xff00 >> rest));
}
