import { expect, test } from 'bun:test';
import { readdirSync } from 'node:fs';
import type { ClientTlsOptions } from './network.ts';
import { SystemNetwork } from './system-network.ts';
import { Recorder } from './testing-recorder.ts';

const AT_ONCE = 16;
const ROUNDS = 10;
const LIMIT_MS = 30_000;

const descriptors = () => readdirSync('/proc/self/fd').length;
const tls: ClientTlsOptions = { rootsPem: '', serverName: '' };

// A queue of connections that is full answers as an address that nobody has: not at all.
test.skipIf(process.platform !== 'linux').each([
	['TCP', undefined],
	['TLS', tls],
])('%s connects that are given up do not pile up with the kernel', async (_, options) => {
	const network = new SystemNetwork();
	const listener = network.listen({ address: { kind: 'ip', host: '127.0.0.1', port: 0 }, backlog: 1 }, (connection) =>
		connection.reset(),
	);
	expect(listener.pauseAccepting()).toBe(true);
	const before = descriptors();
	let given = 0;
	const connected: Recorder[] = [];
	for (let round = 0; round < ROUNDS; round++) {
		const recorders = Array.from({ length: AT_ONCE }, () => {
			const recorder = new Recorder();
			const timeoutMs = 50;
			recorder.connection = network.connect(
				{ address: listener.address, timeoutMs, ...(options ? { tls: options } : {}) },
				recorder,
			);
			return recorder;
		});
		for (const recorder of recorders) {
			await recorder.until(() => recorder.isClosed || recorder.events.includes('connect'));
			if (recorder.isClosed) given += 1;
			else connected.push(recorder);
		}
	}
	expect(given).toBeGreaterThan((ROUNDS - 1) * AT_ONCE);
	// Those of the first round, at most, and the few that are let be.
	const deadline = performance.now() + LIMIT_MS;
	while (network.abandonedConnects > 2 * AT_ONCE && performance.now() < deadline) await Bun.sleep(1);
	expect(network.abandonedConnects).toBeLessThanOrEqual(2 * AT_ONCE);
	expect(descriptors() - before).toBeLessThanOrEqual(3 * AT_ONCE);
	for (const recorder of connected) recorder.connection?.reset();
	listener.close();
});
