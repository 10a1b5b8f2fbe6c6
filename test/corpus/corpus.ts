// All cases, by topic.

import type { RequestCase, ResponseCase } from './case.ts';
import { CHUNKS } from './chunks.ts';
import { CONNECT } from './connect.ts';
import { CONNECTIONS } from './connections.ts';
import { FIELDS } from './fields.ts';
import { HOSTS } from './hosts.ts';
import { LENGTHS } from './lengths.ts';
import { PATHS } from './paths.ts';
import { PROXY_HEADS } from './proxy-heads.ts';
import { REQUEST_LINES } from './request-lines.ts';
import { RESPONSES } from './responses.ts';
import { SLOW_HEADS } from './slow-heads.ts';
import { SMUGGLING } from './smuggling.ts';
import { TARGETS } from './targets.ts';

export const REQUESTS: readonly { readonly topic: string; readonly cases: readonly RequestCase[] }[] = [
	{ topic: 'Request line', cases: REQUEST_LINES },
	{ topic: 'Target and Host', cases: TARGETS },
	{ topic: 'Fields', cases: FIELDS },
	{ topic: 'Length of the body', cases: LENGTHS },
	{ topic: 'Chunks', cases: CHUNKS },
	{ topic: 'Smuggling', cases: SMUGGLING },
	{ topic: 'Connection', cases: CONNECTIONS },
	{ topic: 'Paths', cases: PATHS },
	{ topic: 'Hosts and names', cases: HOSTS },
	{ topic: 'CONNECT', cases: CONNECT },
	{ topic: 'Slow heads', cases: SLOW_HEADS },
	{ topic: 'PROXY protocol', cases: PROXY_HEADS },
];

export type { RequestCase, ResponseCase };
export { RESPONSES };
