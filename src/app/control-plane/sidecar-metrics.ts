// Metrics of the sidecars on this machine, for Prometheus: their admin interfaces are on unix sockets,
// which it cannot scrape, so the API passes on each one's statistics, and lists them all in the form of
// Prometheus' HTTP service discovery. What a sidecar says is passed on as it is, not kept.
//
//   GET /weft/v1/prometheus/targets          [{targets: ["127.0.0.1:15080"], labels: {…}}, …]
//   GET /weft/v1/sidecars/INSTANCE/metrics   what the sidecar's /stats/prometheus says

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { ApiError } from '../../control/api/api-error.ts';
import type { Mount } from '../../control/api/api-server.ts';
import { errorMessage } from '../../std/errors.ts';
import { PROMETHEUS_CONTENT_TYPE } from '../../telemetry/prometheus-text.ts';
import { stampIsAlive } from '../process-stamp.ts';
import { readOwner } from '../run/sidecar-directory.ts';

const TARGETS_PATH = '/weft/v1/prometheus/targets';
const SIDECARS_PATH = '/weft/v1/sidecars';
const METRICS_OF_ONE = /^\/weft\/v1\/sidecars\/([a-z0-9](?:[a-z0-9.-]{0,131}[a-z0-9])?)\/metrics$/;
const ANSWER_TIMEOUT_MS = 5000;
const BOOTSTRAP_BYTES_MAX = 1024 * 1024;

/** Of the bootstrap that `weft run` writes. */
const bootstrapSchema = z.object({
	node: z.object({
		metadata: z.object({
			NAMESPACE: z.string(),
			WORKLOAD_NAME: z.string(),
			LABELS: z.record(z.string(), z.string()).default({}),
		}),
	}),
	admin: z.object({ address: z.object({ pipe: z.object({ path: z.string() }) }) }),
});

interface LocalSidecar {
	readonly namespace: string;
	readonly workload: string;
	readonly app: string;
	readonly version: string;
	readonly adminSocket: string;
}

/** `sidecars`: the directory with one directory per sidecar, by instance name. */
export function sidecarMetricsMounts(sidecars: string): Mount[] {
	return [
		{
			prefix: TARGETS_PATH,
			handle: (request, { url }) => {
				if (url.pathname !== TARGETS_PATH) return null;
				readOnly(request);
				return Response.json(targets(sidecars, url));
			},
		},
		{
			prefix: SIDECARS_PATH,
			handle: async (request, { url }) => {
				const instance = METRICS_OF_ONE.exec(url.pathname)?.[1];
				if (instance === undefined) return null;
				readOnly(request);
				const sidecar = readSidecar(sidecars, instance);
				if (sidecar === null) throw new ApiError(404, 'NotFound', `no sidecar ${instance} runs on this machine`);
				return await metricsOf(instance, sidecar);
			},
		},
	];
}

function readOnly(request: Request): void {
	if (request.method !== 'GET') throw new ApiError(405, 'MethodNotAllowed', 'metrics are only read');
}

/** They are scraped where this was asked: at the address that the request was for. */
function targets(sidecars: string, url: URL): unknown[] {
	const listed: unknown[] = [];
	for (const instance of instancesIn(sidecars)) {
		const sidecar = readSidecar(sidecars, instance);
		if (sidecar === null) continue;
		const { namespace, workload, app, version } = sidecar;
		listed.push({
			targets: [url.host],
			labels: {
				__metrics_path__: `${SIDECARS_PATH}/${instance}/metrics`,
				instance,
				namespace,
				workload,
				app,
				version,
			},
		});
	}
	return listed;
}

function instancesIn(sidecars: string): string[] {
	try {
		return readdirSync(sidecars).sort();
	} catch {
		// None was ever started.
		return [];
	}
}

/** Null: there is none, or it is only left over from one that was killed. */
function readSidecar(sidecars: string, instance: string): LocalSidecar | null {
	const directory = join(sidecars, instance);
	try {
		if (!stampIsAlive(readOwner(directory))) return null;
		const text = readFileSync(join(directory, 'bootstrap.json'), 'utf8');
		if (text.length > BOOTSTRAP_BYTES_MAX) return null;
		const { node, admin } = bootstrapSchema.parse(JSON.parse(text));
		const { NAMESPACE: namespace, WORKLOAD_NAME: workload, LABELS: labels } = node.metadata;
		const { app = workload, version = '' } = labels;
		return { namespace, workload, app, version, adminSocket: admin.address.pipe.path };
	} catch {
		// Being made at this moment, or not ours.
		return null;
	}
}

async function metricsOf(instance: string, { adminSocket }: LocalSidecar): Promise<Response> {
	try {
		const answer = await fetch('http://localhost/stats/prometheus', {
			unix: adminSocket,
			signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
		});
		if (!answer.ok) throw new Error(`it answered ${answer.status}`);
		return new Response(answer.body, { headers: { 'content-type': PROMETHEUS_CONTENT_TYPE } });
	} catch (error) {
		throw new ApiError(503, 'ServiceUnavailable', `sidecar ${instance} does not answer: ${errorMessage(error)}`);
	}
}
