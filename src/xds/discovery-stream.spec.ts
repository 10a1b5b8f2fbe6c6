import { beforeEach, describe, expect, test } from 'bun:test';
import { create, fromBinary } from '@bufbuild/protobuf';
import { NodeSchema } from '../generated/envoy/config/core/v3/base_pb.ts';
import {
	type DeltaDiscoveryResponse,
	DeltaDiscoveryResponseSchema,
} from '../generated/envoy/service/discovery/v3/discovery_pb.ts';
import { VirtualClock } from '../std/clock.ts';
import { DiscoveryStream, type StreamRequest } from './discovery-stream.ts';
import { type EncodedResource, encodeResource, type ResourceChanges } from './resource-view.ts';
import { ResponseEncoder } from './response-encoder.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, shortTypeName } from './type-urls.ts';

const resources = new Map<string, Map<string, EncodedResource>>();
let onChange: (changes: ResourceChanges) => void;
let closed: boolean | null;
let clock: VirtualClock;
let stream: DiscoveryStream;
let writable: boolean;
/** Responses that came and are not acknowledged yet. */
let received: DeltaDiscoveryResponse[];

function set(typeUrl: string, name: string, text: string | null, follows: string[] = []): void {
	const all = resources.get(typeUrl) ?? new Map<string, EncodedResource>();
	resources.set(typeUrl, all);
	if (text === null) all.delete(name);
	else {
		const followed = follows.map((one) => ({ typeUrl: ENDPOINT_TYPE, name: one }));
		all.set(name, encodeResource(typeUrl, name, Buffer.from(text), followed));
	}
}

function change(...items: [string, string][]): void {
	const changes = new Map<string, Set<string>>();
	for (const [typeUrl, name] of items) changes.set(typeUrl, (changes.get(typeUrl) ?? new Set()).add(name));
	onChange(changes);
}

beforeEach(() => {
	resources.clear();
	received = [];
	closed = null;
	writable = true;
	clock = new VirtualClock();
	stream = new DiscoveryStream({
		variant: 'delta',
		peer: { spiffeId: null, certificateNotAfterMs: null, address: 'test' },
		clock,
		encoder: new ResponseEncoder(clock),
		observer: { onAcknowledged: () => {}, onRejected: () => {} },
		source: {
			open: (_node, _peer, changed) => {
				onChange = changed;
				return {
					version: '7',
					get: (typeUrl, name) => resources.get(typeUrl)?.get(name),
					names: (typeUrl) => resources.get(typeUrl)?.keys() ?? [],
					close: (orderly) => {
						closed = orderly;
					},
				};
			},
		},
		sink: {
			write: (bytes) => {
				received.push(fromBinary(DeltaDiscoveryResponseSchema, bytes));
				return writable;
			},
		},
	});
});

function ask(typeUrl: string, more: Partial<StreamRequest> = {}): void {
	stream.onRequest({
		typeUrl,
		node: create(NodeSchema, { id: 'n' }),
		nonce: '',
		error: null,
		names: [],
		unsubscribe: [],
		initialVersions: {},
		...more,
	});
}

/** Acknowledges what came first and says what it was. */
function answer(error: string | null = null): string {
	const response = received.shift();
	if (response === undefined) return 'nothing';
	const text = [
		shortTypeName(response.typeUrl),
		...response.resources.map(({ name }) => `+${name}`),
		...response.removedResources.map((name) => `-${name}`),
	].join(' ');
	ask(response.typeUrl, { nonce: response.nonce, error });
	return text;
}

function answerAll(): string[] {
	const said: string[] = [];
	for (let text = answer(); text !== 'nothing'; text = answer()) said.push(text);
	return said;
}

function connectWithOne(): void {
	set(CLUSTER_TYPE, 'c1', '1', ['c1']);
	set(ENDPOINT_TYPE, 'c1', '1');
	set(LISTENER_TYPE, 'l', '1');
	set(ROUTE_TYPE, 'r', 'to c1');
	ask(CLUSTER_TYPE);
	answerAll();
	ask(ENDPOINT_TYPE, { names: ['c1'] });
	ask(LISTENER_TYPE);
	ask(ROUTE_TYPE, { names: ['r'] });
	answerAll();
	expect(stream.inSync).toBe(true);
}

