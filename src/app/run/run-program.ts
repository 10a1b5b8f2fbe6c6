// `weft run`: one program and its sidecar, from joining the mesh to the exit code. In order:
//
//   join ─▶ capture prepared, program held ─▶ sidecar ready ─▶ program runs ─▶ sidecar leaves, drains, ends
//
// The sidecar runs in the machine's network, outside of the program's namespace. Whatever ends this
// process, even kill -9, ends both: the program by its parent-death signal, the sidecar by the end of
// its standard input.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serviceIndex } from '../../config/service.ts';
import { explicitLocalPort } from '../../control/compile/outbound-profile.ts';
import { SystemNetwork } from '../../net/system-network.ts';
import type { Clock, Timer } from '../../std/clock.ts';
import { errorMessage } from '../../std/errors.ts';
import type { Random } from '../../std/random.ts';
import { CAPTURE_PORT_DEFAULT, type CaptureMode, type SidecarNodeMetadata } from '../../xds/node-metadata.ts';
import { ExitError } from '../exit-error.ts';
import { addressInBlock } from '../instance-addresses.ts';
import type { JoinAnswer, JoinRequest } from '../join-protocol.ts';
import { selfCommand } from '../self-command.ts';
import { releaseStartupMemory } from '../startup-memory.ts';
import { type Capture, prepareCapture } from './capture.ts';
import { ControlPlaneClient } from './control-plane-client.ts';
import { DnsRelay } from './dns/dns-relay.ts';
import { MeshZone } from './dns/mesh-zone.ts';
import { MachineResolvers, machineResolvConf, programResolvConf } from './dns/resolv-conf.ts';
import { HostsFile, type NamedService } from './host-names.ts';
import { lowestPort } from './privileges.ts';
import { checkPublishable } from './published-door.ts';
import type { RunOptions } from './run-options.ts';
import { type KnownService, ServiceWatch } from './service-watch.ts';
import { ROOTS_FILE, sidecarBootstrap } from './sidecar-bootstrap.ts';
import { SidecarDirectory } from './sidecar-directory.ts';
import { SidecarProcess } from './sidecar-process.ts';
import { listenForSignals } from './signals.ts';

export interface RunSurroundings {
	readonly clock: Clock;
	readonly random: Random;
	/** One line for the user, on standard error. */
	readonly say: (line: string) => void;
	/** Words that start `weft`; default: this program again. */
	readonly weftCommand?: readonly string[];
}

/** On the instance's own address, so that it is free whatever else runs. */
const HTTP_PROXY_PORT = 15001;
/** In the program's namespace; Istio's too. */
const DNS_PORT = 15053;
const READY_LIMIT_MS = 30_000;
const LOG_TAIL_LINES = 5;

/** Resolves with the exit code. @throws ExitError when the program was never started */
export async function runProgram(options: RunOptions, surroundings: RunSurroundings): Promise<number> {
	checkPorts(options);
	const client = new ControlPlaneClient(options.paths.joinSocket, options.paths.apiSocket);
	const answer = await client.join(joinRequest(options, null));
	const directory = SidecarDirectory.create(options.paths.sidecars, answer.instance);
	try {
		return await new Run(options, surroundings, client, answer, directory).run();
	} finally {
		directory.remove();
	}
}

/** The sidecar listens on the program's ports for the mesh. @throws ExitError 2 when it may not */
function checkPorts({ ports }: RunOptions): void {
	const portMin = lowestPort();
	const low = ports.find(({ port }) => port < portMin);
	if (low === undefined) return;
	throw new ExitError(2, `port ${low.port}: listening below ${portMin} takes root; choose a higher port`);
}

/** By which the program finds services. */
interface ProgramNames {
	set(services: readonly NamedService[]): void;
	stop(): void;
}

class Run {
	private stopping = false;
	private readonly portMin = lowestPort();
	/** Services of which it was said that they cannot be reached. */
	private readonly saidOutOfReach = new Set<string>();

	constructor(
		private readonly options: RunOptions,
		private readonly surroundings: RunSurroundings,
		private readonly client: ControlPlaneClient,
		private readonly answer: JoinAnswer,
		private readonly directory: SidecarDirectory,
	) {}

