// The mesh as the control plane sees it: once, or as it changes (`src/control/mesh-snapshot.ts`).

import type { MeshSnapshot } from '../control/mesh-snapshot.ts';
import type { ApiClient } from './api-client.ts';

export async function meshSnapshot(client: ApiClient): Promise<MeshSnapshot> {
	return (await client.call({ path: '/weft/v1/mesh' })) as MeshSnapshot;
}

/** Each event of `/weft/v1/mesh/stream`, until `signal` ends it or the control plane does. */
export async function* meshSnapshots(client: ApiClient, signal?: AbortSignal): AsyncGenerator<MeshSnapshot> {
	const request = { path: '/weft/v1/mesh/stream', accept: 'text/event-stream' };
	for await (const event of client.stream(request, '\n\n', signal)) {
		const lines = event.split('\n');
		if (!lines.includes('event: mesh')) continue;
		const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart());
		if (data.length > 0) yield JSON.parse(data.join('\n')) as MeshSnapshot;
	}
}
