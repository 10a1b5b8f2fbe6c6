// `--wait`: until every connected sidecar has acknowledged what was written.

import { ExitError } from '../app/exit-error.ts';
import type { MeshObject } from '../config/object.ts';
import type { MeshSnapshot } from '../control/mesh-snapshot.ts';
import { formatDuration } from '../std/duration.ts';
import type { ApiClient } from './api-client.ts';
import { EXIT_FAILED, EXIT_TIMEOUT } from './exit-codes.ts';
import { meshSnapshot, meshSnapshots } from './mesh-client.ts';

/** Pauses after each; the stream comes once a second. */
const QUICK_LOOKS_MS: readonly number[] = [30, 60, 120, 240];

/** Says when it is so. @throws ExitError when a sidecar refuses it, or the time is over */
export async function waitForAcknowledgement(
	client: ApiClient,
	written: readonly MeshObject[],
	timeoutMs: number,
	say: (text: string) => void,
): Promise<void> {
	const revision = Math.max(...written.map((object) => Number(object.metadata.resourceVersion ?? 0)));
	const signal = AbortSignal.timeout(timeoutMs);
	let behind = 'the control plane has not answered';
	for await (const { mesh, quick } of looks(client, signal)) {
		// Before the control plane has taken it up and sidecars have answered, a refusal that stands is of something older.
		const takenUp = !quick && mesh.controlPlane.storeRevision >= revision;
		const refused = mesh.sidecars.find((sidecar) => takenUp && sidecar.connected && sidecar.rejected.length > 0);
		if (refused !== undefined) {
			throw new ExitError(EXIT_FAILED, `${refused.instance} refuses its configuration: ${refused.rejected[0]?.detail}`);
		}
		const reason = whatIsBehind(mesh, written, revision);
		if (reason === null) {
			const count = mesh.sidecars.filter((sidecar) => sidecar.connected).length;
			say(`acknowledged by ${count} of ${count} sidecars`);
			return;
		}
		behind = reason;
	}
	if (!signal.aborted) throw new ExitError(EXIT_FAILED, `the control plane went away; last seen: ${behind}`);
	throw new ExitError(EXIT_TIMEOUT, `not acknowledged within ${formatDuration(timeoutMs)}: ${behind}`);
}

/** A few in quick succession, as sidecars mostly answer within milliseconds; then as the control plane sends them. */
async function* looks(client: ApiClient, signal: AbortSignal): AsyncGenerator<{ mesh: MeshSnapshot; quick: boolean }> {
	for (const pauseMs of QUICK_LOOKS_MS) {
		if (signal.aborted) return;
		yield { mesh: await meshSnapshot(client), quick: true };
		await Bun.sleep(pauseMs);
	}
	for await (const mesh of meshSnapshots(client, signal)) yield { mesh, quick: false };
}

/** Null when all is acknowledged. */
function whatIsBehind(mesh: MeshSnapshot, written: readonly MeshObject[], revision: number): string | null {
	if (mesh.controlPlane.storeRevision < revision) return 'the control plane has not taken it up yet';
	for (const object of written) {
		if (object.kind !== 'HTTPRoute' && object.kind !== 'GRPCRoute') continue;
		const { namespace, name } = object.metadata;
		const route = mesh.routes.find(
			(one) => one.kind === object.kind && one.namespace === namespace && one.name === name,
		);
		if (route === undefined) return `${object.kind} ${namespace}/${name} is not in force yet`;
		const { count, of } = route.acknowledged;
		if (count < of) return `${object.kind} ${namespace}/${name} is acknowledged by ${count} of ${of} sidecars`;
	}
	const late = mesh.sidecars.filter((sidecar) => sidecar.connected && !sidecar.inSync);
	return late.length === 0 ? null : `${late.map((sidecar) => sidecar.instance).join(', ')} not in sync`;
}
