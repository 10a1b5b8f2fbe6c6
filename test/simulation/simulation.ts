// One run of the simulated mesh, decided by its seed alone:
//
//   callers ──▶ outbound sidecars ══mutual TLS══▶ inbound sidecars ──▶ programs
//                     ▲                                ▲
//                     └──────── management server ─────┘
//
// Traffic as planned, faults as drawn; then everything is mended, the mesh must serve again, and when
// all have hung up nothing may be left: no request, no connection, no timer, no number off.

import { SimulatedNetwork } from '../../src/net/simulated-network.ts';
import { logSink } from '../../src/std/log.ts';
import { SeededRandom } from '../../src/std/random.ts';
import { Caller } from './caller.ts';
import { Faults } from './faults.ts';
import { type Certificates, EPOCH_MS } from './identities.ts';
import { Ledger } from './ledger.ts';
import { Mesh } from './mesh.ts';
import { drawPlans, mayRepeat, type RequestPlan } from './plan.ts';
import { checkLeftovers, checkNumbers } from './settlement.ts';
import { StepClock } from './step-clock.ts';

/**
 * `calm`: only configuration changes. `retry-safe`: besides, hosts fail in ways after which a request may be sent
 * again. `rough`: anything.
 */
export type Mode = 'calm' | 'retry-safe' | 'rough';

export interface SimulationResult {
	readonly seed: number;
	readonly mode: Mode;
	/** Empty: every property held. */
	readonly violations: readonly string[];
	readonly history: readonly string[];
	readonly outcomes: Readonly<Record<string, number>>;
	readonly steps: number;
}

const MODES: readonly Mode[] = ['calm', 'retry-safe', 'rough'];
const PROBES = 12;
const LAST_REQUESTS = 10;
/** By then all that was sent has arrived. */
const ARRIVED_MS = 40;
/** Every request has an outcome this long after the last one began. */
const PATIENCE_MS = 120_000;
/** Longer than any idle timeout. */
const LONG_MS = 3 * 3600_000;
const STEPS_MAX = 3_000_000;

export function simulate(seed: number, certificates: Certificates): SimulationResult {
	const before = { ...logSink };
	const run = new Run(seed, certificates);
	logSink.level = process.env.LOG_LEVEL === undefined ? 'error' : 'debug';
	logSink.write = (line) => {
		if (/ error {3}/.test(line)) run.ledger.violation(`logged: ${line}`);
		else run.ledger.note(line.slice(25));
	};
	try {
		return run.run();
	} finally {
		logSink.level = before.level;
		logSink.write = before.write;
	}
}

class Run {
	readonly ledger: Ledger;
	private readonly mode: Mode;
	private readonly clock = new StepClock(EPOCH_MS);
	private readonly network: SimulatedNetwork;
	private readonly mesh: Mesh;
	private readonly callers: Caller[];
	private readonly plans: RequestPlan[];
	private readonly probes: RequestPlan[];
	/** Under way when the outbound sidecars drain. */
	private readonly lastRequests: RequestPlan[];
	private readonly startsEarly: boolean;
	/** Before idle connections and the like have run out. */
	private readonly stopsAtOnce: boolean;
	private readonly faults: Faults;

	constructor(
		private readonly seed: number,
		certificates: Certificates,
	) {
		const random = new SeededRandom(seed * 2654435761);
		this.mode = MODES[seed % MODES.length]!;
		const rough = this.mode === 'rough';
		const smallWindow = random.next() < 0.3;
		this.network = new SimulatedNetwork({
			seed,
			clock: this.clock,
			latencyMs: random.next() * 2,
			jitterMs: random.next() * 5,
			windowBytes: smallWindow ? 1024 + random.below(8192) : 64 * 1024,
		});
		const durationMs = 200 + random.next() * 2000;
		const callerCount = 1 + random.below(2);
		const options = {
			requests: 20 + random.below(80),
			clients: callerCount,
			durationMs,
			misbehave: rough,
			aborts: random.next() < 0.5,
			// Much through small windows is a great many small segments, and shows nothing more.
			bodyBytesMax: !smallWindow && random.next() < 0.2 ? 3_000_000 : 100_000,
		};
		this.plans = drawPlans(random, options);
		const calm = { ...options, requests: PROBES, misbehave: false, aborts: false, bodyBytesMax: 1000 };
		this.probes = drawPlans(random, calm).map((plan) => ({
			...plan,
			id: plan.id + 1000,
			method: 'GET',
			requestBytes: 0,
		}));
		this.lastRequests = drawPlans(random, { ...calm, requests: LAST_REQUESTS, bodyBytesMax: 50_000 }).map((plan) => ({
			...plan,
			id: plan.id + 2000,
			abortAfterMs: null,
		}));
		this.startsEarly = random.next() < 0.3;
		this.stopsAtOnce = random.next() < 0.5;
		this.ledger = new Ledger(
			[...this.plans, ...this.probes, ...this.lastRequests],
			() => this.clock.nowMs(),
			this.mode !== 'calm',
		);
		this.mesh = new Mesh(this.network, random, this.ledger, certificates, {
			hosts: 2 + random.below(3),
			callers: callerCount,
			rough,
			seed,
		});
		this.callers = this.mesh.outboundAddresses.map(
			(address, index) => new Caller(`caller-${index}`, this.network, random, this.ledger, address, !rough),
		);
		this.faults = new Faults(this.mesh, this.clock, random, this.mode, durationMs);
	}

