// One-time join tokens: by one, a workload that has no certificate yet shows that the control plane
// itself handed it out a moment ago, for one instance. A token is `ID.SECRET`; only the secret's
// hash is kept, found by the ID and compared in constant time. All are lost with the process, which
// is right: whoever holds one asks for another.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../std/clock.ts';
import { WeftError } from '../std/errors.ts';

/** What a token speaks for. */
export interface JoinGrant {
	readonly namespace: string;
	readonly serviceAccount: string;
	/** `reviews-v2-7f3a` */
	readonly instance: string;
}

export const JOIN_TOKEN_LIFE_MS = 5 * 60 * 1000;
const OUTSTANDING_MAX = 10_000;
const ID_BYTES = 16;
const SECRET_BYTES = 32;
const TOKEN_PATTERN = /^([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})$/;

interface Outstanding {
	readonly grant: JoinGrant;
	readonly secretHash: Buffer;
	readonly expiresAtMs: number;
}

export class JoinTokens {
	/** In the order they were made, which is the order in which they expire. */
	private readonly outstanding = new Map<string, Outstanding>();

	constructor(
		private readonly clock: Clock,
		private readonly outstandingMax = OUTSTANDING_MAX,
	) {}

	/** @throws WeftError `too_many_tokens` when that many wait to be used. */
	issue(grant: JoinGrant): string {
		this.dropExpired();
		if (this.outstanding.size >= this.outstandingMax) {
			throw new WeftError('too_many_tokens', `${this.outstanding.size} join tokens wait to be used; try again later`);
		}
		const id = randomBytes(ID_BYTES).toString('base64url');
		const secret = randomBytes(SECRET_BYTES).toString('base64url');
		this.outstanding.set(id, {
			grant,
			secretHash: hash(secret),
			expiresAtMs: this.clock.nowMs() + JOIN_TOKEN_LIFE_MS,
		});
		return `${id}.${secret}`;
	}

	/** What the token speaks for, and the token is used up; null: unknown, used, expired or wrong. */
	redeem(token: string): JoinGrant | null {
		const parts = TOKEN_PATTERN.exec(token);
		if (parts === null) return null;
		const found = this.outstanding.get(parts[1]!);
		if (found === undefined) return null;
		if (!timingSafeEqual(found.secretHash, hash(parts[2]!))) return null;
		this.outstanding.delete(parts[1]!);
		return found.expiresAtMs > this.clock.nowMs() ? found.grant : null;
	}

	get outstandingCount(): number {
		this.dropExpired();
		return this.outstanding.size;
	}

	private dropExpired(): void {
		const nowMs = this.clock.nowMs();
		for (const [id, token] of this.outstanding) {
			if (token.expiresAtMs > nowMs) return;
			this.outstanding.delete(id);
		}
	}
}

function hash(secret: string): Buffer {
	return createHash('sha256').update(secret).digest();
}
