import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkloadIdentity } from '../net/identity-source.ts';
import { VirtualClock } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';
import { logSink } from '../std/log.ts';
import { SeededRandom } from '../std/random.ts';
import { CertificateAuthority } from './certificate-authority.ts';
import type { CertificateClient, SigningCredential } from './certificate-client.ts';
import { IdentityAgent } from './identity-agent.ts';

const ID = 'spiffe://cluster.local/ns/shop/sa/reviews';
const HOUR_MS = 3_600_000;
const unavailable = new WeftError('ca_unavailable', 'away', { retrySafe: true });
const refused = new WeftError('ca_refused', 'no');

/** Signs with a real authority, or fails as told; tells each call as it comes. */
class FakeClient implements CertificateClient {
	failure: WeftError | null = null;
	spiffeId = ID;
	readonly calls: SigningCredential[] = [];
	private readonly waiting: { count: number; resolve: () => void }[] = [];

	constructor(private readonly authority: CertificateAuthority) {}

	async createCertificate(csrPem: string, validityMs: number, credential: SigningCredential): Promise<string[]> {
		this.calls.push(credential);
		try {
			if (this.failure !== null) throw this.failure;
			return (await this.authority.signWorkload({ csrPem, spiffeId: this.spiffeId, validityMs })).chainPem;
		} finally {
			// After the agent has dealt with the answer: a failure is dealt with in microtasks.
			setImmediate(() => {
				for (const one of this.waiting) if (this.calls.length >= one.count) one.resolve();
			});
		}
	}

	callsReach(count: number): Promise<void> {
		return new Promise((resolve) => this.waiting.push({ count, resolve }));
	}
}

let directory: string;
let clock: VirtualClock;
let authority: CertificateAuthority;
let client: FakeClient;
let failures: WeftError[];
let logged: string[];
const agents: IdentityAgent[] = [];
const { write } = logSink;

beforeEach(async () => {
	logged = [];
	logSink.write = (line) => logged.push(line);
	directory = mkdtempSync(join(tmpdir(), 'weft-agent-'));
	clock = new VirtualClock();
	authority = await CertificateAuthority.open({ directory: join(directory, 'ca'), clock });
	client = new FakeClient(authority);
	failures = [];
});

afterEach(async () => {
	await Promise.all(agents.splice(0).map((agent) => agent.stop()));
	logSink.write = write;
	rmSync(directory, { recursive: true, force: true });
});

function agentWith(joinToken: string | null, random = new SeededRandom(1), validityMs?: number): IdentityAgent {
	const agent = new IdentityAgent({
		spiffeId: ID,
		client,
		joinToken,
		rootsPem: authority.rootsPem,
		file: join(directory, 'state', 'identity.json'),
		clock,
		random,
		validityMs,
		onFailed: (error) => failures.push(error),
	});
	agents.push(agent);
	return agent;
}

/** The next identity that the agent tells of, not counting the present one. */
function nextIdentity(agent: IdentityAgent): Promise<WorkloadIdentity> {
	const present = agent.current();
	return new Promise((resolve) => {
		const unsubscribe = agent.subscribe((identity) => {
			if (identity === present) return;
			queueMicrotask(() => unsubscribe());
			resolve(identity);
		});
	});
}

describe('joining', () => {
	test('the token is used once, and the identity is told and saved', async () => {
		const agent = agentWith('the-token');
		expect(agent.current()).toBeNull();
		await agent.start();
		const identity = agent.current()!;
		expect(identity.spiffeId).toBe(ID);
		expect(identity.rootsPem).toBe(authority.rootsPem);
		expect(identity.notAfterMs - clock.wallMs()).toBe(24 * HOUR_MS);
		expect(client.calls).toEqual([{ kind: 'token', token: 'the-token', rootsPem: authority.rootsPem }]);
		const file = join(directory, 'state', 'identity.json');
		expect(statSync(file).mode & 0o777).toBe(0o600);
		expect(statSync(join(directory, 'state')).mode & 0o777).toBe(0o700);
		const told: WorkloadIdentity[] = [];
		agent.subscribe((one) => told.push(one));
		expect(told).toEqual([identity]);
		agent.stop();
	});

	test('goes on with backoff while the control plane is away', async () => {
		client.failure = unavailable;
		const agent = agentWith('t');
		await agent.start();
		const delays: number[] = [];
		for (let attempt = 2; attempt <= 10; attempt++) {
			const dueInMs = clock.nextDueMs()! - clock.nowMs();
			delays.push(dueInMs);
			const reached = client.callsReach(attempt);
			clock.advance(dueInMs);
			await reached;
		}
		expect(Math.max(...delays)).toBeLessThanOrEqual(30_000);
		expect(Math.min(...delays)).toBeGreaterThanOrEqual(250);
		expect(delays.at(-1)!).toBeGreaterThan(10_000);
		client.failure = null;
		const joined = nextIdentity(agent);
		clock.advance(30_000);
		expect((await joined).spiffeId).toBe(ID);
		expect(failures).toEqual([]);
		agent.stop();
	});

	test('ends when the token is refused', async () => {
		client.failure = refused;
		const agent = agentWith('t');
		await agent.start();
		expect(failures.map((error) => error.code)).toEqual(['identity_refused']);
		expect(clock.nextDueMs()).toBeNull();
	});

	test('a certificate that says somebody else is not taken', async () => {
		client.spiffeId = 'spiffe://cluster.local/ns/shop/sa/other';
		const agent = agentWith('t');
		await agent.start();
		expect(agent.current()).toBeNull();
		expect(logged.join()).toContain('expected spiffe://cluster.local/ns/shop/sa/reviews');
		agent.stop();
	});

	test('without token and without saved certificate it ends', async () => {
		await agentWith(null).start();
		expect(failures.map((error) => error.code)).toEqual(['identity_refused']);
	});
});

