// The one place where errors of sockets, of Bun's and of our own event loop, become WeftErrors.

import { type ErrorOrigin, errorMessage, WeftError } from '../std/errors.ts';
import { type Address, formatAddress, HandshakeError, type HandshakeFailure } from './network.ts';

function platformCode(error: unknown): string {
	if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string') {
		return error.code;
	}
	return '';
}

/** @returns `address_in_use`, `address_not_available`, `permission_denied` or `listen_failed` */
export function listenError(address: Address, error: unknown): WeftError {
	if (error instanceof WeftError) return error;
	const where = formatAddress(address);
	switch (platformCode(error)) {
		case 'EADDRINUSE':
			return new WeftError('address_in_use', `${where} is already in use`, { cause: error });
		case 'EADDRNOTAVAIL':
		case 'ENOENT':
		case 'ENOTDIR':
		case 'EAFNOSUPPORT':
		case 'EINVAL':
		case 'ENAMETOOLONG':
			return new WeftError('address_not_available', `${where} is no address of this machine`, { cause: error });
		case 'EACCES':
		case 'EPERM':
		case 'EROFS':
			return new WeftError('permission_denied', `not allowed to listen on ${where}`, { cause: error });
		default:
			return new WeftError('listen_failed', `cannot listen on ${where}: ${errorMessage(error)}`, { cause: error });
	}
}

/** @returns `connect_refused`, `connect_timeout` or `connect_failed`: retry-safe, origin upstream */
export function connectError(address: Address, error: unknown): WeftError {
	if (error instanceof WeftError) return error;
	const where = formatAddress(address);
	const options = { origin: 'upstream', retrySafe: true, cause: error } as const;
	switch (platformCode(error)) {
		case 'ECONNREFUSED':
		// No file, or nobody behind it: for a unix socket that is the same.
		case 'ENOENT':
			return new WeftError('connect_refused', `${where} refused the connection`, options);
		case 'ETIMEDOUT':
			return new WeftError('connect_timeout', `${where} did not answer in time`, options);
		default:
			return new WeftError('connect_failed', `cannot connect to ${where}: ${errorMessage(error)}`, options);
	}
}

export function connectTimeout(address: Address, timeoutMs: number, handshaking: boolean): WeftError {
	const what = handshaking ? 'finish the TLS handshake' : 'answer';
	return new WeftError('connect_timeout', `${formatAddress(address)} did not ${what} within ${timeoutMs} ms`, {
		origin: 'upstream',
		retrySafe: true,
	});
}

/** An established connection broke. `error` undefined: it went away without a FIN. */
export function brokenError(address: Address, origin: ErrorOrigin, error: unknown): WeftError {
	const where = formatAddress(address);
	if (platformCode(error) === 'ETIMEDOUT') {
		return new WeftError('connection_timeout', `${where} no longer answers`, { origin, cause: error });
	}
	return new WeftError('connection_reset', `${where} reset the connection`, { origin, cause: error });
}

/** Before `onConnect`, so no byte of a request was sent: retry-safe for a client. */
export function handshakeError(
	address: Address,
	origin: ErrorOrigin,
	failure: HandshakeFailure,
	reason: string,
	cause?: unknown,
): HandshakeError {
	return new HandshakeError(failure, `TLS handshake with ${formatAddress(address)} failed: ${reason}`, {
		origin,
		retrySafe: origin === 'upstream',
		cause,
	});
}

/** What the TLS library or the socket under it said while the handshake was under way. */
export function handshakeFailureOf(error: unknown): HandshakeFailure {
	switch (platformCode(error)) {
		case '':
		case 'ECONNRESET':
		case 'EPIPE':
		case 'ETIMEDOUT':
			return 'closed';
		default:
			return 'protocol';
	}
}
