// PINGs that find out whether the peer is still there (Envoy `connection_keepalive`).

import type { Clock, Timer } from '../std/clock.ts';
import type { Http2KeepAlive } from './limits.ts';

export class KeepAlive {
	private readonly timer: Timer;
	private waiting = false;
	private lastHeardMs: number;

	constructor(
		private readonly options: Http2KeepAlive,
		private readonly clock: Clock,
		private readonly random: () => number,
		private readonly sendPing: () => void,
		private readonly onTimeout: () => void,
	) {
		this.lastHeardMs = clock.nowMs();
		this.timer = clock.after(0, () => this.onTimer());
		this.timer.cancel();
		this.waitForNext();
	}

	/** Anything at all came from the peer. */
	heard(): void {
		if (this.options.idleIntervalMs > 0) this.lastHeardMs = this.clock.nowMs();
	}

	/** The answer came. */
	answered(): void {
		if (!this.waiting) return;
		this.waiting = false;
		this.waitForNext();
	}

	/** A stream is about to begin. */
	beforeStream(): void {
		const { idleIntervalMs } = this.options;
		if (idleIntervalMs > 0 && !this.waiting && this.clock.nowMs() - this.lastHeardMs >= idleIntervalMs) this.ping();
	}

	stop(): void {
		this.timer.cancel();
	}

	private onTimer(): void {
		if (this.waiting) this.onTimeout();
		else this.ping();
	}

	private ping(): void {
		this.waiting = true;
		this.sendPing();
		this.timer.restart(this.options.timeoutMs);
	}

	private waitForNext(): void {
		const { intervalMs, jitterPercent } = this.options;
		if (intervalMs > 0) this.timer.restart(intervalMs * (1 + (jitterPercent / 100) * this.random()));
		else this.timer.cancel();
	}
}
