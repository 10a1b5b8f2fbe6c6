// The admin interface: Envoy's paths and answers, on loopback or a unix socket only. What changes
// something needs POST, and never comes from a web page.

import type { JsonObject } from '@bufbuild/protobuf';
import { RE2JS } from 're2js';
import { getHeader } from '../../http/headers.ts';
import { type SmallRequest, type SmallResponse, startSmallServer } from '../../http1/small-server.ts';
import { type Address, formatAddress, type Listener, type Network } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';
import { LOG_LEVELS, type LogLevel, logSink } from '../../std/log.ts';
import { PROMETHEUS_CONTENT_TYPE, renderPrometheusText } from '../../telemetry/prometheus-text.ts';
import { summarizeCertificates } from '../tls/secret.ts';
import type { AdminState } from './admin-state.ts';
import { clustersJson, clustersText } from './clusters-text.ts';
import { configDump, timestamp } from './config-dump.ts';
import { isUsed, namedStats, statValue } from './stats-text.ts';

interface Endpoint {
	readonly method: 'GET' | 'POST';
	readonly help: string;
	readonly handle: (state: AdminState, query: URLSearchParams) => SmallResponse;
}

const DAY_MS = 86_400_000;
/** Of the way in which processes hand over their sockets (net/socket-hand-over.ts). */
const HOT_RESTART_VERSION = 'weft.1';

const ENDPOINTS: Readonly<Record<string, Endpoint>> = {
	'/': { method: 'GET', help: 'this list', handle: () => text(help()) },
	'/help': { method: 'GET', help: 'this list', handle: () => text(help()) },
	'/ready': { method: 'GET', help: '200 when live, else 503, with the state', handle: ready },
	'/server_info': { method: 'GET', help: 'version, state, node, command line', handle: serverInfo },
	'/stats': { method: 'GET', help: 'all stats; ?filter=REGEX, ?usedonly, ?format=json|prometheus', handle: stats },
	'/stats/prometheus': { method: 'GET', help: 'all stats in the Prometheus text format', handle: prometheus },
	'/config_dump': {
		method: 'GET',
		help: 'the configuration in force; ?include_eds',
		handle: (state, query) => json(configDump(state, query.has('include_eds'))),
	},
	'/clusters': {
		method: 'GET',
		help: 'clusters and their hosts; ?format=json',
		handle: (state, query) => (query.get('format') === 'json' ? json(clustersJson(state)) : text(clustersText(state))),
	},
	'/listeners': { method: 'GET', help: 'listeners and their addresses; ?format=json', handle: listeners },
	'/certs': { method: 'GET', help: 'certificates in force', handle: certs },
	'/memory': { method: 'GET', help: 'memory in use', handle: memory },
	'/drain_listeners': {
		method: 'POST',
		help: 'drains all listeners; ?graceful, ?inboundonly',
		handle: (state, query) => {
			state.actions.drainListeners({ graceful: query.has('graceful'), inboundOnly: query.has('inboundonly') });
			return text('OK\n');
		},
	},
	'/healthcheck/fail': {
		method: 'POST',
		help: 'makes health checks of this proxy fail',
		handle: (state) => {
			state.actions.healthCheckFail();
			return text('OK\n');
		},
	},
	'/healthcheck/ok': {
		method: 'POST',
		help: 'takes /healthcheck/fail back',
		handle: (state) => {
			state.actions.healthCheckOk();
			return text('OK\n');
		},
	},
	'/logging': { method: 'POST', help: 'shows the log level, or sets it: ?level=LEVEL', handle: logging },
	'/reopen_logs': {
		method: 'POST',
		help: 'access logs go on in new files of the same names, as at SIGUSR1',
		handle: (state) => {
			state.actions.reopenLogs();
			return text('OK\n');
		},
	},
	'/quitquitquit': {
		method: 'POST',
		help: 'ends the process',
		handle: (state) => {
			state.actions.quit();
			return text('OK\n');
		},
	},
};

/** Stands between a request and its answer, where other processes are to be asked or told. */
export type AdminDetour = (
	request: SmallRequest,
	answer: () => SmallResponse,
) => SmallResponse | Promise<SmallResponse>;

