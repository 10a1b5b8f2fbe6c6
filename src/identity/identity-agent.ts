// A sidecar's own identity: makes a key that never leaves the process, has it signed, and renews it
// at half its life. What the proxy reads of it is IdentitySource; the certificate of the moment is
// always whole (key, chain and roots change together).
//
//              signed                      half of life, ± 10 %
//   joining ───────────▶ holding ─────────────────────────────────▶ renewing
//      │ refused             ▲                signed                  │   │
//      ▼                     └────────────────────────────────────────┘   │ life over, or refused
//   failed ◀──────────────────────────────────────────────────────────────┘ and life over
//
// The control plane being away only delays: joining and renewing try again with backoff. A restarted
// agent that finds its last certificate on disk, still good, holds at once and renews in its time.

import type { IdentitySource, WorkloadIdentity } from '../net/identity-source.ts';
import { assert } from '../std/assert.ts';
import type { Clock, Timer } from '../std/clock.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import type { Random } from '../std/random.ts';
import type { CertificateClient, SigningCredential } from './certificate-client.ts';
import { loadIdentity, saveIdentity } from './identity-file.ts';
import { checkedIdentity, makeSigningKey } from './workload-certificate.ts';

export interface IdentityAgentOptions {
	/** What the certificate must say. */
	readonly spiffeId: string;
	readonly client: CertificateClient;
	/** Good for one call; null when there is none (a restart). */
	readonly joinToken: string | null;
	/** By which the control plane is recognised when joining, PEM. */
	readonly rootsPem: string;
	/** File in which the identity is kept between starts; null: nowhere. */
	readonly file: string | null;
	readonly clock: Clock;
	readonly random: Random;
	/** Asked for; default 24 h. */
	readonly validityMs?: number;
	/** There will be no certificate any more: `identity_expired`, or `identity_refused`. */
	readonly onFailed: (error: WeftError) => void;
}

type State =
	| { readonly kind: 'idle' }
	/** No certificate yet. */
	| { readonly kind: 'joining'; readonly retry: Timer | null }
	| { readonly kind: 'holding'; readonly identity: WorkloadIdentity; readonly renewal: Timer; readonly expiry: Timer }
	| {
			readonly kind: 'renewing';
			readonly identity: WorkloadIdentity;
			readonly retry: Timer | null;
			readonly expiry: Timer;
	  }
	| { readonly kind: 'failed'; readonly error: WeftError }
	| { readonly kind: 'stopped' };

const VALIDITY_MS = 24 * 60 * 60 * 1000;
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;
const RENEWAL_JITTER = 0.1;
const log = new Logger('identity');

export class IdentityAgent implements IdentitySource {
	private state: State = { kind: 'idle' };
	private token: string | null;
	private attempts = 0;
	private saving: Promise<void> = Promise.resolve();
	private readonly subscribers = new Set<(identity: WorkloadIdentity) => void>();

	constructor(private readonly options: IdentityAgentOptions) {
		this.token = options.joinToken;
	}

	/** Null before the first certificate, and when it has expired. */
	current(): WorkloadIdentity | null {
		return this.state.kind === 'holding' || this.state.kind === 'renewing' ? this.state.identity : null;
	}

	subscribe(onChange: (identity: WorkloadIdentity) => void): () => void {
		this.subscribers.add(onChange);
		const present = this.current();
		if (present !== null) onChange(present);
		return () => {
			this.subscribers.delete(onChange);
		};
	}

	/** Begins; the first certificate is told to subscribers, and that there will be none to `onFailed`. */
	async start(): Promise<void> {
		assert(this.state.kind === 'idle', 'an identity agent starts once');
		this.setState({ kind: 'joining', retry: null });
		const saved = await this.loadSaved();
		// A token is fresher than what is on disk: the control plane may have changed its root since.
		if (this.token === null && saved === null) {
			this.fail(
				new WeftError('identity_refused', 'there is neither a join token nor a saved certificate that is good'),
			);
			return;
		}
		if (this.token === null) this.hold(saved!);
		else await this.obtain(saved);
	}

	/** No callback follows. Resolves when what was being saved is. */
	stop(): Promise<void> {
		this.subscribers.clear();
		this.setState({ kind: 'stopped' });
		return this.saving;
	}

	private async loadSaved(): Promise<WorkloadIdentity | null> {
		const { file, spiffeId, clock } = this.options;
		if (file === null) return null;
		try {
			return await loadIdentity(file, spiffeId, clock.wallMs());
		} catch (error) {
			log.warning('the saved identity is not used', { reason: errorMessage(error) });
			return null;
		}
	}

