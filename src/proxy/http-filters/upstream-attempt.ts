// One try to have a request answered by one host. Reports to its RouterRequest; after `cancel`, or
// after its own end, it is silent.
//
//   connecting ──onReady──▶ open ──response ended──▶ done
//        │ onFailure         │ onReset
//        └───────▶ done ◀────┘            cancel() leads to done from everywhere

import type { HeaderList } from '../../http/headers.ts';
import type { ClientStream, ResetReason, ResponseHead, ResponseListener } from '../../http/stream.ts';
import type { TlsInfo } from '../../net/network.ts';
import type { WeftError } from '../../std/errors.ts';
import type { Host, PendingStream, UpstreamStreamEvents } from '../upstream.ts';

/** What an attempt tells; `attempt` says which, since a late one may speak of the past. */
export interface AttemptOwner {
	attemptReady(attempt: UpstreamAttempt): void;
	attemptFailed(attempt: UpstreamAttempt, error: WeftError): void;
	attemptReset(attempt: UpstreamAttempt, reason: ResetReason, error: WeftError | null): void;
	attemptHead(attempt: UpstreamAttempt, head: ResponseHead, end: boolean): void;
	attemptData(attempt: UpstreamAttempt, bytes: Uint8Array, end: boolean): void;
	attemptTrailers(attempt: UpstreamAttempt, trailers: HeaderList): void;
	attemptDrained(attempt: UpstreamAttempt): void;
	/** Something was thrown: a bug. Ends the exchange, and nothing else. */
	attemptBroken(error: unknown): void;
}

export class UpstreamAttempt implements ResponseListener, UpstreamStreamEvents {
	/** Null while connecting and when done. */
	stream: ClientStream | null = null;
	pending: PendingStream | null = null;
	tls: TlsInfo | null = null;
	/** The final head was received. */
	headReceived = false;
	done = false;
	readonly startMs: number;

	constructor(
		private readonly owner: AttemptOwner,
		readonly host: Host,
		startMs: number,
	) {
		this.startMs = startMs;
	}

	/** Gives the host up: nothing is heard of this attempt any more. */
	cancel(): void {
		if (this.done) return;
		this.done = true;
		const { stream, pending } = this;
		this.stream = null;
		this.pending = null;
		if (stream !== null) stream.reset('cancelled');
		else pending?.cancel();
	}

	onReady(stream: ClientStream, _host: Host, tls: TlsInfo | null): void {
		if (this.done) {
			stream.reset('cancelled');
			return;
		}
		this.pending = null;
		this.stream = stream;
		this.tls = tls;
		try {
			this.owner.attemptReady(this);
		} catch (error) {
			this.owner.attemptBroken(error);
		}
	}

	onFailure(error: WeftError): void {
		if (this.done) return;
		this.done = true;
		this.pending = null;
		try {
			this.owner.attemptFailed(this, error);
		} catch (thrown) {
			this.owner.attemptBroken(thrown);
		}
	}

	onHead(head: ResponseHead, end: boolean): void {
		if (this.done) return;
		try {
			if (head.status >= 200 || head.status === 101) this.headReceived = true;
			if (end) this.finish();
			this.owner.attemptHead(this, head, end);
		} catch (error) {
			this.owner.attemptBroken(error);
		}
	}

	onData(bytes: Uint8Array, end: boolean): void {
		if (this.done) return;
		try {
			if (end) this.finish();
			this.owner.attemptData(this, bytes, end);
		} catch (error) {
			this.owner.attemptBroken(error);
		}
	}

	onTrailers(trailers: HeaderList): void {
		if (this.done) return;
		try {
			this.finish();
			this.owner.attemptTrailers(this, trailers);
		} catch (error) {
			this.owner.attemptBroken(error);
		}
	}

	onReset(reason: ResetReason, error: WeftError | null): void {
		if (this.done) return;
		this.finish();
		try {
			this.owner.attemptReset(this, reason, error);
		} catch (thrown) {
			this.owner.attemptBroken(thrown);
		}
	}

	onDrain(): void {
		if (this.done) return;
		try {
			this.owner.attemptDrained(this);
		} catch (error) {
			this.owner.attemptBroken(error);
		}
	}

	/** The stream ended by itself. It is kept until the owner has looked at it: the request may still be under way. */
	private finish(): void {
		this.done = true;
	}
}
