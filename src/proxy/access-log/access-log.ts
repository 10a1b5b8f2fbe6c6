// One configured access log: says one line per stream when it is over.

import type { StreamInfo } from '../stream-info.ts';

export interface AccessLog {
	log(info: StreamInfo): void;
}
