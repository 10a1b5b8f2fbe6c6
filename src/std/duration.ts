// Durations as users write them: Go's notation cut down to what GEP-2257 (Gateway API) allows,
// one to four parts of at most five digits with the units h, m, s and ms: `1h30m`, `500ms`, `0s`.

const DURATION = /^(?:[0-9]{1,5}(?:h|ms|m|s)){1,4}$/;
const PART = /([0-9]{1,5})(h|ms|m|s)/g;
const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** Milliseconds; null when `text` is not a duration (GEP-2257). */
export function parseDurationMs(text: string): number | null {
	if (text.length > 32 || !DURATION.test(text)) return null;
	let totalMs = 0;
	for (const [, digits, unit] of text.matchAll(PART)) totalMs += Number(digits) * (UNIT_MS[unit ?? ''] ?? 0);
	return totalMs;
}

/** The shortest GEP-2257 form of whole milliseconds: `90000` is `1m30s`. Fractions are rounded. */
export function formatDuration(durationMs: number): string {
	let restMs = Math.max(0, Math.round(durationMs));
	if (restMs === 0) return '0s';
	let text = '';
	for (const unit of ['h', 'm', 's', 'ms']) {
		const unitMs = UNIT_MS[unit] ?? 1;
		const count = Math.floor(restMs / unitMs);
		if (count > 0) text += `${count}${unit}`;
		restMs -= count * unitMs;
	}
	return text;
}

/** For people, one or two units: `45s`, `3m12s`, `5h2m`, `4d3h`, as `kubectl` prints ages. */
export function humanDuration(durationMs: number): string {
	const seconds = Math.max(0, Math.floor(durationMs / 1000));
	if (seconds < 120) return `${seconds}s`;
	const minutes = Math.floor(seconds / 60);
	if (minutes < 10) return joined(minutes, 'm', seconds % 60, 's');
	if (minutes < 180) return `${minutes}m`;
	const hours = Math.floor(minutes / 60);
	if (hours < 8) return joined(hours, 'h', minutes % 60, 'm');
	if (hours < 48) return `${hours}h`;
	const days = Math.floor(hours / 24);
	return days < 8 ? joined(days, 'd', hours % 24, 'h') : `${days}d`;
}

function joined(large: number, largeUnit: string, small: number, smallUnit: string): string {
	return small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;
}
