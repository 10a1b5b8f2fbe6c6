import { expect, test } from 'bun:test';
import { fromBinary } from '@bufbuild/protobuf';
import {
	DeltaDiscoveryResponseSchema,
	DiscoveryResponseSchema,
} from '../generated/envoy/service/discovery/v3/discovery_pb.ts';
import { VirtualClock } from '../std/clock.ts';
import { type EncodedResource, encodeResource } from './resource-view.ts';
import { ResponseEncoder } from './response-encoder.ts';
import { CLUSTER_TYPE } from './type-urls.ts';

const resources = (count: number, text: string): EncodedResource[] =>
	Array.from({ length: count }, (_, i) => encodeResource(CLUSTER_TYPE, `c${i}`, Buffer.from(text + i)));

const plan = (list: readonly EncodedResource[], removed: string[] = []) =>
	({ phase: 'update', resources: list, removed }) as const;

test('a delta response carries version, nonce, resources in order and what is gone', () => {
	const encoder = new ResponseEncoder(new VirtualClock());
	const long = resources(3, 'x'.repeat(20_000));
	const bytes = encoder.encode('delta', '7', CLUSTER_TYPE, 'n1', plan(long, ['gone', 'too']));
	const response = fromBinary(DeltaDiscoveryResponseSchema, bytes);
	expect(response).toMatchObject({
		systemVersionInfo: '7',
		nonce: 'n1',
		typeUrl: CLUSTER_TYPE,
		removedResources: ['gone', 'too'],
		controlPlane: { identifier: 'weft' },
	});
	expect(response.resources.map(({ name, version }) => [name, version])).toEqual(
		long.map(({ name, version }) => [name, version]),
	);
	expect(Buffer.from(response.resources[2]!.resource!.value).toString()).toBe(`${'x'.repeat(20_000)}2`);
});

test('a response of the state of the world carries the resources bare', () => {
	const encoder = new ResponseEncoder(new VirtualClock());
	const bytes = encoder.encode('state-of-the-world', '7', CLUSTER_TYPE, 'n1', plan(resources(2, 'y')));
	const response = fromBinary(DiscoveryResponseSchema, bytes);
	expect(response).toMatchObject({ versionInfo: '7', nonce: 'n1', typeUrl: CLUSTER_TYPE });
	expect(response.resources.map(({ value }) => Buffer.from(value).toString())).toEqual(['y0', 'y1']);
});

test('long lists are not mistaken for one another, in either variant, and the bytes are each caller’s own', () => {
	const clock = new VirtualClock();
	const encoder = new ResponseEncoder(clock);
	const one = resources(100, 'one');
	const two = [...one.slice(0, 99), ...resources(1, 'two')];
	for (let round = 0; round < 4; round++) {
		for (const list of [one, two, one.slice(1), one]) {
			const nonce = String(round);
			const delta = encoder.encode('delta', '1', CLUSTER_TYPE, nonce, plan([...list]));
			const decoded = fromBinary(DeltaDiscoveryResponseSchema, delta);
			expect(decoded.nonce).toBe(nonce);
			expect(decoded.resources.map(({ version }) => version)).toEqual(list.map(({ version }) => version));
			delta.fill(0);
			const bare = encoder.encode('state-of-the-world', '1', CLUSTER_TYPE, nonce, plan(list));
			expect(fromBinary(DiscoveryResponseSchema, bare).resources).toHaveLength(list.length);
		}
		clock.advance(round === 2 ? 5000 : 10);
	}
});
