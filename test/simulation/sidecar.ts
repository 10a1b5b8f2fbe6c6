// One sidecar of the simulated mesh: a whole proxy, started, drained, killed and started again at the
// same addresses. Every life has its own metrics, so that each can be settled by itself.

import { type RunningProxy, startProxy } from '../../src/app/proxy.ts';
import type { SimulatedNetwork } from '../../src/net/simulated-network.ts';
import { SeededRandom } from '../../src/std/random.ts';
import { type Instrument, MetricRegistry } from '../../src/telemetry/registry.ts';
import type { SimulatedIdentity } from './identities.ts';
import type { ManagementServer } from './management-server.ts';
import { bootstrap } from './mesh-config.ts';

export class Life {
	constructor(
		readonly name: string,
		readonly proxy: RunningProxy,
		private readonly registry: MetricRegistry,
	) {}

	/** The sum over all series of a family whose labels contain `label`; 0 when there is none. */
	metric(name: string, label?: string): number {
		let sum = 0;
		for (const family of this.registry.all()) {
			if (family.name !== name) continue;
			for (const { labels, instrument } of family.series()) {
				if (label === undefined || labels.includes(label)) sum += numberOf(instrument);
			}
		}
		return sum;
	}

	/** All gauges of this name's ending that are not 0, as `NAME{LABELS} VALUE`. */
	gaugesNotZero(pattern: RegExp): string[] {
		const found: string[] = [];
		for (const family of this.registry.all()) {
			if (family.kind !== 'gauge' || !pattern.test(family.name)) continue;
			for (const { labels, instrument } of family.series()) {
				const value = numberOf(instrument);
				if (value !== 0) found.push(`${family.name}{${labels.join(',')}} ${value}`);
			}
		}
		return found;
	}
}

export class Sidecar {
	readonly lives: Life[] = [];

	constructor(
		readonly nodeId: string,
		private readonly account: string,
		private readonly network: SimulatedNetwork,
		private readonly server: ManagementServer,
		private readonly identity: SimulatedIdentity,
		private readonly seed: number,
	) {}

	/** The present or last one. */
	get life(): Life {
		return this.lives[this.lives.length - 1]!;
	}

	start(): void {
		const registry = new MetricRegistry();
		const proxy = startProxy({
			bootstrap: bootstrap(this.nodeId, this.account),
			network: this.network,
			random: new SeededRandom(this.seed + this.lives.length),
			registry,
			identity: this.identity,
			makeAdsTransport: () => this.server.transport(),
		});
		this.lives.push(new Life(`${this.nodeId}#${this.lives.length + 1}`, proxy, registry));
	}
}

function numberOf(instrument: Instrument): number {
	return 'value' in instrument ? instrument.value : instrument.count;
}