	async run(): Promise<number> {
		const { options, answer, directory } = this;
		for (const { address, port } of options.publish) await checkPublishable(address, port);
		const hosts = HostsFile.onThisMachine(directory.hosts, options.namespace);
		hosts.write([]);
		const capture = await prepareCapture({
			wanted: options.capture,
			sharesLoopback: options.programAddress !== null,
			capturePort: this.freePort(CAPTURE_PORT_DEFAULT),
			dnsPort: this.freePort(DNS_PORT),
			resolvConf: programResolvConf(machineResolvConf(), options.namespace),
			registryOnly: options.outbound === 'registry-only',
			hostsFile: directory.hosts,
			resolvFile: directory.resolv,
			hidden: [options.paths.directory, ...directory.elsewhere],
			command: options.command,
			env: (mode) => this.programEnv(mode),
		});
		const { program } = capture;
		const where = `${answer.instance} in namespace ${options.namespace}`;
		this.surroundings.say(`${where}; capture: ${capture.mode} (${capture.reason})`);
		const names = await this.startNames(capture, hosts);
		names.set(this.namedServices(answer, capture.mode));
		this.writeBootstrap(capture);
		const sidecar = this.sidecar();
		const stopListening = listenForSignals({
			onPass: (signal) => program.signal(signal),
			onStop: (signal) => {
				// Who asks twice does not want to wait.
				const left = this.stopping ? Promise.resolve() : sidecar.leave();
				this.stopping = true;
				void left.then(() => program.signal(signal));
			},
		});
		const watch = this.serviceWatch(capture, names);
		let settling: Timer | null = null;
		try {
			const ended = await Promise.race([this.sidecarReady(sidecar), program.exited]);
			// Ended while it was held: by a signal.
			if (ended !== null) return ended.exitCode;
			program.start();
			watch?.start();
			settling = releaseStartupMemory(this.surroundings.clock);
			return (await program.exited).exitCode;
		} catch (error) {
			program.signal('SIGKILL');
			throw error;
		} finally {
			settling?.cancel();
			watch?.stop();
			names.stop();
			await sidecar.stop();
			stopListening();
			capture.release();
		}
	}

	/** @throws ExitError with the end of the sidecar's log */
	private async sidecarReady(sidecar: SidecarProcess): Promise<null> {
		const { clock } = this.surroundings;
		let giveUp: (error: Error) => void = () => {};
		const limit = clock.after(READY_LIMIT_MS, () =>
			giveUp(new Error(`the sidecar was not ready within ${READY_LIMIT_MS / 1000} s`)),
		);
		try {
			await Promise.race([
				sidecar.start(this.answer.token),
				new Promise<never>((_, reject) => {
					giveUp = reject;
				}),
			]);
			return null;
		} catch (error) {
			const tail = this.options.sidecarLog ? '' : this.directory.logTail(LOG_TAIL_LINES);
			throw new ExitError(1, [errorMessage(error), tail].filter((line) => line !== '').join('\n'), { cause: error });
		} finally {
			limit.cancel();
		}
	}

	private sidecar(): SidecarProcess {
		const { options, directory, surroundings } = this;
		const weft = surroundings.weftCommand ?? selfCommand();
		const drainSeconds = String(Math.ceil(options.drainTimeMs / 1000));
		return new SidecarProcess({
			command: [
				...weft,
				...['proxy', '--config-path', directory.bootstrap, '--state-dir', directory.path],
				...['--drain-time-s', drainSeconds, '--log-level', options.sidecarLogLevel, '--supervised'],
			],
			env: sidecarEnv(),
			logFile: options.sidecarLog ? null : directory.log,
			drainTimeMs: options.drainTimeMs,
			joinToken: () => this.joinAgain(),
			...surroundings,
		});
	}

	/** For a sidecar that starts again. Null: the control plane is away, what is on disk must do. */
	private async joinAgain(): Promise<string | null> {
		const { instance: name, instanceIndex: index } = this.answer;
		try {
			const again = await this.client.join(joinRequest(this.options, { name, index }));
			writeFileSync(join(this.directory.path, ROOTS_FILE), again.rootsPem, { mode: 0o600 });
			return again.token;
		} catch (error) {
			this.surroundings.say(`${errorMessage(error).split('\n')[0]}; the sidecar starts from what it last knew`);
			return null;
		}
	}

	private writeBootstrap(capture: Capture): void {
		const { options, answer, directory } = this;
		const client = options.ports.length === 0;
		const metadata: SidecarNodeMetadata = {
			NAMESPACE: options.namespace,
			SERVICE_ACCOUNT: options.serviceAccount,
			WORKLOAD_NAME: workloadName(options),
			LABELS: { app: options.service, version: options.version },
			MESH_ID: answer.trustDomain,
			WEFT: {
				instance: answer.instance,
				service: client ? '' : options.service,
				ports: options.ports,
				capture: capture.mode,
				address: answer.address,
				programAddress: options.programAddress ?? undefined,
				networkNamespace: capture.networkNamespace ?? undefined,
				outboundBase: capture.mode === 'loopback' ? answer.address : undefined,
				outboundPortMin: capture.mode === 'loopback' ? this.portMin : undefined,
				capturePort: capture.mode === 'transparent' ? this.freePort(CAPTURE_PORT_DEFAULT) : undefined,
				outbound: options.outbound,
				httpProxyPort: capture.mode === 'explicit' ? HTTP_PROXY_PORT : undefined,
				publish: options.publish,
				healthCheck: options.healthCheck ?? undefined,
			},
		};
		const bootstrap = sidecarBootstrap({
			metadata,
			version: options.weftVersion,
			adminSocket: directory.adminSocket,
			xds: answer.xds,
		});
		writeFileSync(directory.bootstrap, JSON.stringify(bootstrap, null, '\t'), { mode: 0o600 });
		writeFileSync(join(directory.path, ROOTS_FILE), answer.rootsPem, { mode: 0o600 });
	}

