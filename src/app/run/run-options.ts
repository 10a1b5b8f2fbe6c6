// What `weft run` was asked to do, checked by cli/run.ts.

import type { CaptureMode, OutboundPolicy, WeftNodeMetadata, WorkloadHealthCheck } from '../../xds/node-metadata.ts';
import type { DataPaths } from '../data-directory.ts';

export interface RunOptions {
	/** Of the control plane on this machine. */
	readonly paths: DataPaths;
	readonly service: string;
	readonly version: string;
	readonly namespace: string;
	readonly serviceAccount: string;
	/** Empty: a client only. */
	readonly ports: WeftNodeMetadata['ports'];
	readonly capture: 'auto' | CaptureMode;
	/** What becomes of connections and names that are none of the mesh. */
	readonly outbound: OutboundPolicy;
	/** Null: 127.0.0.1. */
	readonly programAddress: string | null;
	readonly publish: NonNullable<WeftNodeMetadata['publish']>;
	readonly healthCheck: WorkloadHealthCheck | null;
	/** Added to the program's environment. */
	readonly env: Readonly<Record<string, string>>;
	/** The program and its arguments; it was found on PATH. */
	readonly command: readonly string[];
	/** The sidecar's log goes to our standard error, else to a file. */
	readonly sidecarLog: boolean;
	readonly sidecarLogLevel: string;
	readonly drainTimeMs: number;
	/** Of weft. */
	readonly weftVersion: string;
}
