// One health check of one address: a TCP connection that opens, or an HTTP/1.1 GET that is
// answered with 200…299. Reads no more of the answer than its status line.

import type { Address, Connection, Network } from '../net/network.ts';
import type { Timer } from '../std/clock.ts';

/** A status line is `HTTP/1.1 200 ` and a reason; more before the first line end is no HTTP. */
const STATUS_LINE_BYTES_MAX = 1024;

export type ProbeKind =
	| { readonly kind: 'tcp' }
	| { readonly kind: 'http'; readonly path: string; readonly host: string };

export interface Probe {
	/** No result follows. Idempotent. */
	cancel(): void;
}

/** `onResult` follows once: null when the check passed, else why it failed. */
export function probe(
	network: Network,
	address: Address,
	what: ProbeKind,
	timeoutMs: number,
	onResult: (failure: string | null) => void,
): Probe {
	let done = false;
	let received = '';
	let timer: Timer | null = null;
	let connection: Connection | null = null;
	const finish = (failure: string | null) => {
		if (done) return;
		done = true;
		timer?.cancel();
		connection?.reset();
		onResult(failure);
	};
	timer = network.clock.after(timeoutMs, () => finish(`no answer within ${timeoutMs} ms`));
	connection = network.connect(
		{ address, timeoutMs },
		{
			onConnect: (open) => {
				if (what.kind === 'tcp') finish(null);
				else open.write(requestBytes(what));
			},
			onData: (_open, bytes) => {
				received += Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
				const end = received.indexOf('\r\n');
				if (end >= 0) finish(statusFailure(received.slice(0, end)));
				else if (received.length > STATUS_LINE_BYTES_MAX) finish('the answer is not HTTP');
			},
			onDrain: () => {},
			onEnd: () => finish('the connection was closed without an answer'),
			onClose: (_open, error) => finish(error?.message ?? 'the connection was closed without an answer'),
		},
	);
	// A connection that fails within `connect` has told its result before there was one to reset.
	if (done) connection.reset();
	return {
		cancel: () => {
			done = true;
			timer.cancel();
			connection.reset();
		},
	};
}

function requestBytes({ path, host }: { readonly path: string; readonly host: string }): Uint8Array {
	return Buffer.from(
		`GET ${path} HTTP/1.1\r\nhost: ${host}\r\nuser-agent: weft-health-check\r\nconnection: close\r\n\r\n`,
	);
}

function statusFailure(line: string): string | null {
	const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(line)?.[1];
	if (status === undefined) return 'the answer is not HTTP/1.1';
	return status.startsWith('2') ? null : `status ${status}`;
}
