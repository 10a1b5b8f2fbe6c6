import { expect, test } from 'bun:test';
import { addressInBlock, INSTANCE_INDEX_MAX, instanceAddress, instanceIndexOf } from './instance-addresses.ts';

test('each instance has a block of 2048 addresses from 127.128.8.0 on', () => {
	expect(instanceAddress(1)).toBe('127.128.8.0');
	expect(instanceAddress(2)).toBe('127.128.16.0');
	expect(instanceAddress(32)).toBe('127.129.0.0');
	expect(instanceAddress(INSTANCE_INDEX_MAX)).toBe('127.255.248.0');
	for (const index of [1, 2, 31, 32, 1000, INSTANCE_INDEX_MAX]) {
		expect(instanceIndexOf(instanceAddress(index))).toBe(index);
	}
});

test('an address within a block is of no instance by itself', () => {
	for (const address of ['127.128.0.0', '127.128.8.1', '127.96.0.1', '10.0.0.1', 'localhost', '']) {
		expect(instanceIndexOf(address)).toBeNull();
	}
});

test('service n has address n of the block, as far as it goes', () => {
	expect(addressInBlock('127.128.8.0', 1)).toBe('127.128.8.1');
	expect(addressInBlock('127.128.8.0', 2047)).toBe('127.128.15.255');
	expect(addressInBlock('127.128.8.0', 2048)).toBeNull();
	expect(addressInBlock('127.128.8.0', 0)).toBeNull();
});
