// What one request of the simulation is and what its server does with it, drawn from the seed.

import type { SeededRandom } from '../../src/std/random.ts';

export type Misbehaviour =
	/** Resets once it has the request. */
	| 'reset before head'
	/** FIN once it has the request. */
	| 'end before head'
	/** Resets within the body. */
	| 'reset in body'
	/** FIN within the body. */
	| 'end in body'
	/** No HTTP. */
	| 'garbage'
	/** Never answers. */
	| 'silence';

export interface RequestPlan {
	readonly id: number;
	readonly startMs: number;
	readonly client: number;
	readonly method: string;
	readonly path: string;
	readonly requestBytes: number;
	/** Of its body. */
	readonly requestChunked: boolean;
	/** Mean pause of the client between pieces of its body; 0: none. */
	readonly requestGapMs: number;
	readonly expectContinue: boolean;
	/** Sends `connection: close`. */
	readonly lastOnConnection: boolean;
	/** Leaves after so many ms; null: stays. */
	readonly abortAfterMs: number | null;
	/** The client stops reading, now and then, for up to this long; 0: never. */
	readonly clientPauseMs: number;
	readonly status: number;
	readonly responseBytes: number;
	readonly responseFraming: 'length' | 'chunked' | 'close';
	readonly responseGapMs: number;
	readonly thinkMs: number;
	/** 103 before the response. */
	readonly earlyHints: boolean;
	/** Answers without waiting for the request's body. */
	readonly early: boolean;
	/** The program stops reading, now and then, for up to this long; 0: never. */
	readonly serverPauseMs: number;
	/** Closes the connection after the response. */
	readonly serverCloses: boolean;
	readonly misbehaviour: Misbehaviour | null;
}

export interface PlanOptions {
	readonly requests: number;
	readonly clients: number;
	readonly durationMs: number;
	/** Programs that break connections, and answers that are not HTTP. */
	readonly misbehave: boolean;
	readonly aborts: boolean;
	/** Largest body. */
	readonly bodyBytesMax: number;
}

const METHODS = ['GET', 'GET', 'GET', 'POST', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH'];
const STATUSES = [200, 200, 200, 200, 201, 204, 304, 404, 500, 503];
const MISBEHAVIOURS: readonly Misbehaviour[] = [
	'reset before head',
	'end before head',
	'reset in body',
	'end in body',
	'garbage',
	'silence',
];
const STALL_BYTES = 1_800_000;
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

/** RFC 9110 §9.2.2. */
export function mayRepeat(plan: RequestPlan): boolean {
	return IDEMPOTENT.has(plan.method);
}

/** A response to it has no body on the wire. */
export function isBodiless(plan: RequestPlan): boolean {
	return plan.method === 'HEAD' || plan.status === 204 || plan.status === 304;
}

export function drawPlans(random: SeededRandom, options: PlanOptions): RequestPlan[] {
	const plans: RequestPlan[] = [];
	for (let id = 1; id <= options.requests; id++) plans.push(drawPlan(random, id, options));
	return plans.sort((a, b) => a.startMs - b.startMs);
}

function drawPlan(random: SeededRandom, id: number, options: PlanOptions): RequestPlan {
	const chance = (percent: number) => random.next() * 100 < percent;
	const method = METHODS[random.below(METHODS.length)]!;
	const hasBody = method === 'POST' || method === 'PUT' || method === 'PATCH' || chance(3);
	const requestBytes = hasBody ? size(random, options.bodyBytesMax) : 0;
	const misbehaviour = options.misbehave && chance(15) ? MISBEHAVIOURS[random.below(MISBEHAVIOURS.length)]! : null;
	const framings = ['length', 'chunked', 'length', 'chunked', 'close'] as const;
	// Now and then an end that stalls, with more to come than the mesh may hold.
	const stalls = chance(options.bodyBytesMax > STALL_BYTES ? 8 : 0);
	const stallMs = 500 + random.next() * 2000;
	const large = STALL_BYTES + random.below(Math.max(1, options.bodyBytesMax - STALL_BYTES));
	return {
		id,
		startMs: random.next() * options.durationMs,
		client: random.below(options.clients),
		method,
		path: chance(30) ? '/b/x' : '/a/x',
		requestBytes: stalls && hasBody ? large : requestBytes,
		requestChunked: chance(50),
		requestGapMs: chance(15) ? random.next() * 20 : 0,
		expectContinue: hasBody && chance(5),
		lastOnConnection: chance(5),
		abortAfterMs: options.aborts && chance(8) ? random.next() * 60 : null,
		clientPauseMs: stalls ? stallMs : chance(10) ? random.next() * 80 : 0,
		status: STATUSES[random.below(STATUSES.length)]!,
		responseBytes: stalls ? large : size(random, options.bodyBytesMax),
		responseFraming: framings[random.below(framings.length)]!,
		responseGapMs: chance(15) ? random.next() * 20 : 0,
		thinkMs: chance(50) ? random.next() * 30 : 0,
		earlyHints: chance(5),
		early: chance(6),
		serverPauseMs: stalls ? stallMs : chance(10) ? random.next() * 80 : 0,
		serverCloses: chance(6),
		misbehaviour,
	};
}

/** Mostly small, sometimes none, now and then large. */
function size(random: SeededRandom, max: number): number {
	const kind = random.next();
	if (kind < 0.15) return 0;
	if (kind < 0.6) return random.below(200);
	if (kind < 0.9) return random.below(Math.min(max, 20_000));
	return random.below(max);
}
