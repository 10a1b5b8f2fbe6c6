// weft's own sidecar in this process, in the place of a real Envoy (envoy.ts): the same metadata,
// the same control plane.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOTS_FILE, sidecarBootstrap, sidecarNodeId } from '../../src/app/run/sidecar-bootstrap.ts';
import { startSidecar } from '../../src/app/sidecar.ts';
import { SystemNetwork } from '../../src/net/system-network.ts';
import { parseBootstrap } from '../../src/proxy/bootstrap.ts';
import { systemRandom } from '../../src/std/random.ts';
import type { SidecarNodeMetadata } from '../../src/xds/node-metadata.ts';
import type { RunningEnvoy } from './envoy.ts';
import type { TestControlPlane } from './mesh-control.ts';
import { spoilingLoop } from './spoiling-loop.ts';

export async function startWeftSidecar(mesh: TestControlPlane, metadata: SidecarNodeMetadata): Promise<RunningEnvoy> {
	const { instance } = metadata.WEFT;
	const stateDir = join(mesh.directory, instance);
	mkdirSync(stateDir, { mode: 0o700 });
	writeFileSync(join(stateDir, ROOTS_FILE), mesh.authority.rootsPem, { mode: 0o600 });
	const adminSocket = join(stateDir, 'admin.sock');
	const bootstrap = sidecarBootstrap({
		metadata,
		version: '1.0.0',
		adminSocket,
		xds: { address: '127.0.0.1', port: mesh.port, serverName: 'weft-control-plane.weft-system.svc' },
	});
	const failures: Error[] = [];
	const sidecar = await startSidecar({
		bootstrap: parseBootstrap(JSON.stringify(bootstrap), 'bootstrap'),
		network: new SystemNetwork({ loop: spoilingLoop() }),
		random: systemRandom,
		stateDir,
		joinToken: mesh.tokens.issue({
			namespace: metadata.NAMESPACE,
			serviceAccount: metadata.SERVICE_ACCOUNT,
			instance,
		}),
		drainTimeMs: 1000,
		version: '1.0.0',
		commandLine: {},
		onQuit: () => {},
		onFailed: (error) => failures.push(error),
	});
	await sidecar.ready;
	const stop = async () => {
		await sidecar.stop(0);
		if (failures.length > 0) throw failures[0];
	};
	return {
		nodeId: sidecarNodeId(metadata),
		logFile: '',
		admin: async (path) => await (await fetch(`http://admin${path}`, { unix: adminSocket })).text(),
		kill: () => void stop(),
		stop,
	};
}
