import { beforeEach, describe, expect, test } from 'bun:test';
import { type EncodedResource, encodeResource, type ResourceView } from './resource-view.ts';
import { RESPONSE_BYTES_MAX, type ResponsePlan, SubscriptionState, type Variant } from './subscription-state.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE } from './type-urls.ts';

class FakeView implements ResourceView {
	readonly version = '1';
	readonly resources = new Map<string, EncodedResource>();

	get(_typeUrl: string, name: string) {
		return this.resources.get(name);
	}

	names() {
		return this.resources.keys();
	}

	set(name: string, text: string, typeUrl = CLUSTER_TYPE) {
		this.resources.set(name, encodeResource(typeUrl, name, Buffer.from(text)));
	}
}

let view: FakeView;
let nonce = 0;

beforeEach(() => {
	view = new FakeView();
	nonce = 0;
});

/** Sends what is due, and says what it was: `+name` and `-name`; null for nothing. */
function send(state: SubscriptionState, phase: 'update' | 'removal' = 'update'): string[] | null {
	const plan = state.plan(view, phase);
	if (plan === null) return null;
	nonce += 1;
	state.onSent(String(nonce), plan);
	return shown(plan);
}

function shown(plan: ResponsePlan): string[] {
	return [...plan.resources.map(({ name }) => `+${name}`), ...plan.removed.map((name) => `-${name}`)];
}

const DELTA = { subscribe: [], unsubscribe: [], initialVersions: {}, nonce: '', error: null };
const ack = (state: SubscriptionState, error: string | null = null) =>
	state.variant === 'delta'
		? state.onDelta({ ...DELTA, nonce: String(nonce), error })
		: state.onStateOfTheWorld({ names: [...named], nonce: String(nonce), error });
/** What a state-of-the-world client asks for at the moment. */
let named: string[] = [];

