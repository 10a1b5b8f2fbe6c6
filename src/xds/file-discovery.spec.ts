// Resources from a watched file.

import { afterEach, expect, test } from 'bun:test';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRegistry, fromBinary } from '@bufbuild/protobuf';
import { ClusterLoadAssignmentSchema } from '../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import { logSink } from '../std/log.ts';
import type { DiscoveryUpdate } from './discovery-client.ts';
import { FileDiscovery } from './file-discovery.ts';
import { ENDPOINT_TYPE } from './type-urls.ts';

const directories: string[] = [];
const open: FileDiscovery[] = [];

afterEach(() => {
	for (const discovery of open.splice(0)) discovery.close();
	for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

function assignment(name: string, port: number): string {
	return `
- '@type': ${ENDPOINT_TYPE}
  cluster_name: ${name}
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}
`;
}

function setUp(content: string | null) {
	const directory = mkdtempSync(join(tmpdir(), 'weft-files-'));
	directories.push(directory);
	const path = join(directory, 'eds.yaml');
	const replace = (text: string) => {
		writeFileSync(`${path}.new`, text);
		renameSync(`${path}.new`, path);
	};
	if (content !== null) replace(content);
	const discovery = new FileDiscovery(path, createRegistry(ClusterLoadAssignmentSchema));
	open.push(discovery);
	return { discovery, replace };
}

class Watcher {
	readonly updates: DiscoveryUpdate[] = [];
	private wake: (() => void) | null = null;

	onUpdate(update: DiscoveryUpdate): null {
		this.updates.push(update);
		this.wake?.();
		return null;
	}

	async count(wanted: number): Promise<void> {
		while (this.updates.length < wanted) {
			await new Promise<void>((resolve) => {
				this.wake = resolve;
			});
		}
	}

	port(update: number): number {
		const message = fromBinary(ClusterLoadAssignmentSchema, this.updates[update]!.updated[0]!.value);
		const host = message.endpoints[0]!.lbEndpoints[0]!.hostIdentifier;
		const address = host.case === 'endpoint' ? host.value.address?.address : undefined;
		return address?.case === 'socketAddress' ? Number(address.value.portSpecifier.value) : 0;
	}
}

test('a subscriber is given what the file says, and what a moved file says later', async () => {
	const { discovery, replace } = setUp(`version_info: '1'\nresources:${assignment('a', 1)}${assignment('b', 2)}`);
	const a = new Watcher();
	const b = new Watcher();
	discovery.subscribe(ENDPOINT_TYPE, ['a'], a);
	expect(a.updates.length).toBe(1);
	expect(a.port(0)).toBe(1);
	discovery.subscribe(ENDPOINT_TYPE, ['b'], b);
	expect(b.port(0)).toBe(2);
	replace(`resources:${assignment('a', 3)}`);
	await Promise.all([a.count(2), b.count(2)]);
	expect(a.port(1)).toBe(3);
	expect(b.updates[1]!.removed).toEqual(['b']);
});

test('a file that cannot be read changes nothing, and one that comes later is taken', async () => {
	const { discovery, replace } = setUp(null);
	const a = new Watcher();
	discovery.subscribe(ENDPOINT_TYPE, ['a'], a);
	expect(a.updates).toEqual([]);
	replace('resources: [{"@type": nonsense}]');
	discovery.read();
	expect(a.updates).toEqual([]);
	replace(`resources:${assignment('a', 4)}`);
	await a.count(1);
	expect(a.port(0)).toBe(4);
});

test('a subscriber that throws is logged, and those that come later are served', () => {
	const { discovery, replace } = setUp(`resources:${assignment('a', 1)}`);
	const level = logSink.level;
	logSink.level = 'off';
	const broken = {
		onUpdate: (): null => {
			throw new Error('a bug');
		},
	};
	discovery.subscribe(ENDPOINT_TYPE, ['a'], broken).close();
	logSink.level = level;
	const a = new Watcher();
	discovery.subscribe(ENDPOINT_TYPE, ['a'], a);
	replace(`resources:${assignment('a', 2)}`);
	discovery.read();
	expect(a.port(a.updates.length - 1)).toBe(2);
});
