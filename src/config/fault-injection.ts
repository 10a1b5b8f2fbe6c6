// `weft.dev/v1alpha1` FaultInjection: a delay or an error for a share of the requests of a route
// rule, which names it in an ExtensionRef filter. Gateway API has nothing for it.

import { z } from 'zod';
import { parseDurationMs } from '../std/duration.ts';
import type { KindDefinition } from './kind.ts';
import { conditions, dnsSubdomain, duration } from './schema.ts';

const percentage = z.number().min(0).max(100).default(100);

const faultInjectionSpec = z.strictObject({
	/** Waits before the request is sent on. */
	delay: z.strictObject({ fixedDelay: duration, percentage }).optional(),
	/** Answers instead of sending the request on. */
	abort: z.strictObject({ httpStatus: z.int().min(200).max(599), percentage }).optional(),
});

const faultInjectionStatus = z.strictObject({ conditions: conditions.optional() });

export type FaultInjectionSpec = z.output<typeof faultInjectionSpec>;
export type FaultInjectionStatus = z.output<typeof faultInjectionStatus>;

/** Longer than any client waits; a typing error rather than a wish. */
const DELAY_MS_MAX = 3_600_000;

export const FAULT_INJECTION: KindDefinition<FaultInjectionSpec, FaultInjectionStatus> = {
	group: 'weft.dev',
	versions: ['v1alpha1'],
	kind: 'FaultInjection',
	plural: 'faultinjections',
	singular: 'faultinjection',
	shortNames: ['fault'],
	namespaced: true,
	specRequired: true,
	description: 'A delay or an error for a share of the requests of a route',
	nameSchema: dnsSubdomain,
	specSchema: faultInjectionSpec,
	statusSchema: faultInjectionStatus,
	validate(fault, errors) {
		const { delay, abort } = fault.spec;
		if (delay === undefined && abort === undefined) errors.add(['spec'], 'delay, abort or both');
		if (delay === undefined) return;
		const delayMs = parseDurationMs(delay.fixedDelay) ?? 0;
		if (delayMs < 1 || delayMs > DELAY_MS_MAX) errors.add(['spec', 'delay', 'fixedDelay'], 'a duration of 1ms to 1h');
	},
	columns: [
		{
			name: 'Delay',
			description: 'Delay and the share of requests that get it',
			type: 'string',
			value: ({ spec: { delay } }) => (delay === undefined ? '<none>' : `${delay.fixedDelay} for ${delay.percentage}%`),
		},
		{
			name: 'Abort',
			description: 'Status and the share of requests that get it',
			type: 'string',
			value: ({ spec: { abort } }) => (abort === undefined ? '<none>' : `${abort.httpStatus} for ${abort.percentage}%`),
		},
	],
	mergeKeys: {},
};
