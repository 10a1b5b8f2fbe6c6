// The one error type. It says what failed (`code`), whose fault it is (`origin`) and whether
// the same request may be sent again elsewhere without harm (`retrySafe`). Platform errors are
// translated into it at the edge of net/; each layer above may add context by wrapping.

export type ErrorOrigin = 'downstream' | 'upstream' | 'local';

export interface WeftErrorOptions {
	/** Default `local`. */
	readonly origin?: ErrorOrigin;
	/** True only when nothing of the request can have reached a peer's application. Default false. */
	readonly retrySafe?: boolean;
	readonly cause?: unknown;
}

export class WeftError extends Error {
	/** Stable, snake_case, part of the API: `connect_refused`, `tls_handshake_failed`, … */
	readonly code: string;
	readonly origin: ErrorOrigin;
	readonly retrySafe: boolean;

	constructor(code: string, message: string, options: WeftErrorOptions = {}) {
		super(message, options.cause === undefined ? undefined : { cause: options.cause });
		this.name = 'WeftError';
		this.code = code;
		this.origin = options.origin ?? 'local';
		this.retrySafe = options.retrySafe ?? false;
	}
}

export interface ConfigErrorDetail {
	/** Which object: `HTTPRoute default/reviews`, `bootstrap /etc/weft.yaml`, `cluster "backend"`. */
	readonly object: string;
	/** Path of the field, `spec.rules[0].backendRefs[1].weight`; empty for the object itself. */
	readonly field: string;
	/** What was found there, shortened; omitted when it is secret or absent. */
	readonly found?: string;
	/** What would be right. */
	readonly expected: string;
	/** What to type or do next. */
	readonly hint?: string;
}

/** What a user wrote is wrong: object, field, found, expected, next step. */
export class ConfigError extends WeftError {
	readonly details: readonly ConfigErrorDetail[];

	constructor(details: ConfigErrorDetail | readonly ConfigErrorDetail[]) {
		const list = Array.isArray(details) ? (details as readonly ConfigErrorDetail[]) : [details as ConfigErrorDetail];
		super('invalid_config', list.map(formatConfigErrorDetail).join('\n'));
		this.name = 'ConfigError';
		this.details = list;
	}
}

export function formatConfigErrorDetail(detail: ConfigErrorDetail): string {
	const where = detail.field === '' ? detail.object : `${detail.object}: ${detail.field}`;
	const found = detail.found === undefined ? '' : `found ${detail.found}, `;
	const hint = detail.hint === undefined ? '' : ` (${detail.hint})`;
	return `${where}: ${found}expected ${detail.expected}${hint}`;
}

export function errorMessage(error: unknown): string {
	return error instanceof Error ? error.message : String(error);
}
