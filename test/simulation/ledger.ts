// What happened to each request, and whether it may: the properties of the simulation that concern
// single requests. It is told by the clients and the programs, and knows the plans.

import { STREAM_QUEUE_HIGH_BYTES } from '../../src/http2/limits.ts';
import { mayRepeat, type RequestPlan } from './plan.ts';

export type Outcome =
	/** The program's response, whole and right. */
	| { readonly kind: 'answered' }
	/** A reply of a proxy. */
	| { readonly kind: 'failed'; readonly status: number; readonly details: string }
	/** The connection broke before the response was whole. */
	| { readonly kind: 'broken'; readonly responseBegun: boolean }
	/** The client left. */
	| { readonly kind: 'left' };

interface Entry {
	readonly plan: RequestPlan;
	outcome: Outcome | null;
	/** Times that the client sent it: again only when a kept connection closed under it. */
	sent: number;
	seen: number;
	atProgram: number;
	responseSent: number;
	responseReceived: number;
}

/**
 * What the mesh may hold of one body: on each of three connections a window of the network and a
 * full write buffer plus one read's worth, and some for framing; on the one that is HTTP/2 also what its stream may
 * have in its queue before the writer is told to stop.
 */
export const BUFFERED_BYTES_MAX = 3 * (64 + 64 + 64) * 1024 + 64 * 1024 + STREAM_QUEUE_HIGH_BYTES;

export class Ledger {
	readonly violations: string[] = [];
	readonly history: string[] = [];
	private readonly entries = new Map<number, Entry>();
	private open = 0;

	constructor(
		plans: readonly RequestPlan[],
		private readonly nowMs: () => number,
		/** Requests may fail, or be sent to more than one host. */
		private readonly hasFailures: boolean,
	) {
		for (const plan of plans) {
			this.entries.set(plan.id, {
				plan,
				outcome: null,
				sent: 0,
				seen: 0,
				atProgram: 0,
				responseSent: 0,
				responseReceived: 0,
			});
		}
		this.open = plans.length;
	}

	/** Requests that have no outcome yet. */
	get unfinished(): number {
		return this.open;
	}

	plan(id: number): RequestPlan | undefined {
		return this.entries.get(id)?.plan;
	}

	note(event: string): void {
		this.history.push(`${this.nowMs().toFixed(3)} ${event}`);
	}

	violation(what: string): void {
		this.note(`VIOLATION ${what}`);
		if (this.violations.length < 20) this.violations.push(`at ${this.nowMs().toFixed(3)} ms: ${what}`);
	}

	sentByClient(id: number): void {
		const entry = this.entries.get(id)!;
		entry.sent++;
		entry.responseReceived = 0;
	}

	seenByProgram(id: number): void {
		const entry = this.entries.get(id)!;
		entry.seen++;
		entry.responseSent = 0;
		if (entry.seen > 1 && !mayRepeat(entry.plan)) {
			this.violation(`${entry.plan.method} request ${id} reached a program ${entry.seen} times`);
		}
	}

	/** Whether any program has got the request's head. */
	wasSeen(id: number): boolean {
		return this.entries.get(id)!.seen > 0;
	}

	requestBytesAtProgram(id: number, bytes: number): void {
		const entry = this.entries.get(id)!;
		entry.atProgram = Math.max(entry.atProgram, bytes);
	}

	/** `bytes` of the body have left the client. */
	requestBytesSent(id: number, bytes: number): void {
		const entry = this.entries.get(id)!;
		// What is answered early is read and dropped; what may be sent again is kept.
		if (this.hasFailures || entry.plan.early) return;
		if (bytes - entry.atProgram > BUFFERED_BYTES_MAX) {
			this.violation(`${bytes - entry.atProgram} bytes of the body of request ${id} are held by the mesh`);
		}
	}

	responseBytesSent(id: number, bytes: number): void {
		const entry = this.entries.get(id)!;
		entry.responseSent = Math.max(entry.responseSent, bytes);
		if (entry.outcome === null && entry.responseSent - entry.responseReceived > BUFFERED_BYTES_MAX) {
			this.violation(
				`${entry.responseSent - entry.responseReceived} bytes of the response to request ${id} are held by the mesh`,
			);
		}
	}

	responseBytesReceived(id: number, bytes: number): void {
		this.entries.get(id)!.responseReceived = bytes;
	}

	finish(id: number, outcome: Outcome): void {
		const entry = this.entries.get(id)!;
		this.note(`request ${id} ${JSON.stringify(outcome)}`);
		if (entry.outcome !== null) {
			this.violation(`request ${id} has two outcomes: ${entry.outcome.kind} and ${outcome.kind}`);
			return;
		}
		if (outcome.kind === 'answered' && entry.seen === 0) {
			this.violation(`request ${id} was answered as if by the program, which has not seen it`);
		}
		entry.outcome = outcome;
		this.open--;
	}

	/** How often each kind of outcome came. */
	countOutcomes(): Record<string, number> {
		const counts: Record<string, number> = {};
		for (const { outcome } of this.entries.values()) {
			const kind = outcome === null ? 'none' : outcome.kind === 'failed' ? `failed ${outcome.status}` : outcome.kind;
			counts[kind] = (counts[kind] ?? 0) + 1;
		}
		return counts;
	}

	/** Requests whose outcome is `kind`, or that have none. */
	*withOutcome(kind: Outcome['kind'] | null): IterableIterator<{ plan: RequestPlan; outcome: Outcome | null }> {
		for (const { plan, outcome } of this.entries.values()) {
			if ((outcome?.kind ?? null) === kind) yield { plan, outcome };
		}
	}
}
