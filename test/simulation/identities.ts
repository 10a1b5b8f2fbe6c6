// Certificates of the simulated mesh: two roots, and for each account leaves of both. Made once per
// process, since keys are not part of what a seed decides.

import type { IdentitySource, WorkloadIdentity } from '../../src/net/identity-source.ts';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import { spiffeId } from './mesh-config.ts';

const DAY_MS = 86_400_000;
/** Where virtual time begins. */
export const EPOCH_MS = Date.UTC(2026, 0, 1);
const VALIDITY = { notBeforeMs: EPOCH_MS - DAY_MS, notAfterMs: EPOCH_MS + 365 * DAY_MS };
const LEAVES_PER_ROOT = 2;

export class Certificates {
	private constructor(
		readonly roots: readonly string[],
		private readonly leaves: ReadonlyMap<string, readonly { readonly chainPem: string; readonly keyPem: string }[]>,
	) {}

	static async make(accounts: readonly string[]): Promise<Certificates> {
		const roots = [
			await TestAuthority.create('root 1', undefined, VALIDITY),
			await TestAuthority.create('root 2', undefined, VALIDITY),
		];
		const leaves = new Map<string, { chainPem: string; keyPem: string }[]>();
		for (const account of accounts) {
			const made = [];
			for (let index = 0; index < roots.length * LEAVES_PER_ROOT; index++) {
				const root = roots[Math.floor(index / LEAVES_PER_ROOT)]!;
				const { certificatePem, privateKeyPem } = await root.issue({ uris: [spiffeId(account)], ...VALIDITY });
				made.push({ chainPem: certificatePem, keyPem: privateKeyPem });
			}
			leaves.set(account, made);
		}
		return new Certificates(
			roots.map((root) => root.certificatePem),
			leaves,
		);
	}

	/** `generation` 0 and 1: of the first root; 2 and 3: of the second. `roots`: how many are trusted, from which on. */
	identity(account: string, generation: number, rootsPem: string): WorkloadIdentity {
		const { chainPem, keyPem } = this.leaves.get(account)![generation]!;
		return {
			spiffeId: spiffeId(account),
			certificateChainPem: chainPem,
			privateKeyPem: keyPem,
			rootsPem,
			notBeforeMs: VALIDITY.notBeforeMs,
			notAfterMs: VALIDITY.notAfterMs,
		};
	}
}

export class SimulatedIdentity implements IdentitySource {
	private readonly listeners = new Set<(identity: WorkloadIdentity) => void>();

	constructor(private identity: WorkloadIdentity) {}

	current(): WorkloadIdentity {
		return this.identity;
	}

	subscribe(onChange: (identity: WorkloadIdentity) => void): () => void {
		this.listeners.add(onChange);
		onChange(this.identity);
		return () => void this.listeners.delete(onChange);
	}

	replace(identity: WorkloadIdentity): void {
		this.identity = identity;
		for (const listener of [...this.listeners]) listener(identity);
	}
}