describe('delta', () => {
	const make = (typeUrl = CLUSTER_TYPE) => new SubscriptionState(typeUrl, 'delta');

	test('a first request that names nothing is a wildcard, answered even when there is nothing', () => {
		const state = make();
		state.onDelta(DELTA);
		expect(send(state)).toEqual([]);
		ack(state);
		expect(state.settled).toBe(true);
		view.set('a', '1');
		state.markChanged(new Set(['a']));
		expect(send(state)).toEqual(['+a']);
	});

	test('of types other than listeners and clusters, it is none', () => {
		const state = make(ENDPOINT_TYPE);
		view.set('a', '1');
		state.onDelta(DELTA);
		expect(send(state)).toBeNull();
		state.onDelta({ ...DELTA, subscribe: ['*'] });
		expect(send(state)).toEqual(['+a']);
	});

	test('sends only what changed, and nothing for a change that was none', () => {
		const state = make();
		view.set('a', '1');
		view.set('b', '1');
		state.onDelta(DELTA);
		expect(send(state)).toEqual(['+a', '+b']);
		ack(state);
		view.set('b', '2');
		state.markChanged(new Set(['a', 'b']));
		expect(send(state)).toEqual(['+b']);
	});

	test('holds changes back while a response is unanswered, and sends the newest of them as one', () => {
		const state = make();
		view.set('a', '1');
		state.onDelta(DELTA);
		send(state);
		for (const text of ['2', '3', '4']) {
			view.set('a', text);
			state.markChanged(new Set(['a']));
			expect(send(state)).toBeNull();
		}
		ack(state);
		expect(send(state)).toEqual(['+a']);
		expect(state.sentVersion('a')).toBe(view.get('', 'a')!.version);
	});

	test('what is gone waits for the removal phase', () => {
		const state = make();
		view.set('a', '1');
		state.onDelta(DELTA);
		send(state);
		ack(state);
		view.resources.delete('a');
		state.markChanged(new Set(['a']));
		expect(send(state)).toBeNull();
		expect(state.settled).toBe(false);
		expect(state.updatesSettled).toBe(true);
		expect(send(state, 'removal')).toEqual(['-a']);
		ack(state);
		expect(state.settled).toBe(true);
		expect(state.counts()).toEqual({ sent: 0, acknowledged: 0 });
	});

	test('what comes back before it was taken away is not taken away', () => {
		const state = make();
		view.set('a', '1');
		state.onDelta(DELTA);
		send(state);
		ack(state);
		view.resources.delete('a');
		state.markChanged(new Set(['a']));
		expect(send(state)).toBeNull();
		view.set('a', '1');
		state.markChanged(new Set(['a']));
		expect(send(state)).toBeNull();
		expect(send(state, 'removal')).toBeNull();
		expect(state.settled).toBe(true);
	});

	test('a name that does not exist is answered as removed, once, and sent when it appears', () => {
		const state = make(ENDPOINT_TYPE);
		state.onDelta({ ...DELTA, subscribe: ['x'] });
		expect(send(state)).toEqual(['-x']);
		ack(state);
		state.markChanged(new Set(['x']));
		expect(send(state)).toBeNull();
		view.set('x', '1', ENDPOINT_TYPE);
		state.markChanged(new Set(['x']));
		expect(send(state)).toEqual(['+x']);
	});

	test('a name that is subscribed to again is sent again', () => {
		const state = make(ENDPOINT_TYPE);
		view.set('x', '1', ENDPOINT_TYPE);
		state.onDelta({ ...DELTA, subscribe: ['x'] });
		send(state);
		ack(state);
		state.onDelta({ ...DELTA, subscribe: ['x'] });
		expect(send(state)).toEqual(['+x']);
	});

	test('a client that comes back is sent only what it lacks', () => {
		const state = make();
		view.set('same', '1');
		view.set('changed', '2');
		view.set('new', '1');
		const initialVersions = { same: view.get('', 'same')!.version, changed: 'old', gone: 'old' };
		state.onDelta({ ...DELTA, initialVersions });
		expect(send(state)).toEqual(['+changed', '+new']);
		ack(state);
		expect(send(state, 'removal')).toEqual(['-gone']);
		ack(state);
		expect(state.counts()).toEqual({ sent: 3, acknowledged: 3 });
	});

	test('names that are dropped are no longer sent', () => {
		const state = make(ENDPOINT_TYPE);
		view.set('x', '1', ENDPOINT_TYPE);
		state.onDelta({ ...DELTA, subscribe: ['x'] });
		send(state);
		ack(state);
		state.onDelta({ ...DELTA, unsubscribe: ['x'] });
		view.set('x', '2', ENDPOINT_TYPE);
		state.markChanged(new Set(['x']));
		expect(send(state)).toBeNull();
		expect(state.counts().sent).toBe(0);
	});

	test('a large answer is cut, and the rest follows the acknowledgement', () => {
		const state = make();
		const text = 'x'.repeat(RESPONSE_BYTES_MAX / 4);
		for (let i = 0; i < 10; i++) view.set(`r${i}`, text);
		state.onDelta(DELTA);
		const sizes: number[] = [];
		for (let sent = send(state); sent !== null; sent = send(state)) {
			sizes.push(sent.length);
			ack(state);
		}
		expect(sizes).toEqual([4, 4, 2]);
		expect(state.counts()).toEqual({ sent: 10, acknowledged: 10 });
	});

	test('a rejection stands until the resource is acknowledged, and the last good version is known', () => {
		const state = make();
		view.set('a', '1');
		state.onDelta(DELTA);
		send(state);
		ack(state);
		const good = view.get('', 'a')!.version;
		view.set('a', 'bad');
		view.set('b', '1');
		state.markChanged(new Set(['a']));
		send(state);
		expect(ack(state, 'a: no such thing')).toBe('nack');
		expect(state.rejected).toBe('a: no such thing');
		expect(state.acknowledgedVersion('a')).toBe(good);
		expect(state.counts()).toEqual({ sent: 1, acknowledged: 0 });
		// Not sent again as it is.
		expect(send(state)).toBeNull();
		state.markChanged(new Set(['b']));
		send(state);
		ack(state);
		expect(state.rejected).not.toBeNull();
		view.set('a', '3');
		state.markChanged(new Set(['a']));
		send(state);
		expect(ack(state)).toBe('ack');
		expect(state.rejected).toBeNull();
		expect(state.counts()).toEqual({ sent: 2, acknowledged: 2 });
	});

	test('a stale nonce acknowledges nothing', () => {
		const state = make();
		view.set('a', '1');
		state.onDelta(DELTA);
		send(state);
		expect(state.onDelta({ ...DELTA, nonce: '77' })).toBe('none');
		expect(state.isOutstanding).toBe(true);
	});

	test('more names than a client may ask for are refused', () => {
		const state = make(ENDPOINT_TYPE);
		const subscribe = Array.from({ length: 100_001 }, (_, i) => `n${i}`);
		expect(() => state.onDelta({ ...DELTA, subscribe })).toThrow(/more than 100000/);
	});
});