/** @throws ConfigError for an address that others could reach; WeftError as `Network.listen` */
export function startAdminServer(
	network: Network,
	address: Address,
	state: AdminState,
	detour: AdminDetour = (_request, answer) => answer(),
): Listener {
	if (address.kind === 'ip' && !isLoopback(address.host)) {
		throw new ConfigError({
			object: 'bootstrap',
			field: 'admin.address',
			found: formatAddress(address),
			expected: 'a loopback address or a unix socket (pipe): whoever reaches it can stop the proxy',
		});
	}
	const handle = (request: SmallRequest) => detour(request, () => handleAdmin(request, state));
	return startSmallServer(network, address, handle, { name: 'admin' });
}

/** For tests, and for a process that has a server of its own. */
export function handleAdmin(request: SmallRequest, state: AdminState): SmallResponse {
	const endpoint = Object.hasOwn(ENDPOINTS, request.path) ? ENDPOINTS[request.path] : undefined;
	const refusal = refuseForeign(request);
	if (refusal !== null) return refusal;
	if (endpoint === undefined) return text(`invalid path. admin commands are:\n${help()}`, 404);
	if (request.method !== endpoint.method && !(request.method === 'HEAD' && endpoint.method === 'GET')) {
		return {
			...text(`Method ${request.method} not allowed, ${endpoint.method} required.\n`, 405),
			headers: ['allow', endpoint.method],
		};
	}
	return endpoint.handle(state, request.query);
}

/** What a request that was checked elsewhere is for, here: in a worker, when its main process was asked. */
export function performAdmin(path: string, query: URLSearchParams, state: AdminState): void {
	if (Object.hasOwn(ENDPOINTS, path)) ENDPOINTS[path]!.handle(state, query);
}

/**
 * A page in a browser on this machine can send requests here: by a name that it made point to loopback
 * (the Host header tells), or across sites (the Origin header tells).
 */
function refuseForeign(request: SmallRequest): SmallResponse | null {
	if (request.connection.local.kind === 'ip') {
		const host = request.authority.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
		if (host !== 'localhost' && !isLoopback(host)) return text(`Host ${host} is not this machine.\n`, 403);
	}
	if (request.method !== 'GET' && request.method !== 'HEAD' && getHeader(request.headers, 'origin') !== undefined) {
		return text('Requests of web pages are not taken.\n', 403);
	}
	return null;
}

