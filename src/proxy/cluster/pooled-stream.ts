// One request on a pooled connection: passes both directions through, notes what was written and
// heard, and tells the pool once when the request is over. It also settles the race in which a host
// closes a kept connection just as it is used again: what cannot have been processed, or may be
// repeated (RFC 9110 §9.2.2) and got no answer, is reported as `refused`.

import type { HeaderList } from '../../http/headers.ts';
import { isIdempotent } from '../../http/methods.ts';
import type { ClientStream, RequestHead, ResetReason, ResponseHead, ResponseListener } from '../../http/stream.ts';
import { WeftError } from '../../std/errors.ts';
import type { Counter } from '../../telemetry/registry.ts';

export interface PooledStreamOwner {
	/** Once: both directions have ended, or the stream was reset. */
	streamOver(stream: PooledStream): void;
}

export class PooledStream implements ClientStream, ResponseListener {
	/** Set by the pool right after the codec made it. */
	inner!: ClientStream;
	private headWritten = false;
	private idempotent = false;
	private heard = false;
	private requestEnded = false;
	private responseEnded = false;
	private over = false;

	/**
	 * @param reused the connection has served a request before
	 */
	constructor(
		private readonly listener: ResponseListener,
		private readonly reused: boolean,
		private readonly owner: PooledStreamOwner,
		/** Local resets before the end are counted here. */
		private readonly localResets: Counter,
	) {}

	writeHead(head: RequestHead, end: boolean): void {
		this.headWritten = true;
		this.idempotent = isIdempotent(head.method);
		if (end) this.requestEnded = true;
		this.inner.writeHead(head, end);
		if (end) this.settle();
	}

	writeData(bytes: Uint8Array, end: boolean): boolean {
		if (end) this.requestEnded = true;
		const more = this.inner.writeData(bytes, end);
		if (end) this.settle();
		return more;
	}

	writeTrailers(trailers: HeaderList): void {
		this.requestEnded = true;
		this.inner.writeTrailers(trailers);
		this.settle();
	}

	reset(reason: ResetReason): void {
		if (!this.over) this.localResets.inc();
		this.inner.reset(reason);
		this.finish();
	}

	pause(): void {
		this.inner.pause();
	}

	resume(): void {
		this.inner.resume();
	}

	onHead(head: ResponseHead, end: boolean): void {
		this.heard = true;
		if (end) this.endResponse();
		this.listener.onHead(head, end);
	}

	onData(bytes: Uint8Array, end: boolean): void {
		if (end) this.endResponse();
		this.listener.onData(bytes, end);
	}

	onTrailers(trailers: HeaderList): void {
		this.endResponse();
		this.listener.onTrailers(trailers);
	}

	onReset(reason: ResetReason, error: WeftError | null): void {
		this.finish();
		if (reason !== 'connection_lost' || this.heard) {
			this.listener.onReset(reason, error);
		} else if (!this.headWritten || (this.reused && this.idempotent)) {
			const why = this.headWritten ? 'closed as it was used again' : 'closed before the request was sent';
			const options = { origin: 'upstream', retrySafe: true, cause: error ?? undefined } as const;
			this.listener.onReset('refused', new WeftError('connection_lost', `upstream connection ${why}`, options));
		} else {
			this.listener.onReset(reason, error);
		}
	}

	onDrain(): void {
		this.listener.onDrain();
	}

	/** For the connection that goes away under it. */
	finish(): void {
		if (this.over) return;
		this.over = true;
		this.owner.streamOver(this);
	}

	private endResponse(): void {
		this.responseEnded = true;
		this.settle();
	}

	private settle(): void {
		if (this.requestEnded && this.responseEnded) this.finish();
	}
}
