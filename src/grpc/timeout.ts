// The `grpc-timeout` header (gRPC over HTTP/2, "Requests"): up to eight digits and a unit.

const VALUE_MAX = 99_999_999;
/** Whole milliseconds, rounded up; null for what is no timeout. */
export function parseGrpcTimeoutMs(text: string): number | null {
	const digits = text.length - 1;
	if (digits < 1 || digits > 8) return null;
	let value = 0;
	for (let i = 0; i < digits; i++) {
		const digit = text.charCodeAt(i) - 0x30;
		if (digit < 0 || digit > 9) return null;
		value = value * 10 + digit;
	}
	switch (text[digits]) {
		case 'H':
			return value * 3_600_000;
		case 'M':
			return value * 60_000;
		case 'S':
			return value * 1000;
		case 'm':
			return value;
		case 'u':
			return Math.ceil(value / 1000);
		case 'n':
			return Math.ceil(value / 1_000_000);
		default:
			return null;
	}
}

/** In milliseconds where eight digits suffice, else in the next unit that does, rounded down. */
export function formatGrpcTimeout(timeoutMs: number): string {
	const ms = Math.floor(timeoutMs);
	if (ms <= VALUE_MAX) return `${ms}m`;
	const seconds = Math.floor(ms / 1000);
	if (seconds <= VALUE_MAX) return `${seconds}S`;
	const minutes = Math.floor(seconds / 60);
	if (minutes <= VALUE_MAX) return `${minutes}M`;
	return `${Math.min(VALUE_MAX, Math.floor(minutes / 60))}H`;
}
