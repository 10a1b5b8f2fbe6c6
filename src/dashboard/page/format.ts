// Figures as people read them. Widths stay about the same from one second to the next, and no
// rounding hides a failure: 99.996 % is never shown as 100 %.

export function formatRate(perSecond: number): string {
	if (perSecond <= 0) return '0';
	if (perSecond < 0.1) return '<0.1';
	if (perSecond < 10) return perSecond.toFixed(1);
	if (perSecond < 10_000) return String(Math.round(perSecond));
	return `${(perSecond / 1000).toFixed(perSecond < 100_000 ? 1 : 0)}k`;
}

export function formatMs(ms: number | null): string {
	if (ms === null) return '–';
	if (ms < 10) return ms.toFixed(1);
	if (ms < 10_000) return String(Math.round(ms));
	return `${(ms / 1000).toFixed(1)}k`;
}

/** Of 0…1; rounded down above 99 %. */
export function formatShare(share: number): string {
	const percent = share * 100;
	if (percent >= 100) return '100 %';
	if (percent >= 99) return `${(Math.floor(percent * 100 + 1e-6) / 100).toFixed(2)} %`;
	if (percent >= 10) return `${percent.toFixed(1)} %`;
	return `${percent.toFixed(percent < 1 && percent > 0 ? 2 : 1)} %`;
}

/** Of 0…1, without decimals: for shares of traffic. */
export function formatPart(share: number): string {
	const percent = share * 100;
	if (percent > 0 && percent < 1) return '<1 %';
	return `${Math.round(percent)} %`;
}

export function formatDuration(seconds: number): string {
	const s = Math.max(0, Math.floor(seconds));
	if (s < 60) return `${s} s`;
	if (s < 3600) return `${Math.floor(s / 60)} min`;
	if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
	if (s < 730 * 86_400) return `${Math.floor(s / 86_400)} d`;
	return `${Math.floor(s / (365.25 * 86_400))} years`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
	return `${count} ${count === 1 ? one : many}`;
}

export function secondsBetween(from: string, to: string): number {
	return (Date.parse(to) - Date.parse(from)) / 1000;
}
