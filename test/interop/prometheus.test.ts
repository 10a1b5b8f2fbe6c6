// Real Prometheus scrapes a mesh on this machine by the configuration in docs/observability.md.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../support/mesh-control.ts';
import { describeWithPeers, peerPath } from '../support/peers.ts';

import { WeftProcess } from '../support/weft-process.ts';

const LIMIT_MS = 60_000;
const directory = mkdtempSync(join(tmpdir(), 'weft-prometheus-'));
const data = join(directory, 'data');
const SERVER = `
import http.server, socketserver
class Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.send_header('content-length', '2'); self.end_headers(); self.wfile.write(b'ok')
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(('127.0.0.1', 8000), Quiet).serve_forever()
`;
const DATABASE = `
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.rfile.readline() * 2)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(('127.0.0.1', 7000), Echo).serve_forever()
`;

import { freePort } from '../support/free-ports.ts';

const CLIENT = `
import socket, time, urllib.request
while True:
    try:
        with socket.create_connection(('db', 7000), 5) as db:
            db.sendall(b'hello' + bytes([10])); assert len(db.recv(100)) == 12
        print(urllib.request.urlopen('http://web:8000/', timeout=5).read().decode(), flush=True)
    except (OSError, AssertionError) as e: print('not yet', e, flush=True)
    time.sleep(0.2)
`;

describeWithPeers(['prometheus', 'promtool', 'python3'], 'Prometheus', () => {
	const processes: WeftProcess[] = [];
	let prometheus: ChildProcess | null = null;
	let api = '';

	function weft(...args: string[]): WeftProcess {
		const process = new WeftProcess(args);
		processes.push(process);
		return process;
	}

	beforeAll(async () => {
		const addresses = ['--api-address', '127.0.0.1:0', '--api-tls-address', '127.0.0.1:0'];
		const up = weft('up', '--data', data, ...addresses, '--xds-address', '127.0.0.1:0');
		api = (await up.says(/http:\/\/(127\.0\.0\.1:\d+)/))[1]!;
		// Transparent or not, each has its own 127.0.0.1 or its own addresses.
		weft('run', '--data', data, '--service', 'web', '--port', '8000', '--', 'python3', '-c', SERVER);
		weft('run', '--data', data, '--service', 'db', '--tcp-port', '7000', '--', 'python3', '-c', DATABASE);
		const client = weft('run', '--data', data, '--service', 'client', '--', 'python3', '-c', CLIENT);
		await client.says(/^ok$/m);
	}, LIMIT_MS);

	afterAll(async () => {
		prometheus?.kill('SIGKILL');
		for (const process of processes.reverse()) {
			process.signal('SIGTERM');
			await process.exited;
		}
		rmSync(directory, { recursive: true, force: true });
	}, LIMIT_MS);

	/** What promtool has to say, a line each; it must be able to read all of it. */
	async function complaints(path: string): Promise<string[]> {
		const response = await fetch(`http://${api}${path}`);
		expect(response.status).toBe(200);
		const check = spawnSync(peerPath('promtool')!, ['check', 'metrics'], {
			input: await response.text(),
			encoding: 'utf8',
		});
		// 3: it reads it, and has advice.
		expect([0, 3]).toContain(check.status!);
		return `${check.stdout}${check.stderr}`.split('\n').filter((line) => line !== '');
	}

	async function query(address: string, promql: string): Promise<{ metric: Record<string, string>; value: string }[]> {
		const response = await fetch(`http://${address}/api/v1/query?query=${encodeURIComponent(promql)}`);
		const body = (await response.json()) as {
			data: { result: { metric: Record<string, string>; value: [number, string] }[] };
		};
		return body.data.result.map(({ metric, value }) => ({ metric, value: value[1] }));
	}

	test('promtool finds nothing wrong with the metrics', async () => {
		expect(await complaints('/metrics')).toEqual([]);
		const targets = (await (await fetch(`http://${api}/weft/v1/prometheus/targets`)).json()) as {
			labels: Record<string, string>;
		}[];
		expect(targets.map(({ labels }) => labels.app).sort()).toEqual(['client', 'db', 'web']);
		for (const { labels } of targets) {
			// Envoy's and Istio's names are what they are.
			const advice = await complaints(labels.__metrics_path__!);
			const milliseconds = /^istio_request_duration_milliseconds use base unit/;
			expect(advice.filter((line) => !line.startsWith('envoy_') && !milliseconds.test(line))).toEqual([]);
		}
	});

	test(
		'it finds and scrapes the control plane and every sidecar',
		async () => {
			const document = readFileSync(join(import.meta.dir, '../../docs/observability.md'), 'utf8');
			const config = /```yaml\n([\s\S]*?)```/.exec(document)![1]!;
			const file = join(directory, 'prometheus.yml');
			writeFileSync(file, config.replaceAll('127.0.0.1:15080', api).replaceAll('15s', '1s'));
			const address = `127.0.0.1:${freePort()}`;
			const options = [`--config.file=${file}`, `--storage.tsdb.path=${join(directory, 'tsdb')}`];
			prometheus = spawn(peerPath('prometheus')!, [...options, `--web.listen-address=${address}`], { stdio: 'ignore' });
			const up = await eventually(
				'all targets are up',
				async () => {
					const found = await query(address, 'up == 1');
					return found.length === 4 && found;
				},
				30_000,
			);
			expect(up.map(({ metric }) => metric.app ?? metric.job).sort()).toEqual([
				'client',
				'db',
				'web',
				'weft-control-plane',
			]);
			const promql = 'istio_requests_total{destination_service_name="web", response_code="200"} > 0';
			const requests = await eventually('both ends count requests', async () => {
				const found = await query(address, promql);
				return found.length === 2 && found;
			});
			expect(requests.map(({ metric }) => [metric.reporter, metric.app, metric.source_app]).sort()).toEqual([
				['destination', 'web', 'client'],
				['source', 'client', 'client'],
			]);
			expect((await query(address, 'weft_sidecars_connected{agent="weft"}'))[0]?.value).toBe('3');
			// Only those that went well: the first ones may have come before the database listened.
			const closed = 'istio_tcp_connections_closed_total{destination_service_name="db", response_flags="-"} > 0';
			const connections = await eventually('both ends count TCP connections', async () => {
				const found = await query(address, closed);
				return found.length === 2 && found;
			});
			const principal = expect.stringMatching(/^spiffe:\/\/.*\/ns\/default\/sa\/client$/);
			for (const { metric } of connections) {
				expect(metric).toMatchObject({ request_protocol: 'tcp', source_principal: principal, destination_app: 'db' });
			}
			const policies = connections.map(({ metric }) => `${metric.reporter} ${metric.connection_security_policy}`);
			expect(policies.sort()).toEqual(['destination mutual_tls', 'source unknown']);
		},
		LIMIT_MS,
	);
});