describe('make before break', () => {
	test('a route to a new cluster waits for the cluster and for its endpoints', () => {
		connectWithOne();
		set(CLUSTER_TYPE, 'c2', '1', ['c2']);
		set(ENDPOINT_TYPE, 'c2', '1');
		set(ROUTE_TYPE, 'r', 'to c2');
		change([CLUSTER_TYPE, 'c2'], [ENDPOINT_TYPE, 'c2'], [ROUTE_TYPE, 'r']);
		expect(answer()).toBe('cluster +c2');
		// Acknowledged, but its endpoints are not there yet.
		expect(answer()).toBe('nothing');
		ask(ENDPOINT_TYPE, { names: ['c2'] });
		expect(answer()).toBe('endpoint +c2');
		expect(answer()).toBe('route +r');
	});

	test('it does not wait for ever for a client that never asks for the endpoints', () => {
		connectWithOne();
		set(CLUSTER_TYPE, 'c2', '1', ['c2']);
		set(ROUTE_TYPE, 'r', 'to c2');
		change([CLUSTER_TYPE, 'c2'], [ROUTE_TYPE, 'r']);
		expect(answer()).toBe('cluster +c2');
		expect(received).toHaveLength(0);
		clock.advance(499);
		expect(received).toHaveLength(0);
		clock.advance(1);
		expect(answer()).toBe('route +r');
	});

	test('clusters that keep coming do not make that wait longer', () => {
		connectWithOne();
		set(CLUSTER_TYPE, 'c2', '1', ['c2']);
		set(ROUTE_TYPE, 'r', 'to c2');
		change([CLUSTER_TYPE, 'c2'], [ROUTE_TYPE, 'r']);
		expect(answer()).toBe('cluster +c2');
		clock.advance(400);
		set(CLUSTER_TYPE, 'c3', '1', ['c3']);
		change([CLUSTER_TYPE, 'c3']);
		expect(answer()).toBe('cluster +c3');
		clock.advance(100);
		expect(answer()).toBe('route +r');
	});

	test('a cluster goes only when the route that named it is acknowledged', () => {
		connectWithOne();
		set(CLUSTER_TYPE, 'c1', null);
		set(ENDPOINT_TYPE, 'c1', null);
		set(ROUTE_TYPE, 'r', 'to nothing');
		change([CLUSTER_TYPE, 'c1'], [ENDPOINT_TYPE, 'c1'], [ROUTE_TYPE, 'r']);
		expect(received.map(({ typeUrl }) => shortTypeName(typeUrl))).toEqual(['route']);
		expect(answer()).toBe('route +r');
		expect(answer()).toBe('cluster -c1');
		expect(answer()).toBe('endpoint -c1');
		expect(stream.inSync).toBe(true);
	});

	test('a cluster stays while the client keeps an older route because it refused the new one', () => {
		connectWithOne();
		set(CLUSTER_TYPE, 'c1', null);
		set(ROUTE_TYPE, 'r', 'bad');
		change([CLUSTER_TYPE, 'c1'], [ROUTE_TYPE, 'r']);
		expect(answer('no')).toBe('route +r');
		expect(received).toHaveLength(0);
		expect(stream.rejectionOf(ROUTE_TYPE, 'r')).toBe('no');
		set(ROUTE_TYPE, 'r', 'good');
		change([ROUTE_TYPE, 'r']);
		expect(answerAll()).toEqual(['route +r', 'cluster -c1']);
	});

	test('endpoints wait for nothing', () => {
		connectWithOne();
		set(CLUSTER_TYPE, 'c2', '1');
		change([CLUSTER_TYPE, 'c2']);
		expect(received).toHaveLength(1);
		set(ENDPOINT_TYPE, 'c1', '2');
		change([ENDPOINT_TYPE, 'c1']);
		expect(received.map(({ typeUrl }) => shortTypeName(typeUrl))).toEqual(['cluster', 'endpoint']);
	});
});

test('says which version of the whole is acknowledged in full', () => {
	expect(stream.acknowledgedVersion).toBe('');
	connectWithOne();
	expect(stream.acknowledgedVersion).toBe('7');
	expect(stream.hasCurrent(ROUTE_TYPE, 'r')).toBe(true);
	set(ROUTE_TYPE, 'r', 'other');
	expect(stream.hasCurrent(ROUTE_TYPE, 'r')).toBe(false);
	expect(stream.status().get(CLUSTER_TYPE)).toEqual({ sent: 1, acknowledged: 1, rejected: null });
});

test('writes nothing while the connection is full', () => {
	set(CLUSTER_TYPE, 'c1', '1');
	writable = false;
	ask(CLUSTER_TYPE);
	ask('type.googleapis.com/other', { names: ['x'] });
	expect(received).toHaveLength(1);
	writable = true;
	stream.onDrain();
	expect(received).toHaveLength(2);
});

test('refuses a first request without a node, a request without a type, and too many types', () => {
	expect(() => ask(CLUSTER_TYPE, { node: undefined })).toThrow(/node with an id/);
	expect(() => ask('')).toThrow(/type_url is empty/);
	for (let i = 0; i < 16; i++) ask(`type.googleapis.com/t${i}`);
	expect(() => ask('type.googleapis.com/one.more')).toThrow(/more than 16 types/);
});

test('closes its view once, and says whether the end was orderly', () => {
	ask(CLUSTER_TYPE);
	stream.close(true);
	stream.close(false);
	expect(closed).toBe(true);
});
