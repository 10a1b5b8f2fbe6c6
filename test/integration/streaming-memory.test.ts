// Bodies stream: however long one is, and however slow who reads it, a proxy's memory does not grow with it.
// WEFT_STREAM_MB=1024 makes the bodies longer (256 MiB; slow readers get an eighth), WEFT_STREAM_FIGURES=1 prints
// what was measured.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TestAuthority } from '../../src/net/testing-certificates.ts';
import { freePorts } from '../support/free-ports.ts';
import { forgetPeak, peakResidentBytes, residentBytes } from '../support/process-memory.ts';
import { carry, type Direction, type Framing, type Pace, StreamProgram, type Transfer } from '../support/streams.ts';
import { httpListener, staticCluster } from '../support/test-proxy.ts';
import { WeftProcess } from '../support/weft-process.ts';

const MIB = 1024 * 1024;
const BODY_BYTES = Number(process.env.WEFT_STREAM_MB ?? 256) * MIB;
const SLOW_BODY_BYTES = BODY_BYTES / 8;
const WARM_UP_BYTES = 8 * MIB;
const GROWTH_MAX_BYTES = 16 * MIB;
/** Generous: other work may have the machine. */
const LIMIT_MS = 120_000;

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const HTTP_OPTIONS = 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const TCP_PROXY = 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';

/**
 * What is between client and program. Where there are two hops, both are in the one process that is measured:
 *
 *   client ──▶ NAME ──▶ NAME-back ──▶ program
 */
const WAYS = ['http1', 'http1-tls', 'http2', 'http2-tls', 'tcp', 'tcp-tls'] as const;
type Way = (typeof WAYS)[number];

const directory = mkdtempSync(join(tmpdir(), 'weft-streams-'));
const ports = new Map<string, number>();
let program: StreamProgram;
let weft: WeftProcess;

beforeAll(async () => {
	program = StreamProgram.start();
	const names = WAYS.flatMap((way) => [way, `${way}-back`]);
	const free = freePorts(names.length);
	for (const [i, name] of names.entries()) ports.set(name, free[i]!);
	const { certificatePem, privateKeyPem } = await TestAuthority.create('own', undefined, { isCa: false });
	const tls = (kind: 'Upstream' | 'Downstream') => ({
		name: 'envoy.transport_sockets.tls',
		typed_config: {
			'@type': `${TLS}.${kind}TlsContext`,
			common_tls_context:
				kind === 'Upstream'
					? {}
					: {
							tls_certificates: [
								{ certificate_chain: { inline_string: certificatePem }, private_key: { inline_string: privateKeyPem } },
							],
						},
		},
	});
	const listeners: object[] = [];
	const clusters: object[] = [staticCluster('program', [program.port])];
	const listen = (name: string, cluster: string, way: Way, secure: boolean) => {
		const routes = [{ match: { prefix: '/' }, route: { cluster, timeout: '0s' } }];
		const manager = { route_config: { virtual_hosts: [{ name: 'v', domains: ['*'], routes }] } };
		const listener = httpListener(ports.get(name)!, manager, { name }) as { filter_chains: [Record<string, unknown>] };
		const [chain] = listener.filter_chains;
		if (way.startsWith('tcp')) {
			chain.filters = [{ name: 'tcp', typed_config: { '@type': TCP_PROXY, stat_prefix: 't', cluster } }];
		}
		if (secure) chain.transport_socket = tls('Downstream');
		listeners.push(listener);
	};
	for (const way of WAYS) {
		const isDirect = way === 'http1' || way === 'tcp';
		const secure = way.endsWith('-tls');
		listen(way, isDirect ? 'program' : `${way}-back`, way, false);
		if (isDirect) continue;
		listen(`${way}-back`, 'program', way, secure);
		clusters.push(
			staticCluster(`${way}-back`, [ports.get(`${way}-back`)!], {
				...(secure ? { transport_socket: tls('Upstream') } : {}),
				...(way.startsWith('http2')
					? {
							typed_extension_protocol_options: {
								'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
									'@type': HTTP_OPTIONS,
									explicit_http_config: { http2_protocol_options: {} },
								},
							},
						}
					: {}),
			}),
		);
	}
	const file = join(directory, 'bootstrap.json');
	writeFileSync(file, JSON.stringify({ static_resources: { listeners, clusters } }));
	weft = new WeftProcess(['proxy', '-c', file]);
	await weft.says(/main: ready/);
}, LIMIT_MS);

afterAll(async () => {
	await weft?.kill();
	program?.stop();
	rmSync(directory, { recursive: true, force: true });
});

/** From what is resident before to the highest peak meanwhile. */
async function growthDuring(port: number, transfer: Transfer): Promise<number> {
	// Code is compiled and buffers are taken once.
	await carry(port, { ...transfer, bodyBytes: WARM_UP_BYTES });
	const before = residentBytes(weft.pid);
	forgetPeak(weft.pid);
	const started = performance.now();
	await carry(port, transfer);
	const growth = peakResidentBytes(weft.pid) - before;
	if (process.env.WEFT_STREAM_FIGURES !== undefined) {
		const seconds = ((performance.now() - started) / 1000).toFixed(2);
		console.log(`${seconds} s, ${(before / MIB).toFixed(1)} MiB resident, ${(growth / MIB).toFixed(1)} MiB more`);
	}
	return growth;
}

for (const way of WAYS) {
	const framings: readonly Framing[] = way.startsWith('http1') ? ['content-length', 'chunked'] : ['content-length'];
	for (const direction of ['download', 'upload'] as readonly Direction[]) {
		for (const framing of framings) {
			for (const reader of ['fast', 'slow'] as readonly Pace[]) {
				test(
					`${way}: ${direction}, ${framing}, to a ${reader} reader`,
					async () => {
						const port = ports.get(way)!;
						const bodyBytes = reader === 'fast' ? BODY_BYTES : SLOW_BODY_BYTES;
						let growth = await growthDuring(port, { direction, framing, reader, bodyBytes });
						// Once, some seconds after its start, a proxy gives back the pages of its code, which come again.
						if (growth >= GROWTH_MAX_BYTES)
							growth = await growthDuring(port, { direction, framing, reader, bodyBytes });
						expect(growth).toBeLessThan(GROWTH_MAX_BYTES);
					},
					LIMIT_MS,
				);
			}
		}
	}
}
