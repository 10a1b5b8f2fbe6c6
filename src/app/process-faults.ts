// Faults of our own in the process that carries traffic: counted by place, and survived, also those
// that no boundary caught. Ending would cost every connection what should cost one.

import { FAULT_PLACES, faultSink, reportFault } from '../std/fault.ts';
import type { MetricRegistry } from '../telemetry/registry.ts';

/** `weft_faults_total{place}`: anything but 0 is a bug to report. */
export function countFaults(registry: MetricRegistry): void {
	const family = registry.counter('weft_faults_total', 'Faults of the proxy itself that were caught', ['place']);
	const counters = new Map(FAULT_PLACES.map((place) => [place, family.with(place)]));
	faultSink.count = (place) => counters.get(place)!.inc();
}

/** From now on what nobody caught is told, and the process goes on. */
export function surviveFaults(): void {
	process.on('uncaughtException', (error) => reportFault('process', 'nobody caught an exception', error));
	process.on('unhandledRejection', (reason) => reportFault('process', 'nobody caught a rejection', reason));
}