describe('state of the world', () => {
	const variant: Variant = 'state-of-the-world';
	const make = (typeUrl = CLUSTER_TYPE) => new SubscriptionState(typeUrl, variant);
	const ask = (state: SubscriptionState, names: string[], error: string | null = null) => {
		named = names;
		return state.onStateOfTheWorld({ names, nonce: nonce === 0 ? '' : String(nonce), error });
	};

	test('each change brings the whole list', () => {
		const state = make();
		view.set('a', '1');
		view.set('b', '1');
		ask(state, []);
		expect(send(state)).toEqual(['+a', '+b']);
		ask(state, []);
		view.set('b', '2');
		state.markChanged(new Set(['b']));
		expect(send(state)).toEqual(['+a', '+b']);
	});

	test('what is gone stays listed until the removal phase', () => {
		const state = make();
		view.set('a', '1');
		view.set('b', '1');
		ask(state, []);
		send(state);
		ask(state, []);
		view.resources.delete('a');
		view.set('c', '1');
		state.markChanged(new Set(['a', 'c']));
		expect(send(state)).toEqual(['+b', '+c', '+a']);
		expect(send(state, 'removal')).toBeNull();
		ask(state, []);
		expect(send(state, 'removal')).toEqual(['+b', '+c']);
		ask(state, []);
		expect(state.settled).toBe(true);
		expect(state.counts()).toEqual({ sent: 2, acknowledged: 2 });
	});

	test('endpoints are sent one by one, and their removal is not said', () => {
		const state = make(ENDPOINT_TYPE);
		view.set('x', '1', ENDPOINT_TYPE);
		view.set('y', '1', ENDPOINT_TYPE);
		ask(state, ['x', 'y']);
		expect(send(state)).toEqual(['+x', '+y']);
		ask(state, ['x', 'y']);
		view.resources.delete('y');
		view.set('x', '2', ENDPOINT_TYPE);
		state.markChanged(new Set(['x', 'y']));
		expect(send(state)).toEqual(['+x']);
		ask(state, ['x', 'y']);
		expect(send(state, 'removal')).toBeNull();
		expect(state.settled).toBe(true);
	});

	test('after new clusters the next request for endpoints is answered, though it looks like an acknowledgement', () => {
		const state = make(ENDPOINT_TYPE);
		view.set('x', '1', ENDPOINT_TYPE);
		ask(state, ['x']);
		send(state);
		ask(state, ['x']);
		expect(send(state)).toBeNull();
		state.answerNextRequest();
		ask(state, ['x']);
		expect(send(state)).toEqual(['+x']);
		ask(state, ['x']);
		expect(send(state)).toBeNull();
	});

	test('a request with a stale nonce changes nothing', () => {
		const state = make(ENDPOINT_TYPE);
		view.set('x', '1', ENDPOINT_TYPE);
		view.set('y', '1', ENDPOINT_TYPE);
		ask(state, ['x']);
		send(state);
		state.onStateOfTheWorld({ names: ['y'], nonce: '', error: null });
		expect(state.subscribes('y')).toBe(false);
		ask(state, ['x', 'y']);
		expect(send(state)).toEqual(['+y']);
	});

	test('a wildcard by naming nothing ends when something is named, and does not come back', () => {
		const state = make();
		view.set('a', '1');
		view.set('b', '1');
		ask(state, []);
		send(state);
		ask(state, ['a']);
		expect(state.subscribes('b')).toBe(false);
		expect(send(state)).toEqual(['+a']);
		ask(state, []);
		expect(send(state)).toEqual([]);
		expect(state.subscribes('a')).toBe(false);
		ask(state, ['*']);
		expect(send(state)).toEqual(['+a', '+b']);
	});

	test('named clusters that do not exist are answered with a list without them', () => {
		const state = make();
		ask(state, ['nowhere']);
		expect(send(state)).toEqual([]);
		ask(state, ['nowhere']);
		expect(send(state)).toBeNull();
	});

	test('a rejected list is not sent again until something changes', () => {
		const state = make();
		view.set('a', '1');
		ask(state, []);
		send(state);
		expect(ask(state, [], 'bad')).toBe('nack');
		expect(send(state)).toBeNull();
		view.set('a', '2');
		state.markChanged(new Set(['a']));
		send(state);
		expect(ask(state, [])).toBe('ack');
		expect(state.rejected).toBeNull();
	});
});
