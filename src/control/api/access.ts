// Who may do what at which door. The unix socket's file mode is its access check. On TCP the
// machine may read; the Host header must be a loopback name, so that a web page whose name was
// rebound to 127.0.0.1 gets nothing; and writing needs the bearer token of the data directory.

import { createHash, timingSafeEqual } from 'node:crypto';
import { ApiError } from './api-error.ts';

export type Door = 'unix' | 'tcp';

const READING = new Set(['GET', 'HEAD']);

export class AccessCheck {
	private readonly tokenDigest: Buffer;

	constructor(token: string) {
		this.tokenDigest = digest(token);
	}

	/** @throws ApiError 400, 401, 403 */
	check(request: Request, door: Door): void {
		if (door === 'unix') return;
		const host = request.headers.get('host') ?? '';
		if (!isLoopbackHost(host)) {
			throw new ApiError(
				403,
				'Forbidden',
				`host ${JSON.stringify(host.slice(0, 100))} is not a name of this machine's loopback`,
			);
		}
		if (READING.has(request.method)) return;
		const authorization = request.headers.get('authorization') ?? '';
		const token = /^Bearer ([!-~]{1,512})$/i.exec(authorization)?.[1];
		if (token === undefined) {
			throw new ApiError(
				401,
				'Unauthorized',
				'writing over TCP needs "Authorization: Bearer TOKEN"; the token is in the data directory',
			);
		}
		if (!timingSafeEqual(digest(token), this.tokenDigest)) {
			throw new ApiError(401, 'Unauthorized', 'the bearer token is not the one of this control plane');
		}
	}
}

/** `localhost`, a name below it, 127.x.y.z or [::1], with or without a port. */
export function isLoopbackHost(host: string): boolean {
	return /^((?:[a-z0-9-]{1,63}\.){0,4}localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i.test(host);
}

function digest(text: string): Buffer {
	return createHash('sha256').update(text).digest();
}