	/** In the program's namespace: any port that the program itself does not take. */
	private freePort(first: number): number {
		const taken = new Set(this.options.ports.map(({ port }) => port));
		let port = first;
		while (taken.has(port)) port += 1;
		return port;
	}

	/** @throws ExitError when the program would have no names */
	private async startNames(capture: Capture, hosts: HostsFile): Promise<ProgramNames> {
		const { networkNamespace } = capture;
		if (networkNamespace === null) return { set: (services) => hosts.write(services), stop: () => {} };
		const { options } = this;
		const zone = new MeshZone(options.namespace);
		const resolvers = new MachineResolvers();
		let relay: DnsRelay;
		try {
			relay = await DnsRelay.start({
				network: new SystemNetwork({ clock: this.surroundings.clock }),
				address: { kind: 'ip', host: '127.0.0.1', port: this.freePort(DNS_PORT), networkNamespace },
				zone,
				servers: options.outbound === 'allow-any' ? () => resolvers.current() : null,
			});
		} catch (error) {
			capture.program.signal('SIGKILL');
			capture.release();
			throw new ExitError(1, `the program would have no names: ${errorMessage(error)}`, { cause: error });
		}
		return {
			set: (services) => {
				hosts.write(services);
				zone.set(services);
			},
			stop: () => relay.stop(),
		};
	}

	private serviceWatch(capture: Capture, names: ProgramNames): ServiceWatch | null {
		if (capture.mode === 'explicit') return null;
		const { clock, random } = this.surroundings;
		return new ServiceWatch(this.client, clock, random, (services) => {
			this.sayOutOfReach(services, capture.mode);
			names.set(services.flatMap((service) => this.named(service, capture.mode) ?? []));
		});
	}

	private namedServices(answer: JoinAnswer, mode: CaptureMode): NamedService[] {
		const services = answer.services.map(({ host, address, ports }) => {
			const [name, namespace] = host.split('.');
			return { name: name!, namespace: namespace ?? 'default', address, ports };
		});
		this.sayOutOfReach(services, mode);
		return services.flatMap((service) => this.named(service, mode) ?? []);
	}

	/** Connections to them are refused, which would not explain itself. */
	private sayOutOfReach(services: readonly KnownService[], mode: CaptureMode): void {
		if (mode !== 'loopback') return;
		for (const { name, namespace, ports } of services) {
			const low = ports.filter((port) => port < this.portMin);
			const key = `${namespace}/${name}`;
			if (low.length === 0 || this.saidOutOfReach.has(key)) continue;
			this.saidOutOfReach.add(key);
			const which = `port ${low.join(', ')} of service ${name}`;
			this.surroundings.say(
				`${which} cannot be reached by this program: listening below ${this.portMin} takes root (or use --capture explicit)`,
			);
		}
	}

	/** Null: this program has no address for it. */
	private named(service: NamedService, mode: CaptureMode): NamedService | null {
		const { name, namespace } = service;
		if (mode === 'transparent') return service.address === '' ? null : { name, namespace, address: service.address };
		const index = serviceIndex(service.address);
		const address = index === null ? null : addressInBlock(this.answer.address, index);
		return address === null ? null : { name, namespace, address };
	}

	private programEnv(mode: CaptureMode): Record<string, string | undefined> {
		const { options, answer } = this;
		const env: Record<string, string | undefined> = { ...process.env, ...options.env };
		if (mode !== 'explicit') return env;
		for (const { host, address, ports } of answer.services) {
			const [name, namespace] = host.split('.');
			if (namespace !== options.namespace) continue;
			const prefix = `WEFT_${name!.toUpperCase().replaceAll('-', '_')}`;
			for (const [index, port] of ports.entries()) {
				const localPort = explicitLocalPort(address, index);
				if (localPort === null) continue;
				env[`${prefix}_URL`] ??= `http://${answer.address}:${localPort}`;
				env[`${prefix}_${port}`] ??= `${answer.address}:${localPort}`;
			}
		}
		const proxy = `http://${answer.address}:${HTTP_PROXY_PORT}`;
		// What has an address of its own is not asked for through the proxy; nor is the machine itself.
		const direct = [env.no_proxy ?? env.NO_PROXY, 'localhost', '127.0.0.1', '::1', answer.address];
		const noProxy = direct.filter((one) => one !== undefined && one !== '').join(',');
		return { ...env, HTTP_PROXY: proxy, http_proxy: proxy, NO_PROXY: noProxy, no_proxy: noProxy };
	}
}

function joinRequest(options: RunOptions, instance: JoinRequest['instance'] | null): JoinRequest {
	return {
		service: options.service,
		version: options.version,
		namespace: options.namespace,
		serviceAccount: options.serviceAccount,
		ports: [...options.ports],
		workload: workloadName(options),
		instance: instance ?? undefined,
	};
}

function workloadName(options: RunOptions): string {
	return `${options.service}-${options.version}`;
}

/** The program's business is none of the sidecar's; above all not a proxy for outgoing calls. */
function sidecarEnv(): Record<string, string | undefined> {
	const { PATH, HOME, TMPDIR, LANG } = process.env;
	return { PATH, HOME, TMPDIR, LANG };
}