describe('renewal', () => {
	test('comes at half of life, ten per cent about it, under the present certificate and with a new key', async () => {
		const dueHours: number[] = [];
		for (let seed = 0; seed < 8; seed++) {
			client = new FakeClient(authority);
			const agent = agentWith('t', new SeededRandom(seed));
			await agent.start();
			const first = agent.current()!;
			const dueInMs = clock.nextDueMs()! - clock.nowMs();
			dueHours.push(dueInMs / HOUR_MS);
			clock.advance(dueInMs - 1);
			expect(client.calls).toHaveLength(1);
			const renewed = nextIdentity(agent);
			clock.advance(1);
			const second = await renewed;
			expect(client.calls[1]).toEqual({ kind: 'certificate', identity: first });
			expect(second.privateKeyPem).not.toBe(first.privateKeyPem);
			expect(second.notAfterMs).toBeGreaterThan(first.notAfterMs);
			agent.stop();
		}
		expect(Math.min(...dueHours)).toBeGreaterThan(24 * 0.39);
		expect(Math.max(...dueHours)).toBeLessThan(24 * 0.61);
		expect(new Set(dueHours).size).toBe(8);
	});

	test('keeps the old certificate while the control plane is away, and takes the new one when it is back', async () => {
		const agent = agentWith('t');
		await agent.start();
		const first = agent.current()!;
		client.failure = unavailable;
		const tried = client.callsReach(2);
		clock.advance(clock.nextDueMs()! - clock.nowMs());
		await tried;
		expect(agent.current()).toBe(first);
		client.failure = null;
		const renewed = nextIdentity(agent);
		clock.advance(30_000);
		expect((await renewed).notAfterMs).toBeGreaterThan(first.notAfterMs);
		expect(failures).toEqual([]);
		agent.stop();
	});

	test('that never succeeds ends at expiry with a clear line, and nothing is left to run', async () => {
		const agent = agentWith('t', undefined, HOUR_MS / 4);
		await agent.start();
		client.failure = unavailable;
		const expiresMs = agent.current()!.notAfterMs;
		while (failures.length === 0) {
			const attempt = client.callsReach(client.calls.length + 1);
			clock.advance(clock.nextDueMs()! - clock.nowMs());
			if (failures.length === 0) await attempt;
		}
		expect(clock.wallMs()).toBe(expiresMs);
		expect(agent.current()).toBeNull();
		expect(failures[0]!.code).toBe('identity_expired');
		expect(logged.at(-1)).toContain(`the certificate of ${ID} expired at`);
		expect(clock.nextDueMs()).toBeNull();
	});
});

describe('a restart', () => {
	test('without control plane and token goes on with the saved certificate', async () => {
		const before = agentWith('t');
		await before.start();
		const identity = before.current()!;
		before.stop();
		const after = agentWith(null);
		await after.start();
		expect(after.current()).toEqual(identity);
		expect(client.calls).toHaveLength(1);
		after.stop();
	});

	test('with a token, while the control plane is away, starts from disk and uses the token later', async () => {
		const before = agentWith('t');
		await before.start();
		const identity = before.current()!;
		before.stop();
		client.failure = unavailable;
		const after = agentWith('second');
		await after.start();
		expect(after.current()).toEqual(identity);
		client.failure = null;
		const renewed = nextIdentity(after);
		clock.advance(30_000);
		expect((await renewed).privateKeyPem).not.toBe(identity.privateKeyPem);
		expect(client.calls.at(-1)).toMatchObject({ kind: 'token', token: 'second' });
		after.stop();
	});

	test('does not use a saved certificate that has expired', async () => {
		const before = agentWith('t');
		await before.start();
		before.stop();
		clock.advance(25 * HOUR_MS);
		await agentWith(null).start();
		expect(failures.map((error) => error.code)).toEqual(['identity_refused']);
		expect(logged.join()).toContain('it expired at');
	});

	test('does not use a file that others may read, or that was changed', async () => {
		const before = agentWith('t');
		await before.start();
		before.stop();
		const file = join(directory, 'state', 'identity.json');
		chmodSync(file, 0o644);
		await agentWith(null).start();
		expect(logged.join()).toContain('may be read by others');
		chmodSync(file, 0o600);
		await Bun.write(file, readFileSync(file, 'utf8').slice(0, 500));
		await agentWith(null).start();
		expect(failures).toHaveLength(2);
	});
});

test('after stop nothing is told and no timer runs', async () => {
	const agent = agentWith('t');
	await agent.start();
	let told = 0;
	agent.subscribe(() => told++);
	agent.stop();
	clock.advance(48 * HOUR_MS);
	expect(told).toBe(1);
	expect(clock.nextDueMs()).toBeNull();
	expect(failures).toEqual([]);
});
