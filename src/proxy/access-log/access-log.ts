// One configured access log: says one line per stream when it is over, and earlier where
// `access_log_options` asks for it.

import type { StreamInfo } from '../stream-info.ts';

export interface AccessLog {
	/** What the line is about is in `info.logType`. */
	log(info: StreamInfo): void;
}

export function writeAccessLogs(logs: readonly AccessLog[], info: StreamInfo): void {
	for (let i = 0; i < logs.length; i++) logs[i]!.log(info);
}
