// `?watch=1`: events of a collection as lines of JSON, until the client goes, the timeout passes,
// or the client reads too slowly. Selectors turn a change into an ADDED or a DELETED where an object
// begins or ceases to match.

import type { AnyKind } from '../../config/kinds.ts';
import type { MeshObject } from '../../config/object.ts';
import type { ObjectEvent, ObjectStore } from '../../config/object-store.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import type { Watch } from '../../store/store.ts';
import { ApiError, statusOf, toApiError } from './api-error.ts';
import { type Representation, shown } from './representation.ts';
import type { Selector } from './selectors.ts';

const BOOKMARK_INTERVAL_MS = 30_000;
const TIMEOUT_SECONDS_DEFAULT = 1800;
const TIMEOUT_SECONDS_MAX = 24 * 3600;
/** A client that has so much left to read is cut off; it watches again from where it was. */
const BUFFER_BYTES_MAX = 8 << 20;

export interface WatchRequest {
	readonly objects: ObjectStore;
	readonly clock: Clock;
	readonly kind: AnyKind;
	readonly namespace: string | undefined;
	readonly selector: Selector | null;
	readonly how: Representation;
	/** Watch after this revision; null: what there is now as ADDED first. */
	readonly afterRevision: number | null;
	/** Say by a bookmark where the initial objects end (`sendInitialEvents`). */
	readonly markInitialEnd: boolean;
	readonly bookmarks: boolean;
	readonly timeoutSeconds: number | null;
}

type WatchType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** @throws WeftError `compacted` before anything is streamed */
export async function watchResponse(request: WatchRequest, signal: AbortSignal): Promise<Response> {
	const { objects, kind, namespace, how } = request;
	const initial = request.afterRevision === null ? await objects.list(kind, namespace) : null;
	const start = initial?.revision ?? request.afterRevision ?? 0;
	const encoder = new TextEncoder();
	let stop = () => {};

	const stream = new ReadableStream<Uint8Array>(
		{
			start(controller) {
				let revision = start;
				let watch: Watch | null = null;
				let open = true;
				const timers: Timer[] = [];
				stop = () => {
					if (!open) return;
					open = false;
					watch?.close();
					for (const timer of timers) timer.cancel();
					signal.removeEventListener('abort', stop);
					try {
						controller.close();
					} catch {
						// The stream was cancelled by the client: it is closed already.
					}
				};
				const send = (type: string, object: unknown) => {
					if (!open) return;
					controller.enqueue(encoder.encode(`${JSON.stringify({ type, object })}\n`));
					if ((controller.desiredSize ?? 0) < 0) stop();
				};
				const bookmark = (annotations?: Record<string, string>) =>
					send('BOOKMARK', bookmarkObject(how, revision, annotations));

				// Bun sends the head of a response with the first bytes of its body; a client must not wait for an
				// event to learn that its watch began. Blanks between values are nothing in JSON.
				controller.enqueue(encoder.encode('\n'));
				for (const object of initial?.items ?? []) {
					if (request.selector === null || request.selector(object)) send('ADDED', shown(object, how));
				}
				if (request.markInitialEnd) bookmark({ 'k8s.io/initial-events-end': 'true' });
				const onEvents = (events: readonly ObjectEvent[]) => {
					for (const event of events) {
						revision = event.revision;
						const type = typeFor(event, request.selector);
						if (type !== null) send(type, shown(event.object, { ...how, nowMs: request.clock.wallMs() }));
					}
				};
				try {
					watch = objects.watch(kind, namespace, start, onEvents);
				} catch (error) {
					// Only when the history was cut between the list and here; else it was checked before.
					send('ERROR', statusOf(toApiError(error)));
					stop();
					return;
				}
				const seconds = Math.min(request.timeoutSeconds ?? TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX);
				timers.push(request.clock.after(seconds * 1000, stop));
				if (request.bookmarks) {
					const timer = request.clock.after(BOOKMARK_INTERVAL_MS, () => {
						bookmark();
						if (open) timer.restart(BOOKMARK_INTERVAL_MS);
					});
					timers.push(timer);
				}
				signal.addEventListener('abort', stop);
				// The client may have gone while the list was read; there is no event then.
				if (signal.aborted) stop();
			},
			cancel: () => stop(),
		},
		new ByteLengthQueuingStrategy({ highWaterMark: BUFFER_BYTES_MAX }),
	);
	return new Response(stream, { headers: { 'content-type': 'application/json', 'cache-control': 'no-cache' } });
}

/** @throws WeftError `compacted`: checked before the response begins, so that the client gets 410 */
export function checkWatchable(request: WatchRequest): void {
	if (request.afterRevision === null) return;
	request.objects.watch(request.kind, request.namespace, request.afterRevision, () => {}).close();
}

function typeFor(event: ObjectEvent, selector: Selector | null): WatchType | null {
	const matches = (object: MeshObject) => selector === null || selector(object);
	switch (event.type) {
		case 'added':
			return matches(event.object) ? 'ADDED' : null;
		case 'deleted':
			return matches(event.object) ? 'DELETED' : null;
		case 'modified': {
			const before = matches(event.previous);
			if (matches(event.object)) return before ? 'MODIFIED' : 'ADDED';
			return before ? 'DELETED' : null;
		}
	}
}

function bookmarkObject(how: Representation, revision: number, annotations?: Record<string, string>): unknown {
	const metadata = { name: '', resourceVersion: String(revision), annotations };
	const object: MeshObject = { apiVersion: '', kind: how.kind.kind, metadata, spec: {} };
	const { spec: _, ...bare } = {
		...object,
		apiVersion: how.kind.group === '' ? how.version : `${how.kind.group}/${how.version}`,
	};
	if (how.form !== 'table') return bare;
	return { kind: 'Table', apiVersion: 'meta.k8s.io/v1', metadata, columnDefinitions: [], rows: [] };
}

/** @throws ApiError 400 */
export function parseRevision(text: string | null): number | null {
	if (text === null || text === '' || text === '0') return null;
	if (!/^\d{1,15}$/.test(text))
		throw new ApiError(400, 'BadRequest', `resourceVersion ${JSON.stringify(text.slice(0, 40))}: expected a number`);
	return Number(text);
}
