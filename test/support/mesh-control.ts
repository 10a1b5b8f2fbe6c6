// A control plane in this process, on a free port with a new authority, and what tests of it need:
// identities, objects from YAML, waiting until something is so.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { findKind } from '../../src/config/kinds.ts';
import { ObjectStore } from '../../src/config/object-store.ts';
import { ControlPlane } from '../../src/control/control-plane.ts';
import { CertificateAuthority } from '../../src/identity/certificate-authority.ts';
import { JoinTokens } from '../../src/identity/join-tokens.ts';
import { workloadSpiffeId } from '../../src/identity/spiffe.ts';
import { makeSigningKey } from '../../src/identity/workload-certificate.ts';
import type { WorkloadIdentity } from '../../src/net/identity-source.ts';
import { systemTimeSource, TimerWheel } from '../../src/net/timer-wheel.ts';
import type { Clock } from '../../src/std/clock.ts';
import { MemoryStore } from '../../src/store/memory-store.ts';
import type { Store } from '../../src/store/store.ts';

export interface TestControlPlane {
	readonly controlPlane: ControlPlane;
	readonly objects: ObjectStore;
	readonly authority: CertificateAuthority;
	readonly tokens: JoinTokens;
	readonly clock: Clock;
	readonly port: number;
	/** Scratch, removed by `stop`. */
	readonly directory: string;
	/** Creates or updates each document of a YAML text. */
	apply(yaml: string): Promise<void>;
	identity(namespace: string, serviceAccount: string): Promise<WorkloadIdentity>;
	stop(): Promise<void>;
}

export async function startTestControlPlane(store: Store = new MemoryStore()): Promise<TestControlPlane> {
	const directory = mkdtempSync(join(tmpdir(), 'weft-control-'));
	const clock = new TimerWheel(systemTimeSource());
	const authority = await CertificateAuthority.open({ directory: join(directory, 'ca'), clock });
	const tokens = new JoinTokens(clock);
	const objects = await ObjectStore.open(store);
	const listen = { address: '127.0.0.1', port: 0 };
	const controlPlane = new ControlPlane({ store, objects, clock, authority, tokens, listen });
	const { port } = await controlPlane.start();
	return {
		controlPlane,
		objects,
		authority,
		tokens,
		clock,
		port,
		directory,
		async apply(yaml) {
			for (const document of parseAllDocuments(yaml)) {
				const object: { apiVersion: string; kind: string } = document.toJS();
				const kind = findKind(object.apiVersion, object.kind);
				if (kind === null) throw new Error(`no kind ${object.apiVersion} ${object.kind}`);
				await objects.apply(kind, object);
			}
		},
		async identity(namespace, serviceAccount) {
			const key = await makeSigningKey();
			const spiffeId = workloadSpiffeId({ trustDomain: authority.trustDomain, namespace, serviceAccount });
			const signed = await authority.signWorkload({ csrPem: key.csrPem, spiffeId });
			return {
				spiffeId,
				certificateChainPem: signed.chainPem[0]!,
				privateKeyPem: key.privateKeyPem,
				rootsPem: authority.rootsPem,
				notBeforeMs: clock.wallMs(),
				notAfterMs: signed.notAfterMs,
			};
		},
		async stop() {
			await controlPlane.stop();
			rmSync(directory, { recursive: true, force: true });
		},
	};
}

/** Looks again until `check` gives something; fails after `timeoutMs` with what `check` threw or `what`. */
export async function eventually<T>(
	what: string,
	check: () => T | null | undefined | false | Promise<T | null | undefined | false>,
	timeoutMs = 10_000,
): Promise<T> {
	const deadline = performance.now() + timeoutMs;
	let last: unknown = null;
	for (;;) {
		try {
			const found = await check();
			if (found !== null && found !== undefined && found !== false) return found;
			last = null;
		} catch (error) {
			last = error;
		}
		if (performance.now() > deadline) throw last ?? new Error(`not within ${timeoutMs} ms: ${what}`);
		await Bun.sleep(20);
	}
}
