// The schema pieces that the kinds share: names, labels, ports, durations, conditions. A pattern's
// message is the "expected" part of the error that users read.

import { z } from 'zod';
import { parseDurationMs } from '../std/duration.ts';

function formatted(pattern: RegExp, charactersMax: number, expected: string) {
	return z.string().refine((text) => text.length <= charactersMax && pattern.test(text), { error: expected });
}

export const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
export const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** RFC 1123 label. */
export const dnsLabel = formatted(DNS_LABEL, 63, 'a DNS label: at most 63 of a-z, 0-9 and -, no - at the ends');
/** RFC 1123 subdomain. */
export const dnsSubdomain = formatted(
	DNS_SUBDOMAIN,
	253,
	'a DNS name: at most 253 of a-z, 0-9, - and ., each label beginning and ending with a letter or digit',
);
/** RFC 1035 label, which Kubernetes asks of Services. */
export const serviceName = formatted(
	/^[a-z]([-a-z0-9]*[a-z0-9])?$/,
	63,
	'a DNS label beginning with a letter: at most 63 of a-z, 0-9 and -',
);
/** IANA service name, which Kubernetes asks of container ports: at most 15. */
export const portName = formatted(
	/^(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
	15,
	'the name of a port: at most 15 of a-z, 0-9 and -, with at least one letter',
);

export const port = z
	.number()
	.refine((value) => Number.isInteger(value) && value >= 1 && value <= 65535, { error: 'a port: 1 to 65535' });

const labelKey = formatted(
	/^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
	317,
	'a key: at most 63 of letters, digits, -, _ and ., after an optional DNS name and /',
);
const labelValue = formatted(
	/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/,
	63,
	'a label value: at most 63 of letters, digits, -, _ and ., beginning and ending with a letter or digit',
);

export const labels = z.record(labelKey, labelValue);
export const annotations = z.record(labelKey, z.string());

/** GEP-2257; stays text, `parseDurationMs` reads it. */
export const duration = z
	.string()
	.refine((text) => parseDurationMs(text) !== null, { error: 'a duration like 1h30m, 10s or 500ms' });

/** RFC 9110 token. */
export const headerName = formatted(/^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/, 256, 'the name of an HTTP header');

/** RFC 9110 field value: no controls (CR, LF, NUL) and no blanks around it. */
export const headerValue = formatted(
	/^[!-~\x80-\uffff]([\t -~\x80-\uffff]*[!-~\x80-\uffff])?$/,
	4096,
	'the value of an HTTP header: 1 to 4096 characters, no control characters, no blanks at the ends',
);

export const condition = z.strictObject({
	type: z.string().min(1).max(316),
	status: z.enum(['True', 'False', 'Unknown']),
	reason: z.string().min(1).max(1024),
	message: z.string().max(32_768),
	lastTransitionTime: z.string().min(1).max(64),
	observedGeneration: z.int().optional(),
});

export const conditions = z.array(condition).max(16);
