// The control plane of a benchmark in a process of its own, so that its CPU and memory are its own.
// It answers its parent over IPC.

import { ObjectStore } from '../../src/config/object-store.ts';
import { ControlPlane } from '../../src/control/control-plane.ts';
import { CertificateAuthority, CONTROL_PLANE_NAME } from '../../src/identity/certificate-authority.ts';
import { JoinTokens } from '../../src/identity/join-tokens.ts';
import { workloadSpiffeId } from '../../src/identity/spiffe.ts';
import { makeSigningKey } from '../../src/identity/workload-certificate.ts';
import { systemTimeSource, TimerWheel } from '../../src/net/timer-wheel.ts';
import { logSink } from '../../src/std/log.ts';
import { SqliteStore } from '../../src/store/sqlite-store.ts';
import { fillStore, NAMESPACE, putEndpoint, putRoute } from './mesh.ts';

export type Command =
	| { readonly kind: 'start'; readonly directory: string; readonly services: number; readonly endpoints: number }
	/** Changes an endpoint's address, or a service's route. */
	| { readonly kind: 'endpoint'; readonly service: number; readonly round: number }
	| { readonly kind: 'route'; readonly service: number; readonly round: number }
	| { readonly kind: 'usage' }
	| { readonly kind: 'end' };

export interface Ready {
	readonly port: number;
	readonly serverName: string;
	readonly rootsPem: string;
	readonly certificateChainPem: string;
	readonly privateKeyPem: string;
}

export interface Usage {
	readonly cpuMs: number;
	readonly residentMib: number;
	readonly inSync: number;
	readonly connected: number;
}

export type Reply = Ready | Usage | { readonly done: true };

logSink.level = 'error';
let store: SqliteStore;
let control: ControlPlane;

process.on('message', (command: Command) => {
	answer(command).then(
		(reply) => process.send?.(reply),
		(error: unknown) => {
			console.error(error);
			process.exit(1);
		},
	);
});
process.on('disconnect', () => process.exit());

async function answer(command: Command): Promise<Reply> {
	switch (command.kind) {
		case 'start':
			return start(command);
		case 'endpoint':
			await putEndpoint(store, command.service, 0, command.round);
			return { done: true };
		case 'route':
			await putRoute(store, command.service, command.round);
			return { done: true };
		case 'end':
			process.exit();
			break;
		case 'usage': {
			const { user, system } = process.cpuUsage();
			const proxies = [...control.connectedProxies()];
			return {
				cpuMs: (user + system) / 1000,
				residentMib: process.memoryUsage.rss() / 2 ** 20,
				connected: proxies.length,
				inSync: proxies.filter((proxy) => proxy.inSync).length,
			};
		}
	}
}

async function start({ directory, services, endpoints }: Command & { kind: 'start' }): Promise<Ready> {
	const clock = new TimerWheel(systemTimeSource());
	store = SqliteStore.open(`${directory}/store.db`);
	await fillStore(store, { services, endpoints });
	const authority = await CertificateAuthority.open({ directory: `${directory}/ca`, clock });
	control = new ControlPlane({
		store,
		objects: await ObjectStore.open(store, { wallMs: () => clock.wallMs() }),
		clock,
		authority,
		tokens: new JoinTokens(clock),
		listen: { address: '127.0.0.1', port: 0 },
	});
	const { port } = await control.start();
	const { trustDomain, rootsPem } = authority;
	const { csrPem, privateKeyPem } = await makeSigningKey();
	const spiffeId = workloadSpiffeId({ trustDomain, namespace: NAMESPACE, serviceAccount: 'bench' });
	const { chainPem } = await authority.signWorkload({ csrPem, spiffeId });
	return { port, serverName: CONTROL_PLANE_NAME, rootsPem, certificateChainPem: chainPem.join(''), privateKeyPem };
}
