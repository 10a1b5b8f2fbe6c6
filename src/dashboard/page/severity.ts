// Where calm ends. One scale for the whole page: edges, nodes, tables and the list of what needs
// attention all ask here.

import type { TrafficFigures } from '../../control/mesh-snapshot.ts';

export type Severity = 'ok' | 'warn' | 'bad';

const WARN_BELOW = 0.995;
const BAD_BELOW = 0.95;
/** Fewer requests than this per second are too few to judge by. */
const RATE_MIN = 0.2;

export function severityOfTraffic(traffic: Pick<TrafficFigures, 'requestRate' | 'successRate'>): Severity {
	if (traffic.requestRate < RATE_MIN || traffic.successRate >= WARN_BELOW) return 'ok';
	return traffic.successRate >= BAD_BELOW ? 'warn' : 'bad';
}

const CERTIFICATE_WARN_SECONDS = 2 * 3600;

export function severityOfCertificate(remainingSeconds: number): Severity {
	if (remainingSeconds <= 0) return 'bad';
	return remainingSeconds < CERTIFICATE_WARN_SECONDS ? 'warn' : 'ok';
}

export function worst(severities: Iterable<Severity>): Severity {
	let result: Severity = 'ok';
	for (const severity of severities) {
		if (severity === 'bad') return 'bad';
		if (severity === 'warn') result = 'warn';
	}
	return result;
}
