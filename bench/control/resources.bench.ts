// What the sidecars of many workloads cost the control plane before anything is sent: their views
// are opened on one compiled mesh, then a service appears.
//
//   scripts/bun bench/control/resources.bench.ts [--workloads 1000] [--services 1000] [--capture transparent]

import { parseArgs } from 'node:util';
import { MeshResources, type SidecarView } from '../../src/control/mesh-resources.ts';
import { MeshModel } from '../../src/control/model.ts';
import { readSidecarNode } from '../../src/control/sidecar-node.ts';
import { systemTimeSource, TimerWheel } from '../../src/net/timer-wheel.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import type { CaptureMode } from '../../src/xds/node-metadata.ts';
import { LISTENER_TYPE } from '../../src/xds/type-urls.ts';
import { fillStore, nodeOf, PORT, putService, serviceHostName } from './mesh.ts';

const { values } = parseArgs({
	options: {
		workloads: { type: 'string', default: '1000' },
		services: { type: 'string', default: '1000' },
		capture: { type: 'string', default: 'transparent' },
	},
});
const workloads = Math.min(5000, Number(values.workloads));
const services = Math.min(2000, Number(values.services));

const store = new MemoryStore();
await fillStore(store, { services, endpoints: 2 });
let told = 0;
let resources!: MeshResources;
const model = new MeshModel(store, new TimerWheel(systemTimeSource()), (change) => resources.apply(change));
resources = new MeshResources(model, 'cluster.local');
await model.start();
line('mesh compiled', 0);

const peer = { spiffeId: null, certificateNotAfterMs: null, address: 'bench' };
const views: SidecarView[] = [];
let startedMs = performance.now();
for (let index = 0; index < workloads; index++) {
	const node = readSidecarNode(nodeOf(index, values.capture as CaptureMode), peer);
	views.push(resources.open(node, () => told++));
}
line(`${workloads} views opened`, performance.now() - startedMs);

const name = `outbound|${PORT}||${serviceHostName(0)}`;
const distinct = new Set(views.map((view) => view.get(LISTENER_TYPE, name)));
console.log(`listeners compiled for one service: ${distinct.size}`);

await putService(store, services);
startedMs = performance.now();
model.flush();
line(`a service appeared; ${told} told`, performance.now() - startedMs);
process.exit();

function line(what: string, ms: number): void {
	Bun.gc(true);
	const mib = process.memoryUsage.rss() / 2 ** 20;
	console.log(`${what.padEnd(40)} ${ms.toFixed(1).padStart(9)} ms ${mib.toFixed(0).padStart(6)} MiB RSS`);
}
