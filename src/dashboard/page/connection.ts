// The live stream, and what is known of it. `EventSource` reconnects by itself only after some
// failures, and never notices a peer that has gone silent: so it is watched, and made anew with
// backoff.
//
//              event                     silence, error
//  connecting ───────▶ live ───────────────────────────▶ lost
//       ▲                ▲            event               │
//       └────────────────┴──────────────◀──── new stream ─┘

import type { MeshSnapshot } from '../../control/mesh-snapshot.ts';

export type ConnectionState =
	| { readonly kind: 'connecting' }
	| { readonly kind: 'live' }
	/** `lastMs`: when the last snapshot came; null: never. */
	| { readonly kind: 'lost'; readonly lastMs: number | null };

const STREAM_URL = '/weft/v1/mesh/stream';
const SILENCE_MS = 4000;
const BACKOFF_MS = 500;
const BACKOFF_MS_MAX = 5000;

export function connect(onSnapshot: (snapshot: MeshSnapshot) => void, onState: (state: ConnectionState) => void): void {
	let source: EventSource | null = null;
	let lastMs: number | null = null;
	let failures = 0;
	let retryTimer = 0;
	let silenceTimer = 0;

	const open = () => {
		source?.close();
		source = new EventSource(STREAM_URL);
		source.addEventListener('mesh', (event) => {
			failures = 0;
			lastMs = Date.now();
			watch();
			onState({ kind: 'live' });
			onSnapshot(JSON.parse((event as MessageEvent<string>).data) as MeshSnapshot);
		});
		source.addEventListener('error', lose);
		watch();
	};
	const watch = () => {
		clearTimeout(silenceTimer);
		silenceTimer = window.setTimeout(lose, SILENCE_MS);
	};
	const lose = () => {
		source?.close();
		clearTimeout(silenceTimer);
		clearTimeout(retryTimer);
		onState({ kind: 'lost', lastMs });
		const backoff = Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** failures++);
		retryTimer = window.setTimeout(open, backoff * (0.5 + Math.random() / 2));
	};

	open();
	// A laptop that wakes up, or a tab that was frozen, should not wait for the backoff.
	document.addEventListener('visibilitychange', () => {
		if (document.visibilityState === 'visible' && (lastMs === null || Date.now() - lastMs > SILENCE_MS)) open();
	});
}