	/** One attempt. `fallback` is held when the authority is away. */
	private async obtain(fallback: WorkloadIdentity | null): Promise<void> {
		const credential = this.credential();
		if (credential === null) return;
		let identity: WorkloadIdentity;
		try {
			const { privateKeyPem, csrPem } = await makeSigningKey();
			const validityMs = this.options.validityMs ?? VALIDITY_MS;
			const chainPem = await this.options.client.createCertificate(csrPem, validityMs, credential);
			const rootsPem = credential.kind === 'token' ? credential.rootsPem : credential.identity.rootsPem;
			const parts = { chainPem, privateKeyPem, rootsPem };
			identity = await checkedIdentity(parts, this.options.spiffeId, this.options.clock.wallMs());
		} catch (error) {
			this.onAttemptFailed(error, credential, fallback);
			return;
		}
		if (this.ended()) return;
		this.token = null;
		this.attempts = 0;
		this.hold(identity);
		log.info('certificate issued', {
			spiffe_id: identity.spiffeId,
			not_after: new Date(identity.notAfterMs).toISOString(),
		});
		this.saving = this.save(identity);
		await this.saving;
	}

	private onAttemptFailed(error: unknown, credential: SigningCredential, fallback: WorkloadIdentity | null): void {
		if (this.ended()) return;
		const refused = error instanceof WeftError && error.code === 'ca_refused';
		// A token that was refused stays refused; a certificate may be taken again once the control plane knows us.
		if (refused && credential.kind === 'token') this.token = null;
		if (fallback !== null) {
			log.warning('starting from the saved certificate', { reason: errorMessage(error) });
			this.hold(fallback);
			return;
		}
		const { state } = this;
		assert(state.kind === 'joining' || state.kind === 'renewing', 'an attempt is made in joining and renewing');
		if (refused && state.kind === 'joining') {
			this.fail(new WeftError('identity_refused', errorMessage(error), { cause: error }));
			return;
		}
		const delayMs = this.backoffMs();
		log.warning(state.kind === 'joining' ? 'no certificate yet' : 'the certificate was not renewed', {
			reason: errorMessage(error),
			next_attempt_ms: Math.round(delayMs),
		});
		const retry = this.options.clock.after(delayMs, () => void this.obtain(null));
		this.setState({ ...state, retry });
	}

	/** How to show who we are now; null when there is nothing to show, and then the agent has failed. */
	private credential(): SigningCredential | null {
		if (this.token !== null) return { kind: 'token', token: this.token, rootsPem: this.options.rootsPem };
		const identity = this.current();
		if (identity !== null) return { kind: 'certificate', identity };
		this.fail(new WeftError('identity_refused', 'the join token is used up and there is no certificate'));
		return null;
	}

	private hold(identity: WorkloadIdentity): void {
		const { clock, random } = this.options;
		const nowMs = clock.wallMs();
		const lifeMs = identity.notAfterMs - identity.notBeforeMs;
		const share = 0.5 + RENEWAL_JITTER * (2 * random.next() - 1);
		const renewalInMs = Math.max(0, identity.notBeforeMs + lifeMs * share - nowMs);
		// A token in hand, after a start from disk, is used soon; else half the life is waited for.
		const dueInMs = this.token === null ? renewalInMs : Math.min(renewalInMs, this.backoffMs());
		this.setState({
			kind: 'holding',
			identity,
			renewal: clock.after(dueInMs, () => this.renew()),
			expiry: clock.after(identity.notAfterMs - nowMs, () => this.expire(identity)),
		});
		for (const subscriber of this.subscribers) subscriber(identity);
	}

	private renew(): void {
		const { state } = this;
		assert(state.kind === 'holding', 'only what is held is renewed');
		this.setState({ kind: 'renewing', identity: state.identity, retry: null, expiry: state.expiry });
		void this.obtain(null);
	}

	private expire(identity: WorkloadIdentity): void {
		const when = new Date(identity.notAfterMs).toISOString();
		this.fail(
			new WeftError(
				'identity_expired',
				`the certificate of ${identity.spiffeId} expired at ${when} and was not renewed`,
			),
		);
	}

	private async save(identity: WorkloadIdentity): Promise<void> {
		if (this.options.file === null) return;
		try {
			await saveIdentity(this.options.file, identity);
		} catch (error) {
			log.warning('the identity could not be saved', { reason: errorMessage(error) });
		}
	}

	private fail(error: WeftError): void {
		if (this.ended()) return;
		this.setState({ kind: 'failed', error });
		log.error(error.message);
		this.options.onFailed(error);
	}

	private ended(): boolean {
		return this.state.kind === 'failed' || this.state.kind === 'stopped';
	}

	/** Doubles from attempt to attempt, half of it at random, so that many agents do not come at once. */
	private backoffMs(): number {
		const ceilingMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.attempts, 16));
		this.attempts += 1;
		return ceilingMs * (0.5 + 0.5 * this.options.random.next());
	}

	/** A state's timers end with it, but for the expiry, which lasts as long as the certificate. */
	private setState(next: State): void {
		const previous = this.state;
		if ('retry' in previous) previous.retry?.cancel();
		if ('renewal' in previous) previous.renewal.cancel();
		if ('expiry' in previous && (!('expiry' in next) || next.expiry !== previous.expiry)) previous.expiry.cancel();
		this.state = next;
	}
}