	run(): SimulationResult {
		const { clock, ledger, mesh, plans, probes, faults } = this;
		try {
			mesh.start();
			const isReady = (): boolean => (this.startsEarly ? mesh.isOpen : mesh.isReady);
			if (!this.runUntil(isReady, 60_000)) this.fail('the mesh did not become ready');
			faults.schedule();
			for (const plan of plans) clock.after(plan.startMs, () => this.callers[plan.client]!.send(plan));
			const later = probes.length + this.lastRequests.length;
			const lastMs = Math.max(...plans.map((plan) => plan.startMs), faults.lastMs);
			this.runUntil(() => ledger.unfinished === later && faults.over, lastMs + PATIENCE_MS);
			for (const { plan } of ledger.withOutcome(null)) {
				if (plan.id <= plans.length) this.fail(`request ${plan.id} has no outcome: ${JSON.stringify(plan)}`);
			}
			if (!faults.over) this.fail('a fault has not come to its end');
			faults.mend();
			if (!this.runUntil(() => mesh.inSync, 30_000)) this.fail('the proxies are not in sync after all was mended');
			for (const plan of probes) clock.after(plan.startMs / 10, () => this.callers[plan.client]!.send(plan));
			this.runUntil(() => ledger.unfinished === this.lastRequests.length, PATIENCE_MS);
			this.drainOutbound();
			this.checkOutcomes();
			this.settle();
		} catch (error) {
			if (!(error instanceof Stopped)) throw error;
		}
		return {
			seed: this.seed,
			mode: this.mode,
			violations: ledger.violations,
			history: ledger.history,
			outcomes: ledger.countOutcomes(),
			steps: clock.steps,
		};
	}

	/** What is under way ends well, and the proxies know when it has. */
	private drainOutbound(): void {
		const { mesh, callers, ledger } = this;
		for (const plan of this.lastRequests) callers[plan.client]!.send(plan);
		this.runFor(ARRIVED_MS);
		let drained = false;
		void Promise.all(mesh.outbound.map(({ life }) => life.proxy.drain(PATIENCE_MS / 2))).then(() => {
			drained = true;
		});
		if (!this.runUntil(() => drained && ledger.unfinished === 0, PATIENCE_MS)) this.fail('the proxies do not drain');
		for (const { life } of mesh.outbound) {
			const count = life.proxy.listeners.connectionCount();
			if (count > 0) this.fail(`${life.name} has drained and holds ${count} connections`);
		}
	}

	private settle(): void {
		const { mesh, network, clock } = this;
		this.runFor(3_000);
		for (const caller of this.callers) caller.closeIdle();
		this.runFor(5_000);
		for (const caller of this.callers) {
			if (caller.openConnections > 0) this.fail(`${caller.name} has ${caller.openConnections} connections left`);
		}
		const report = (what: string): void => this.ledger.violation(what);
		for (const life of mesh.lives()) checkNumbers(life, report);
		if (!this.stopsAtOnce) {
			this.runFor(LONG_MS);
			if (network.openConnections > 0) this.fail(`${network.openConnections} connections are open after a long time`);
			for (const life of mesh.lives()) checkLeftovers(life, report);
		}
		let stopped = false;
		void mesh.stop().then(() => {
			stopped = true;
		});
		this.runUntil(() => stopped, 10_000);
		if (!stopped) this.fail('the proxies do not stop');
		this.runFor(5_000);
		for (const life of mesh.lives()) checkLeftovers(life, report);
		if (network.openConnections > 0) this.fail(`${network.openConnections} connections are open when all has stopped`);
		if (network.caughtErrors > 0) this.fail(`${network.caughtErrors} exceptions in callbacks of connections`);
		const dueMs = clock.nextDueMs();
		if (dueMs !== null) this.fail(`a timer is left, due in ${Math.round(dueMs - clock.nowMs())} ms`);
		if (mesh.management.openStreams > 0) this.fail(`${mesh.management.openStreams} ADS streams are left`);
	}

	private checkOutcomes(): void {
		for (const kind of ['failed', 'broken'] as const) {
			for (const { plan, outcome } of this.ledger.withOutcome(kind)) {
				const isProbe = plan.id > this.plans.length;
				if (this.mode === 'rough' && !isProbe) continue;
				// HTTP/1.1: a connection that the host closes just as it is used may or may not have done the request.
				if (!isProbe && this.faults.closesKeptConnections && !mayRepeat(plan)) continue;
				this.ledger.violation(`request ${plan.id} was to succeed: ${JSON.stringify(outcome)} ${JSON.stringify(plan)}`);
			}
		}
		if (this.mesh.management.rejections.length > 0 && !this.faults.sentGarbage) {
			const { nodeId, detail } = this.mesh.management.rejections[0]!;
			this.ledger.violation(`${nodeId} refused good configuration: ${detail}`);
		}
	}

	/** `limitMs`: from now. */
	private runUntil(isDone: () => boolean, limitMs: number): boolean {
		const { clock, ledger } = this;
		const endMs = clock.nowMs() + limitMs;
		while (!isDone()) {
			if (ledger.violations.length > 0) throw new Stopped();
			if (clock.steps > STEPS_MAX) this.fail('it goes on and on');
			if (!clock.step(endMs)) return isDone();
		}
		return true;
	}

	private runFor(ms: number): void {
		this.runUntil(() => false, ms);
	}

	private fail(what: string): void {
		this.ledger.violation(what);
	}
}

/** A property is broken: what comes after it says nothing more. */
class Stopped extends Error {}