export function isLoopback(host: string): boolean {
	return host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

function help(): string {
	return Object.entries(ENDPOINTS)
		.map(([path, { method, help: about }]) => `  ${path}${method === 'POST' ? ' (POST)' : ''}: ${about}\n`)
		.join('');
}

function ready(state: AdminState): SmallResponse {
	const now = state.state();
	return text(`${now}\n`, now === 'LIVE' ? 200 : 503);
}

function serverInfo(state: AdminState): SmallResponse {
	const uptime = (sinceMs: number): string => `${Math.floor((state.clock.wallMs() - sinceMs) / 1000)}s`;
	const { node } = state.bootstrap;
	const ads = state.ads();
	return json({
		version: state.version,
		state: state.state(),
		uptime_current_epoch: uptime(state.startedMs),
		uptime_all_epochs: uptime(state.firstStartedMs),
		hot_restart_version: state.commandLine.disable_hot_restart === false ? HOT_RESTART_VERSION : 'disabled',
		command_line_options: { ...state.commandLine },
		node: {
			id: node?.id ?? '',
			cluster: node?.cluster ?? '',
			...(node?.metadata === undefined ? {} : { metadata: node.metadata }),
		},
		...(ads === null
			? {}
			: {
					weft_control_plane: {
						state: ads.state,
						connected_since: ads.connectedSinceMs === null ? null : timestamp(ads.connectedSinceMs),
						last_error: ads.lastError,
						last_good_state_in_use: ads.restored,
						types: ads.types.map((type) => ({
							type_url: type.typeUrl,
							resources: type.resources,
							acknowledged_version: type.acknowledgedVersion,
							acknowledged_at: type.acknowledgedAtMs === null ? null : timestamp(type.acknowledgedAtMs),
							last_error: type.lastError,
						})),
					},
				}),
	});
}

function stats(state: AdminState, query: URLSearchParams): SmallResponse {
	const format = query.get('format');
	if (format === 'prometheus') return prometheus(state);
	let named = namedStats(state.registry);
	const filter = query.get('filter');
	if (filter !== null) {
		let regex: RE2JS;
		try {
			regex = RE2JS.compile(filter);
		} catch {
			return text(`Invalid regex: "${filter}"\n`, 400);
		}
		named = named.filter(({ name }) => regex.matcher(name).find());
	}
	if (query.has('usedonly')) named = named.filter(({ instrument }) => isUsed(instrument));
	if (format === 'json') {
		return json({
			stats: named.map(({ name, instrument }) =>
				'value' in instrument ? { name, value: instrument.value } : { name, value: statValue(instrument) },
			),
		});
	}
	return text(named.map(({ name, instrument }) => `${name}: ${statValue(instrument)}\n`).join(''));
}

function prometheus(state: AdminState): SmallResponse {
	return { status: 200, contentType: PROMETHEUS_CONTENT_TYPE, body: renderPrometheusText(state.registry) };
}

function listeners(state: AdminState, query: URLSearchParams): SmallResponse {
	if (query.get('format') !== 'json') {
		const lines = state
			.listeners()
			.flatMap(({ name, addresses }) => addresses.map((address) => `${name}::${formatAddress(address)}\n`));
		return text(lines.join(''));
	}
	return json({
		listener_statuses: state.listeners().map(({ name, addresses }) => ({
			name,
			local_address: addresses[0] === undefined ? null : addressJson(addresses[0]),
			...(addresses.length > 1 ? { additional_local_addresses: addresses.slice(1).map(addressJson) } : {}),
		})),
	});
}

function certs(state: AdminState): SmallResponse {
	const materials = [
		...state.listeners().flatMap((listener) => listener.certificates),
		...[...state.clusters.all()].flatMap((cluster) =>
			[...cluster.transports.contexts()].map(({ tls }) => tls.material()),
		),
	];
	const seen = new Set<string>();
	const certificates: JsonObject[] = [];
	for (const { certificateChainPem, rootsPem } of materials) {
		const key = `${certificateChainPem}\u0000${rootsPem}`;
		if (seen.has(key)) continue;
		seen.add(key);
		certificates.push({ ca_cert: details(rootsPem, state), cert_chain: details(certificateChainPem, state) });
	}
	return json({ certificates });
}

function details(pem: string, state: AdminState): JsonObject[] {
	return summarizeCertificates(pem).map((certificate) => ({
		path: '<inline>',
		serial_number: certificate.serialNumber,
		subject_alt_names: certificate.subjectAltName.split(', ').flatMap((name): JsonObject[] => {
			if (name.startsWith('URI:')) return [{ uri: name.slice(4) }];
			if (name.startsWith('DNS:')) return [{ dns: name.slice(4) }];
			return [];
		}),
		days_until_expiration: String(Math.max(0, Math.floor((certificate.notAfterMs - state.clock.wallMs()) / DAY_MS))),
		valid_from: timestamp(certificate.notBeforeMs),
		expiration_time: timestamp(certificate.notAfterMs),
	}));
}

function memory(): SmallResponse {
	const { heapUsed, heapTotal, rss } = process.memoryUsage();
	return json({ allocated: String(heapUsed), heap_size: String(heapTotal), total_physical_bytes: String(rss) });
}

function logging(_state: AdminState, query: URLSearchParams): SmallResponse {
	const level = query.get('level');
	if (level !== null) {
		if (!(LOG_LEVELS as readonly string[]).includes(level)) {
			return text(`error: unknown level ${level}, expected one of ${LOG_LEVELS.join(', ')}\n`, 400);
		}
		logSink.level = level as LogLevel;
	}
	return text(`active loggers:\n  all: ${logSink.level}\n`);
}

function addressJson(address: Address): JsonObject {
	return address.kind === 'pipe'
		? { pipe: { path: address.path } }
		: { socket_address: { address: address.host, port_value: address.port } };
}

function text(body: string, status = 200): SmallResponse {
	return { status, contentType: 'text/plain; charset=utf-8', body };
}

function json(value: JsonObject): SmallResponse {
	return { status: 200, contentType: 'application/json', body: `${JSON.stringify(value, null, 1)}\n` };
}
