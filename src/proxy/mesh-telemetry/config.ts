// Configuration of mesh telemetry, the value of a TypedStruct
// `type.googleapis.com/weft.telemetry.v1.MeshTelemetry`: on which side this proxy is,
// and whose it is where that is not what its node says.

import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import { ConfigError, type ConfigErrorDetail } from '../../std/errors.ts';
import { type OwnWorkload, PLACE_IN_NODE } from './own-workload.ts';
import { UNKNOWN, type Workload } from './workload.ts';

export interface MeshTelemetryConfig {
	/** `source`: requests of this workload go out; `destination`: they come in. */
	readonly reporter: 'source' | 'destination';
	readonly self: Workload;
	readonly serviceAccount: string;
	readonly trustDomain: string;
	/** This workload's own SPIFFE ID. */
	readonly principal: string;
}

const OWN_FIELDS = ['workload', 'namespace', 'app', 'version', 'serviceAccount', 'trustDomain'] as const;
const TEXT_FIELDS = [...OWN_FIELDS, 'cluster'] as const;
const REQUIRED = new Set<string>(['workload', 'namespace', 'serviceAccount', 'trustDomain']);

/**
 * Fields: `reporter`; `workload`, `namespace`, `serviceAccount`, `trustDomain`, `app` and `version`, each by
 * default what `own` says, and without that an error, the workload (`app`), `unknown` (`version`); `cluster`
 * (default `weft`). `object` and `at`: what the struct belongs to and its path there, for errors.
 * @throws ConfigError
 */
export function readMeshTelemetryConfig(
	struct: JsonObject,
	own: OwnWorkload,
	object: string,
	at = '',
): MeshTelemetryConfig {
	const details: ConfigErrorDetail[] = [];
	const prefix = at === '' ? '' : `${at}.`;
	for (const key of Object.keys(struct)) {
		if (key === 'reporter' || (TEXT_FIELDS as readonly string[]).includes(key)) continue;
		details.push({ object, field: prefix + key, expected: `one of reporter, ${TEXT_FIELDS.join(', ')}` });
	}
	const { reporter } = struct;
	if (reporter !== 'source' && reporter !== 'destination') {
		details.push({
			object,
			field: `${prefix}reporter`,
			found: shorten(reporter),
			expected: '"source" or "destination"',
		});
	}
	const text = (field: (typeof TEXT_FIELDS)[number], fallback: string): string => {
		const given = struct[field];
		const ours = given === undefined || given === '';
		const value = ours && field !== 'cluster' ? own[field] : given;
		if (value === undefined || value === '') {
			if (REQUIRED.has(field)) {
				const expected = `a name, or one in ${PLACE_IN_NODE[field as keyof OwnWorkload]} of the bootstrap`;
				details.push({ object, field: prefix + field, expected });
			}
			return fallback;
		}
		// A semicolon separates the parts of x-weft-peer.
		if (typeof value === 'string' && /^[\x21-\x3a\x3c-\x7e]{1,253}$/.test(value)) return value;
		details.push({
			object,
			field: ours ? PLACE_IN_NODE[field as keyof OwnWorkload] : prefix + field,
			found: shorten(value),
			expected: 'up to 253 printable characters without space or ;',
		});
		return fallback;
	};
	const workload = text('workload', UNKNOWN);
	const namespace = text('namespace', UNKNOWN);
	const serviceAccount = text('serviceAccount', UNKNOWN);
	const trustDomain = text('trustDomain', UNKNOWN);
	const app = text('app', workload);
	const version = text('version', UNKNOWN);
	const cluster = text('cluster', 'weft');
	if (details.length > 0) throw new ConfigError(details);
	return {
		reporter: reporter as 'source' | 'destination',
		self: { workload, namespace, app, version, cluster },
		serviceAccount,
		trustDomain,
		principal: `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`,
	};
}

function shorten(value: JsonValue | undefined): string | undefined {
	return value === undefined ? undefined : JSON.stringify(value).slice(0, 60);
}
