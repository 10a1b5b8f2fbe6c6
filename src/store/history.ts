// What both embedded engines share: the checks of an expectation and of a write, and the delivery
// of events. Events are queued for each watch when they are committed and delivered in a later
// microtask, so that a watcher never runs inside a write, and what was committed together arrives
// as one batch.
//
//   commit ──▶ queue of each watch ──(microtask)──▶ onEvents(batch)

import { errorMessage, WeftError } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import type { Expectation, StoredEntry, StoreEvent, Watch } from './store.ts';

/** Events kept for watches that begin in the past. */
export const HISTORY_EVENTS_MAX = 10_000;
/** Characters of the values in the events kept. */
export const HISTORY_CHARACTERS_MAX = 64 << 20;
export const KEY_CHARACTERS_MAX = 1024;
export const VALUE_CHARACTERS_MAX = 4 << 20;

const log = new Logger('store');

export function revisionOf(event: StoreEvent): number {
	return event.type === 'put' ? event.entry.revision : event.revision;
}

export function keyOf(event: StoreEvent): string {
	return event.type === 'put' ? event.entry.key : event.previous.key;
}

/** What an event weighs against `HISTORY_CHARACTERS_MAX`. */
export function weightOf(event: StoreEvent): number {
	const previous = event.previous?.value.length ?? 0;
	return event.type === 'put' ? previous + event.entry.value.length : previous;
}

/** Null when `current` is what was expected. */
export function conflictOf(key: string, current: StoredEntry | null, expect: Expectation): WeftError | null {
	switch (expect.kind) {
		case 'any':
			return null;
		case 'absent':
			return current === null
				? null
				: new WeftError('conflict', `${key} exists already, at revision ${current.revision}`);
		case 'revision':
			if (current === null)
				return new WeftError('conflict', `${key} is not there, expected revision ${expect.revision}`);
			return current.revision === expect.revision
				? null
				: new WeftError('conflict', `${key} is at revision ${current.revision}, expected ${expect.revision}`);
	}
}

/** @throws WeftError `too_large` */
export function checkWrite(key: string, value: string): void {
	if (key.length === 0 || key.length > KEY_CHARACTERS_MAX) {
		throw new WeftError('too_large', `a key has 1 to ${KEY_CHARACTERS_MAX} characters, this one ${key.length}`);
	}
	if (value.length > VALUE_CHARACTERS_MAX) {
		throw new WeftError('too_large', `${key}: ${value.length} characters, at most ${VALUE_CHARACTERS_MAX} are kept`);
	}
}

/** @throws WeftError `compacted` when a watch cannot begin after `afterRevision` */
export function checkWatchStart(afterRevision: number, oldestRevision: number, currentRevision: number): void {
	if (afterRevision > currentRevision) {
		throw new WeftError('compacted', `revision ${afterRevision} is ahead of the store, which is at ${currentRevision}`);
	}
	if (afterRevision < oldestRevision) {
		throw new WeftError(
			'compacted',
			`the history after revision ${afterRevision} is gone, it begins at ${oldestRevision}`,
		);
	}
}

interface Watcher {
	readonly prefix: string;
	readonly onEvents: (events: readonly StoreEvent[]) => void;
	pending: StoreEvent[];
	scheduled: boolean;
	open: boolean;
}

export class WatchHub {
	private readonly watchers = new Set<Watcher>();

	/** `backlog` is what happened since the revision that the watch begins after. */
	watch(prefix: string, backlog: readonly StoreEvent[], onEvents: (events: readonly StoreEvent[]) => void): Watch {
		const watcher: Watcher = { prefix, onEvents, pending: [], scheduled: false, open: true };
		this.watchers.add(watcher);
		this.enqueue(watcher, backlog);
		return {
			close: () => {
				watcher.open = false;
				watcher.pending = [];
				this.watchers.delete(watcher);
			},
		};
	}

	publish(events: readonly StoreEvent[]): void {
		for (const watcher of this.watchers) this.enqueue(watcher, events);
	}

	close(): void {
		for (const watcher of this.watchers) watcher.open = false;
		this.watchers.clear();
	}

	private enqueue(watcher: Watcher, events: readonly StoreEvent[]): void {
		for (const event of events) if (keyOf(event).startsWith(watcher.prefix)) watcher.pending.push(event);
		if (watcher.pending.length === 0 || watcher.scheduled) return;
		watcher.scheduled = true;
		queueMicrotask(() => this.deliver(watcher));
	}

	private deliver(watcher: Watcher): void {
		watcher.scheduled = false;
		if (!watcher.open || watcher.pending.length === 0) return;
		const events = watcher.pending;
		watcher.pending = [];
		try {
			watcher.onEvents(events);
		} catch (error) {
			log.error('a watcher failed', { prefix: watcher.prefix, error: errorMessage(error) });
		}
	}
}
