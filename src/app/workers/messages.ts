// What the main process and its workers say to each other, over the private channel that a worker is
// started with (it ends with either of them). Structured clones: bytes stay bytes.
//
// Listening sockets go by a second socket, WORKER_SOCKETS_FD; what refers to them is said after them.

import type { WorkloadIdentity } from '../../net/identity-source.ts';
import type { Address } from '../../net/network.ts';
import type { LogLevel } from '../../std/log.ts';
import type { FamilySnapshot } from '../../telemetry/metric-snapshot.ts';
import type { DiscoveredResource } from '../../xds/discovery-client.ts';

/** Where a worker finds the socket by which it is given others. */
export const WORKER_SOCKETS_FD = 3;

/** Resources as they were applied in the main process; `source` is `ads` or a file's path. */
export interface ForwardedUpdate {
	readonly source: string;
	readonly typeUrl: string;
	readonly updated: readonly DiscoveredResource[];
	readonly removed: readonly string[];
	/** The main process has accepted all of it. */
	readonly accepted: boolean;
}

/** Of the report that nobody asked for: a worker's last word. */
export const LAST_REPORT_ID = 0;

export interface WorkerStart {
	readonly kind: 'start';
	/** From 0. */
	readonly index: number;
	/** Encoded. */
	readonly bootstrap: Uint8Array;
	readonly drainTimeMs: number;
	readonly logLevel: LogLevel;
	readonly logFormat: 'text' | 'json';
	/** It has an identity, which comes before anything needs it. */
	readonly identity: WorkloadIdentity | null;
	/** What the main process has been told so far. */
	readonly updates: readonly ForwardedUpdate[];
	/** Where listeners take no connections any more (drained): no sockets come for these. */
	readonly stopped: readonly Address[];
	readonly version: string;
}

export type ToWorker =
	| WorkerStart
	| { readonly kind: 'updates'; readonly updates: readonly ForwardedUpdate[] }
	| { readonly kind: 'identity'; readonly identity: WorkloadIdentity }
	| { readonly kind: 'report'; readonly id: number }
	/** A request to the admin interface that changes something. */
	| { readonly kind: 'admin'; readonly id: number; readonly path: string; readonly query: string }
	/** Inbound listeners drain. */
	| { readonly kind: 'leave'; readonly id: number; readonly deadlineMs: number }
	/** `retire`: another process has the sockets. It exits when it is done. */
	| { readonly kind: 'stop'; readonly deadlineMs: number; readonly retire: boolean }
	| { readonly kind: 'reopen_logs' };

/** Of one upstream host, in one worker. */
export interface HostReport {
	readonly cluster: string;
	readonly host: string;
	readonly connections: number;
	readonly connectionsActive: number;
	readonly connectFailures: number;
	readonly requests: number;
	readonly requestsActive: number;
	/** As `/clusters` shows them. */
	readonly healthFlags: string;
}

export interface WorkerReport {
	/** Series that are 0 are left out. */
	readonly metrics: readonly FamilySnapshot[];
	/** Hosts that were used, or are not healthy. */
	readonly hosts: readonly HostReport[];
	readonly memory: { readonly heapUsed: number; readonly heapTotal: number; readonly rss: number };
}

export type FromWorker =
	/** It hears. */
	| { readonly kind: 'started' }
	| { readonly kind: 'ready' }
	| { readonly kind: 'report'; readonly id: number; readonly report: WorkerReport }
	/** What was asked for with this id is done. */
	| { readonly kind: 'done'; readonly id: number }
	/** It refuses what the main process has accepted. */
	| { readonly kind: 'refused'; readonly typeUrl: string; readonly reason: string }
	/** It ends by itself, in order (SIGTERM to it alone). */
	| { readonly kind: 'leaving' };
