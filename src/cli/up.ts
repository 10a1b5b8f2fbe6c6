// `weft up`: the control plane and the dashboard on this machine, until it is told to stop.

import { isIPv4 } from 'node:net';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { startLocalControlPlane } from '../app/control-plane/local-control-plane.ts';
import { dataDirectory, dataPaths } from '../app/data-directory.ts';
import { releaseStartupMemory } from '../app/startup-memory.ts';
import type { TcpAddress } from '../control/api/api-server.ts';
import { quietGrpc } from '../grpc/quiet.ts';
import { DEFAULT_TRUST_DOMAIN, trustDomainFault } from '../identity/spiffe.ts';
import { SystemNetwork } from '../net/system-network.ts';
import { LOG_LEVELS, type LogLevel, logSink } from '../std/log.ts';
import { endWith } from './end-with.ts';
import { WEFT_VERSION } from './weft-version.ts';

interface Flags {
	readonly data?: string;
	readonly apiAddress: TcpAddress;
	readonly apiTlsAddress?: TcpAddress;
	readonly xdsAddress: TcpAddress;
	readonly trustDomain: string;
	readonly logLevel: LogLevel;
	readonly logFormat: 'text' | 'json';
}

const API_TLS_DEFAULT: TcpAddress = { hostname: '127.0.0.1', port: 15443 };

const EXAMPLES = `
Examples:
  weft up
  weft up --data ./mesh --api-address 127.0.0.1:16080 --xds-address 127.0.0.1:16012
  kubectl --kubeconfig ~/.local/share/weft/kubeconfig get services

It stops in order at Ctrl-C or SIGTERM. Traffic between services goes on without it.`;

export function register(program: Command): void {
	program
		.command('up')
		.description('start the control plane and the dashboard on this machine')
		.option(
			'--data <directory>',
			'where it keeps its state (default: $WEFT_DATA, else $XDG_DATA_HOME/weft, else ~/.local/share/weft)',
		)
		.addOption(
			new Option('--api-address <address:port>', 'API and dashboard')
				.argParser(loopbackAddress)
				.default({ hostname: '127.0.0.1', port: 15080 }, '127.0.0.1:15080'),
		)
		.option(
			'--api-tls-address <address:port>',
			'API over TLS, for kubectl (default: 127.0.0.1:15443, or any free port)',
			loopbackAddress,
		)
		.addOption(
			new Option('--xds-address <address:port>', 'sidecars and certificates')
				.argParser(loopbackAddress)
				.default({ hostname: '127.0.0.1', port: 15012 }, '127.0.0.1:15012'),
		)
		.option('--trust-domain <name>', 'of the identities that it gives out', trustDomain, DEFAULT_TRUST_DOMAIN)
		.addOption(new Option('-l, --log-level <level>', 'how much it logs').choices(LOG_LEVELS).default('info'))
		.addOption(
			new Option('--log-format <format>', 'one line or one JSON object each').choices(['text', 'json']).default('text'),
		)
		.addHelpText('after', EXAMPLES)
		.action((_flags: unknown, self: Command) => {
			const flags = self.optsWithGlobals<Flags>();
			logSink.level = flags.logLevel;
			logSink.format = flags.logFormat;
			quietGrpc();
			return endWith('up', () => up(flags));
		});
}

async function up(flags: Flags): Promise<number> {
	const paths = dataPaths(dataDirectory(flags.data, process.env));
	// Listened for from the start, so that a stop while starting is one in order too.
	const stopped = stopAsked();
	const network = new SystemNetwork();
	const controlPlane = await startLocalControlPlane({
		network,
		paths,
		api: flags.apiAddress,
		apiTls: { ...(flags.apiTlsAddress ?? API_TLS_DEFAULT), mayMove: flags.apiTlsAddress === undefined },
		xds: flags.xdsAddress,
		trustDomain: flags.trustDomain,
		version: WEFT_VERSION,
	});
	process.stdout.write(
		[
			'weft is up',
			`  dashboard   http://${flags.apiAddress.hostname}:${controlPlane.apiPort}/`,
			`  API         unix:${paths.apiSocket}`,
			`  kubectl     --kubeconfig ${paths.kubeconfig}`,
			`  sidecars    ${flags.xdsAddress.hostname}:${controlPlane.xdsPort}`,
			`  data        ${paths.directory}`,
			'',
		].join('\n'),
	);
	const settling = releaseStartupMemory(network.clock);
	await stopped;
	settling.cancel();
	await controlPlane.stop();
	return 0;
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
function stopAsked(): Promise<void> {
	return new Promise((resolve) => {
		let asked = false;
		const onSignal = () => {
			if (asked) process.exit(1);
			asked = true;
			resolve();
		};
		process.on('SIGINT', onSignal);
		process.on('SIGTERM', onSignal);
	});
}

function loopbackAddress(text: string): TcpAddress {
	const match = /^(\d{1,3}(?:\.\d{1,3}){3}):(\d{1,5})$/.exec(text);
	const hostname = match?.[1] ?? '';
	const port = Number(match?.[2] ?? -1);
	if (isIPv4(hostname) && hostname.startsWith('127.') && port >= 0 && port <= 65535) return { hostname, port };
	throw new InvalidArgumentError('Expected a loopback address and a port, 127.0.0.1:15080 (port 0: any free one).');
}

function trustDomain(text: string): string {
	const fault = trustDomainFault(text);
	if (fault === null) return text;
	throw new InvalidArgumentError(`Expected a trust domain: ${fault}.`);
}
