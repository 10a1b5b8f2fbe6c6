// Names to addresses through the system's resolver, so that /etc/hosts, search domains and
// nsswitch mean what they mean for every other program on the machine.

import { lookup } from 'node:dns';
import type { Clock } from '../std/clock.ts';
import { errorMessage, WeftError } from '../std/errors.ts';
import type { ResolvedName } from './network.ts';

/** The system's resolver does not tell the record's. */
export const RESOLVED_TTL_MS = 5_000;
const RESOLVE_TIMEOUT_MS = 5_000;
const ADDRESSES_MAX = 1024;
const NAME_LENGTH_MAX = 253;

/** @throws WeftError `name_not_found`, `resolver_failed` (also when it takes longer than 5 s) */
export function resolveName(name: string, clock: Clock): Promise<ResolvedName> {
	return new Promise((resolve, reject) => {
		if (name === '' || name.length > NAME_LENGTH_MAX || !/^[\w.:-]+$/.test(name)) {
			reject(new WeftError('name_not_found', `"${name.slice(0, NAME_LENGTH_MAX)}" is no name`));
			return;
		}
		const timer = clock.after(RESOLVE_TIMEOUT_MS, () => {
			reject(new WeftError('resolver_failed', `${name}: no answer within ${RESOLVE_TIMEOUT_MS} ms`));
		});
		lookup(name, { all: true }, (error, found) => {
			timer.cancel();
			if (error === null || error === undefined) {
				const addresses = [...new Set(found.map((one) => one.address))].slice(0, ADDRESSES_MAX);
				resolve({ addresses, ttlMs: RESOLVED_TTL_MS });
				return;
			}
			const isUnknown = /NOTFOUND|NODATA|EAI_NONAME/.test(String((error as { code?: unknown }).code));
			reject(
				isUnknown
					? new WeftError('name_not_found', `${name} has no address`, { cause: error })
					: new WeftError('resolver_failed', `${name}: ${errorMessage(error)}`, { cause: error }),
			);
		});
	});
}
