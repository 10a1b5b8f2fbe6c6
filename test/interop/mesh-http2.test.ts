// Between sidecars it is HTTP/2 over mutual TLS on few connections, whatever the programs speak, with weft
// or a real Envoy at either end: requests of HTTP/1.1, WebSockets and gRPC come out on the far side as they
// went in, and instances without a sidecar are spoken to as their programs speak.

import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { Agent, createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client, credentials, Server as GrpcServer, Metadata, ServerCredentials, status } from '@grpc/grpc-js';
import { GRPC_ROUTE } from '../../src/config/grpc-route.ts';
import { SERVICE, serviceIndex } from '../../src/config/service.ts';
import type { ProgramPort, SidecarNodeMetadata } from '../../src/xds/node-metadata.ts';
import { type RunningEnvoy, startEnvoy } from '../support/envoy.ts';
import { eventually, startTestControlPlane, type TestControlPlane } from '../support/mesh-control.ts';
import { peerPath } from '../support/peers.ts';
import { startWeftSidecar } from '../support/weft-sidecar.ts';

const AGENTS = ['weft', 'Envoy'] as const;
const bytes = (value: Buffer): Buffer => value;
const REQUESTS = 1000;
const CONCURRENCY = 50;

for (const [clientIndex, clientAgent] of AGENTS.entries()) {
	for (const [serverIndex, serverAgent] of AGENTS.entries()) {
		const needsEnvoy = clientAgent === 'Envoy' || serverAgent === 'Envoy';
		const run = needsEnvoy && peerPath('envoy') === null ? describe.skip : describe;
		run(`${clientAgent} to ${serverAgent}`, () => {
			let mesh: TestControlPlane;
			let client: RunningEnvoy;
			let server: RunningEnvoy;
			let program: Server;
			let plainProgram: Server;
			let grpc: GrpcServer;
			let grpcPort: number;
			let caller: Client;
			const base = (n: number) => `127.${200 + clientIndex * 2 + serverIndex}.${process.pid & 255}.${n * 64}`;
			const agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY });

			const startProgram = async (name: string): Promise<Server> => {
				const listening = createServer((request, response) => {
					const chunks: Buffer[] = [];
					request.on('data', (chunk: Buffer) => chunks.push(chunk));
					request.on('end', () => {
						response.setHeader('content-type', 'application/json');
						const { httpVersion, method, url, headers } = request;
						response.end(
							JSON.stringify({ name, httpVersion, method, url, headers, body: Buffer.concat(chunks).toString() }),
						);
					});
				});
				listening.on('upgrade', (_request, socket) => {
					socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
					socket.on('data', (chunk) => socket.write(`echo:${chunk}`));
					socket.on('error', () => {});
				});
				await new Promise<void>((done) => listening.listen(0, '127.0.0.1', () => done()));
				return listening;
			};

			const start = async (name: string, n: number, which: string, ports: ProgramPort[]): Promise<RunningEnvoy> => {
				const metadata: SidecarNodeMetadata = {
					NAMESPACE: 'default',
					SERVICE_ACCOUNT: name,
					WORKLOAD_NAME: `${name}-v1`,
					LABELS: { app: name, version: 'v1' },
					MESH_ID: 'cluster.local',
					WEFT: {
						instance: `${name}-v1-1`,
						service: name,
						ports,
						capture: 'loopback',
						address: base(n),
						outboundBase: base(n),
					},
				};
				if (which === 'weft') return await startWeftSidecar(mesh, metadata);
				return await startEnvoy({ mesh, identity: await mesh.identity('default', name), metadata });
			};
			const addressOf = async (name: string) => {
				const service = await eventually('the service is there', () => mesh.objects.get(SERVICE, 'default', name));
				const [a, b, c, d] = base(2).split('.').map(Number);
				return `${a}.${b}.${c}.${d! + serviceIndex(service.spec.clusterIP)!}`;
			};
			let shop: string;

			beforeAll(async () => {
				mesh = await startTestControlPlane();
				program = await startProgram('behind a sidecar');
				plainProgram = await startProgram('without a sidecar');
				grpc = new GrpcServer();
				grpc.addService(
					{
						unary: { path: '/test.Echo/Unary', requestStream: false, responseStream: false, ...serializers },
						chat: { path: '/test.Echo/Chat', requestStream: true, responseStream: true, ...serializers },
						fail: { path: '/test.Echo/Fail', requestStream: false, responseStream: false, ...serializers },
					},
					{
						unary: (call: { request: Buffer }, done: (error: null, value: Buffer) => void) => done(null, call.request),
						fail: (_call: unknown, done: (error: { code: number; details: string }) => void) =>
							done({ code: status.NOT_FOUND, details: 'nothing here' }),
						chat: (call: NodeJS.ReadWriteStream) => {
							call.on('data', (chunk: Buffer) => call.write(Buffer.concat([Buffer.from('<'), chunk])));
							call.on('end', () => call.end());
						},
					},
				);
				grpcPort = await new Promise<number>((resolve, reject) =>
					grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
						error === null ? resolve(bound) : reject(error),
					),
				);
				const httpPort = (program.address() as AddressInfo).port;
				server = await start('shop', 1, serverAgent, [
					{ port: httpPort, protocol: 'http' },
					{ port: grpcPort, protocol: 'grpc' },
				]);
				client = await start('caller', 2, clientAgent, []);
				const address = await addressOf('shop');
				shop = `${address}:${httpPort}`;
				await eventually('traffic flows', async () => (await fetch(`http://${shop}/`)).status === 200);
				caller = new Client(`${address}:${grpcPort}`, credentials.createInsecure());
				await eventually('gRPC is listened for', async () => (await unary('up')) === 'up');
			});

			afterAll(async () => {
				agent.destroy();
				caller?.close();
				await client?.stop();
				await server?.stop();
				grpc?.forceShutdown();
				for (const one of [program, plainProgram]) {
					one?.closeAllConnections();
					one?.close();
				}
				await mesh?.stop();
			});

			const serializers = {
				requestSerialize: bytes,
				requestDeserialize: bytes,
				responseSerialize: bytes,
				responseDeserialize: bytes,
			};
			const unary = (text: string, method = 'Unary', metadata = new Metadata()) =>
				new Promise<string>((resolve, reject) => {
					caller.makeUnaryRequest(
						`/test.Echo/${method}`,
						bytes,
						bytes,
						Buffer.from(text),
						metadata,
						{ deadline: Date.now() + 30_000 },
						(error, value) => (error === null ? resolve(String(value)) : reject(error)),
					);
				});
			const get = (path: string, options: { method?: string; body?: string; address?: string } = {}) =>
				new Promise<{ status: number; json: Record<string, unknown> }>((resolve, reject) => {
					const [host, port] = (options.address ?? shop).split(':');
					const request = httpRequest({ host, port, path, agent, method: options.method ?? 'GET' }, (response) => {
						const chunks: Buffer[] = [];
						response.on('data', (chunk: Buffer) => chunks.push(chunk));
						response.on('end', () => {
							const text = Buffer.concat(chunks).toString();
							const json = response.statusCode === 200 ? JSON.parse(text) : { text };
							resolve({ status: response.statusCode ?? 0, json });
						});
						response.on('error', reject);
					});
					request.on('error', reject);
					request.end(options.body);
				});
			/** A counter of the client's cluster of a service port. */
			const stat = async (name: string, cluster: string): Promise<number> => {
				const text = await client.admin('/stats');
				const line = text.split('\n').find((one) => one.startsWith(`cluster.${cluster}.${name}: `));
				if (line === undefined) throw new Error(`no ${name} of ${cluster}`);
				return Number(line.split(': ')[1]);
			};
			const cluster = (address: string, host = 'shop') =>
				`outbound|${address.split(':')[1]}||${host}.default.svc.cluster.local`;

			test('a thousand requests, fifty at a time, are few connections of HTTP/2, and HTTP/1.1 on the far side', async () => {
				let next = 0;
				const worker = async () => {
					while (next < REQUESTS) {
						const path = `/${next++}`;
						const { status: code, json } = await get(path, { method: 'POST', body: `b${path}` });
						expect(code).toBe(200);
						expect(json).toMatchObject({ httpVersion: '1.1', method: 'POST', url: path, body: `b${path}` });
					}
				};
				await Promise.all(Array.from({ length: CONCURRENCY }, worker));
				expect(await stat('upstream_cx_http1_total', cluster(shop))).toBe(0);
				expect(await stat('upstream_cx_total', cluster(shop))).toBeLessThanOrEqual(3);
			});

			test('the host that was asked for, and nothing of the way, reaches the program', async () => {
				const { json } = await get('/');
				const headers = json.headers as Record<string, string>;
				expect(headers.host).toBe(shop);
				for (const name of ['transfer-encoding', 'upgrade', 'keep-alive', 'x-weft-peer', 'te']) {
					expect(headers[name]).toBeUndefined();
				}
			});

			test('a WebSocket goes through', async () => {
				const [host, port] = shop.split(':');
				const answer = await new Promise<string>((resolve, reject) => {
					const request = httpRequest({
						host,
						port,
						path: '/ws',
						headers: {
							connection: 'upgrade',
							upgrade: 'websocket',
							'sec-websocket-version': '13',
							'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
						},
					});
					request.on('upgrade', (_response: IncomingMessage, socket) => {
						socket.once('data', (chunk: Buffer) => {
							resolve(chunk.toString());
							socket.destroy();
						});
						socket.write('hello');
					});
					request.on('response', (response) => reject(new Error(`status ${response.statusCode}`)));
					request.on('error', reject);
					request.end();
				});
				expect(answer).toBe('echo:hello');
			});

			test('gRPC: unary, streaming both ways, and a status that is no success', async () => {
				expect(await unary('hello')).toBe('hello');
				const error = await unary('x', 'Fail').then(
					() => null,
					(reason: { code: number; details: string }) => reason,
				);
				expect([error?.code, error?.details]).toEqual([status.NOT_FOUND, 'nothing here']);
				const received: string[] = [];
				const call = caller.makeBidiStreamRequest('/test.Echo/Chat', bytes, bytes);
				call.on('data', (chunk: Buffer) => {
					received.push(String(chunk));
					if (received.length < 3) call.write(Buffer.from(String(received.length)));
					else call.end();
				});
				call.write(Buffer.from('0'));
				const ended = await new Promise<{ code: number; metadata: Metadata }>((resolve) => call.on('status', resolve));
				expect([ended.code, received]).toEqual([status.OK, ['<0', '<1', '<2']]);
				const many = Array.from({ length: 200 }, (_, i) => unary(`n${i}`));
				expect(await Promise.all(many)).toEqual(many.map((_, i) => `n${i}`));
				const grpcCluster = cluster(`:${grpcPort}`);
				expect(await stat('upstream_cx_http1_total', grpcCluster)).toBe(0);
				expect(await stat('upstream_cx_total', grpcCluster)).toBeLessThanOrEqual(3);
			});

			test('a GRPCRoute shares calls out by method and metadata; an instance that is not there fails none', async () => {
				const second = new GrpcServer();
				second.addService(
					{ unary: { path: '/test.Echo/Unary', requestStream: false, responseStream: false, ...serializers } },
					{
						unary: (call: { request: Buffer }, done: (error: null, value: Buffer) => void) =>
							done(null, Buffer.concat([Buffer.from('second '), call.request])),
					},
				);
				const secondPort = await new Promise<number>((resolve, reject) =>
					second.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
						error === null ? resolve(bound) : reject(error),
					),
				);
				const service = (name: string) => `
---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: default }
spec: { selector: { app: ${name} }, ports: [{ name: grpc, port: ${grpcPort} }] }
`;
				const instance = (name: string, port: number) => `
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}-${port}, namespace: default }
spec: { address: 127.0.0.1, ports: { grpc: ${port} }, labels: { app: ${name} } }
`;
				// Envoy may pick the same host again although it was tried, so that some calls fail.
				const unreachable = clientAgent === 'weft' ? instance('second', 1) : '';
				await mesh.apply(
					service('echo') +
						service('second') +
						instance('second', secondPort) +
						unreachable +
						`
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: echo, namespace: default }
spec:
  parentRefs: [{ group: "", kind: Service, name: echo }]
  rules:
    - matches: [{ headers: [{ name: x-user, value: beta }] }]
      backendRefs: [{ name: second, port: ${grpcPort} }]
    - matches: [{ method: { method: Unary } }]
      backendRefs:
        - { name: shop, port: ${grpcPort}, weight: 70 }
        - { name: second, port: ${grpcPort}, weight: 30 }
    - backendRefs: [{ name: shop, port: ${grpcPort} }]
`,
				);
				const shopCaller = caller;
				caller = new Client(`${await addressOf('echo')}:${grpcPort}`, credentials.createInsecure());
				try {
					await eventually('the route is in force', async () => (await unary('x')) !== '');
					await eventually('it is acknowledged', () => {
						const { count, of } = mesh.controlPlane.acknowledgedOf('GRPCRoute default/echo');
						return of > 0 && count === of;
					});
					const answers = await Promise.all(Array.from({ length: 400 }, (_, i) => unary(`n${i}`)));
					const shifted = answers.filter((answer) => answer.startsWith('second ')).length;
					expect(shifted).toBeGreaterThan(60);
					expect(shifted).toBeLessThan(200);
					// No rule for a method comes before one for metadata only: the other one is Unary's.
					const beta = new Metadata();
					beta.set('x-user', 'beta');
					const failed = await unary('b', 'Fail', beta).catch((error: { code: number }) => error.code);
					expect(failed).toBe(status.UNIMPLEMENTED);
					const missing = await unary('x', 'Fail').catch((error: { code: number }) => error.code);
					expect(missing).toBe(status.NOT_FOUND);
					const route = await mesh.objects.get(GRPC_ROUTE, 'default', 'echo');
					const [accepted] = route!.status!.parents[0]!.conditions;
					expect([accepted!.type, accepted!.status]).toEqual(['Accepted', 'True']);
				} finally {
					caller.close();
					caller = shopCaller;
					second.forceShutdown();
				}
			});

			test('an instance without a sidecar beside one that has: each as it can', async () => {
				const httpPort = Number(shop.split(':')[1]);
				await mesh.apply(`
apiVersion: v1
kind: Service
metadata: { name: mixed, namespace: default }
spec: { selector: { kind: mixed }, ports: [{ name: http, port: ${httpPort} }] }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: with, namespace: default }
spec:
  address: ${base(1)}
  labels: { kind: mixed, security.istio.io/tlsMode: istio }
  serviceAccount: shop
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: without, namespace: default }
spec:
  address: 127.0.0.1
  ports: { http: ${(plainProgram.address() as AddressInfo).port} }
  labels: { kind: mixed }
  serviceAccount: shop
`);
				const mixed = `${await addressOf('mixed')}:${httpPort}`;
				const seen = new Set<unknown>();
				await eventually('both answer', async () => {
					const { status: code, json } = await get('/', { address: mixed });
					if (code === 200) {
						seen.add(json.name);
						expect(json.httpVersion).toBe('1.1');
					}
					return seen.size === 2;
				});
				expect(await stat('upstream_cx_http1_total', cluster(mixed, 'mixed'))).toBeGreaterThan(0);
			});
		});
	}
}
