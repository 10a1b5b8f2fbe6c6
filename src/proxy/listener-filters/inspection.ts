// One connection on its way through the listener filters: what it sends is kept, and shown to one filter after the
// other, until the last is done, one wants it closed, or the time is over.
//
//   accepted ──▶ filter 1 ──▶ filter 2 … ──▶ onInspected(what was found, bytes that came meanwhile)
//                   │ more bytes, or the timeout with `continue_on_listener_filters_timeout`
//                   └▶ closed: refused by a filter, ended by the client, or too late

import type { Connection, ConnectionHandler, IpAddress } from '../../net/network.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import type { WeftError } from '../../std/errors.ts';
import type { Findings, Inspector, ListenerFilter } from './listener-filter.ts';

/** Header of the PROXY protocol with all that it can announce, and a ClientHello behind it. */
const KEPT_BYTES_MAX = 16 + 65535 + 16 * 1024;

export interface InspectionSettings {
	readonly filters: readonly ListenerFilter[];
	/** 0: none. */
	readonly timeoutMs: number;
	readonly continueOnTimeout: boolean;
}

export interface InspectionListener {
	/** `received`: what came, less what was taken away; null: nothing came. Belongs to the receiver. */
	onInspected(inspection: Inspection, found: Findings, received: Uint8Array | null): void;
	/** It took longer than `timeoutMs`. `onInspected` or `onInspectionClosed` follows. */
	onInspectionTimeout(): void;
	/** The connection is gone, and was not handed on. `why`: whose doing. */
	onInspectionClosed(inspection: Inspection, why: 'filter' | 'remote' | 'error'): void;
}

/** What is known of a connection at first; `destination`: where it was headed, if another listener found out. */
export function newFindings(destination: IpAddress | null): Findings {
	return { serverName: '', applicationProtocols: [], transportProtocol: '', destination };
}

export class Inspection implements ConnectionHandler {
	private kept: Uint8Array | null;
	private keptFrom = 0;
	private keptTo: number;
	private over = false;
	private why: 'filter' | 'remote' | 'error' = 'error';
	private timer: Timer | null = null;

	/**
	 * `inspector`: of the filter before `next`, the first that wants bytes. `received`: what another listener's
	 * inspection left over; null: nothing came yet.
	 */
	constructor(
		readonly connection: Connection,
		private readonly settings: InspectionSettings,
		private readonly found: Findings,
		private inspector: Inspector | null,
		private next: number,
		received: Uint8Array | null,
		private readonly listener: InspectionListener,
		private readonly clock: Clock,
		/** Another listener accepted the connection. */
		readonly wasHandedOver: boolean,
	) {
		this.kept = received;
		this.keptTo = received?.length ?? 0;
	}

	/** May hand on in this call. */
	start(): void {
		this.connection.handler = this;
		const { timeoutMs } = this.settings;
		if (this.look() && this.advance()) return;
		if (!this.over && timeoutMs > 0) this.timer = this.clock.after(timeoutMs, () => this.late());
	}

	/** Not handed on yet: closes. */
	close(): void {
		this.giveUp('filter');
	}

	onConnect(): void {}
	onDrain(): void {}

	onData(_connection: Connection, bytes: Uint8Array): void {
		if (this.over) return;
		this.keep(bytes);
		if (this.look()) this.advance();
		// Whoever has not found out by now is not going to.
		if (!this.over && this.keptTo >= KEPT_BYTES_MAX) this.giveUp('filter');
	}

	onEnd(): void {
		this.giveUp('remote');
	}

	onClose(_connection: Connection, error: WeftError | null): void {
		this.timer?.cancel();
		if (!this.over && error === null) this.why = 'remote';
		this.over = true;
		this.listener.onInspectionClosed(this, this.why);
	}

	/** Goes through filters until one needs more. False: it does, or the connection is given up. */
	private advance(): boolean {
		const { filters } = this.settings;
		while (!this.over) {
			if (this.next === filters.length) {
				this.handOn();
				return true;
			}
			this.inspector = filters[this.next++]!.begin(this.connection, this.found);
			if (this.inspector !== null && !this.look()) return false;
		}
		return false;
	}

	/** True: this filter is done. */
	private look(): boolean {
		const { inspector, kept } = this;
		if (inspector === null) return true;
		if (kept === null || this.keptTo === this.keptFrom) return false;
		const verdict = inspector.inspect(kept.subarray(this.keptFrom, this.keptTo));
		if (verdict === 'close') this.giveUp('filter');
		if (verdict !== 'done') return false;
		this.keptFrom += inspector.takenBytes;
		this.inspector = null;
		return true;
	}

	private keep(bytes: Uint8Array): void {
		const length = this.keptTo + bytes.length;
		if (this.kept === null) this.kept = bytes.slice();
		else {
			if (length > this.kept.length) {
				const larger = new Uint8Array(Math.max(length, 2 * this.kept.length));
				larger.set(this.kept.subarray(0, this.keptTo));
				this.kept = larger;
			}
			this.kept.set(bytes, this.keptTo);
		}
		this.keptTo = length;
	}

	private late(): void {
		if (this.over) return;
		this.listener.onInspectionTimeout();
		if (this.settings.continueOnTimeout) this.handOn();
		else this.giveUp('filter');
	}

	private handOn(): void {
		this.over = true;
		this.timer?.cancel();
		const received = this.kept?.subarray(this.keptFrom, this.keptTo) ?? null;
		this.kept = null;
		this.listener.onInspected(this, this.found, received);
	}

	/** `onClose` follows. */
	private giveUp(why: 'filter' | 'remote'): void {
		if (this.over) return;
		this.over = true;
		this.why = why;
		this.connection.reset();
	}
}
