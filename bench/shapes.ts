// What is measured: for each shape, which proxies take part, how they are set up and what load they get.

import { freePort } from '../test/support/free-ports.ts';
import { type Hop, type Identities, writeHop } from './bootstraps.ts';
import type { Child } from './children.ts';
import { type ContenderName, type Front, startFromBootstrap, startHaproxy, startNginx } from './contenders.ts';
import { gigabyte, grpcStreams, http1, http2, type Load } from './load.ts';
import type { Upstream } from './upstream.ts';

export interface World {
	readonly directory: string;
	readonly upstream: Upstream;
	readonly identities: Identities;
}

export interface Shape {
	readonly name: string;
	readonly title: string;
	/** What the CPU is counted by. */
	readonly unit: 'request' | 'stream' | 'GB';
	/** Proxies in a row. */
	readonly proxies: 1 | 2;
	/** At most this part of Envoy's CPU. */
	readonly goal: number;
	readonly contenders: readonly ContenderName[];
	readonly path: string;
	readonly isTls: boolean;
	readonly load: Load;
	/** Latency at a fixed rate is measured too, in this way. */
	readonly steady: { readonly isHttp2: boolean; readonly grpcMessageBytes?: number } | null;
	/** Starts the proxies so that they listen on this port. */
	start(world: World, name: ContenderName, listenPort: number): Child[];
}

const ALL: readonly ContenderName[] = ['weft', 'Envoy', 'HAProxy', 'nginx'];
const PAIR: readonly ContenderName[] = ['weft', 'Envoy'];
const GRPC_MESSAGE_BYTES = 16;

interface One {
	/** Default: HTTP/1.1. */
	readonly upstream?: 'http1' | 'http2' | 'grpc';
	readonly isTls?: boolean;
	/** What clients speak; default HTTP/1.1. */
	readonly isHttp2?: boolean;
	readonly isTcp?: boolean;
}

function throughOne(options: One): Shape['start'] {
	return (world, name, listenPort) => {
		const { identities, directory } = world;
		const targetPort = portOf(world, options.upstream ?? 'http1');
		const front: Front = {
			...{ listenPort, targetPort, isHttp2: options.isHttp2 ?? false, isTcp: options.isTcp ?? false },
			...(options.isTls ? { tls: identities.publicFiles } : {}),
		};
		if (name === 'HAProxy') return [startHaproxy(directory, front)];
		if (name === 'nginx') return [startNginx(directory, front)];
		const hop: Hop = {
			...{ listenPort, targetPort, isTcp: options.isTcp ?? false },
			isUpstreamHttp2: (options.upstream ?? 'http1') !== 'http1',
			...(options.isTls ? { downstreamTls: identities.public } : {}),
		};
		return [startFromBootstrap(name, writeHop(directory, `one-${name}`, hop), 1)];
	};
}

/** Between the two: mutual TLS 1.3. */
function throughTwo(between: 'http/1.1' | 'h2' | 'tcp', upstream: 'http1' | 'http2' | 'grpc'): Shape['start'] {
	return (world, name, listenPort) => {
		if (name !== 'weft' && name !== 'Envoy') throw new Error(`${name} takes part in no shape with two proxies`);
		const { identities, directory } = world;
		const betweenPort = freePort();
		const outbound: Hop = {
			...{ listenPort, targetPort: betweenPort, isTcp: between === 'tcp', isUpstreamHttp2: between === 'h2' },
			upstreamTls: identities.client(between === 'h2' ? 'h2' : 'http/1.1'),
		};
		const inbound: Hop = {
			...{ listenPort: betweenPort, targetPort: portOf(world, upstream), isTcp: between === 'tcp' },
			...{ downstreamTls: identities.server, isUpstreamHttp2: upstream !== 'http1' },
		};
		return [outbound, inbound].map((hop, index) =>
			startFromBootstrap(name, writeHop(directory, `two-${name}-${index}`, hop), 2 + index),
		);
	};
}

function portOf({ upstream }: World, which: 'http1' | 'http2' | 'grpc'): number {
	if (which === 'http1') return upstream.http1Port;
	return which === 'http2' ? upstream.http2Port : upstream.grpcPort;
}

const HTTP1: Pick<Shape, 'unit' | 'isTls' | 'steady' | 'path' | 'load'> = {
	unit: 'request',
	isTls: false,
	steady: { isHttp2: false },
	path: '/',
	load: http1(),
};
const HTTP2: typeof HTTP1 = { ...HTTP1, steady: { isHttp2: true }, load: http2({ streams: 10 }) };

export const SHAPES: readonly Shape[] = [
	{
		...HTTP1,
		...{ name: 'plain', title: 'Small GET through one proxy, HTTP/1.1', proxies: 1, goal: 0.4 },
		...{ contenders: ALL, start: throughOne({}) },
	},
	{
		...HTTP1,
		...{ name: '1k', title: 'Response of 1 KB, HTTP/1.1', proxies: 1, goal: 0.4, path: '/1k' },
		...{ contenders: ALL, start: throughOne({}) },
	},
	{
		...HTTP1,
		...{ name: '64k', title: 'Response of 64 KB, HTTP/1.1', proxies: 1, goal: 0.5, path: '/64k' },
		...{ contenders: ALL, start: throughOne({}) },
	},
	{
		...HTTP1,
		...{ name: 'upload', title: 'Upload of 1 MB, HTTP/1.1', proxies: 1, goal: 0.5, path: '/upload' },
		...{ contenders: ALL, start: throughOne({}), load: http1({ uploadBytes: 1 << 20 }), steady: null },
	},
	{
		...HTTP1,
		...{ name: 'tls', title: 'Small GET, TLS from the client, HTTP/1.1', proxies: 1, goal: 0.4, isTls: true },
		...{ contenders: ALL, start: throughOne({ isTls: true }) },
	},
	{
		...HTTP1,
		...{ name: 'tls-64k', title: 'Response of 64 KB, TLS from the client, HTTP/1.1', proxies: 1, goal: 0.7 },
		...{ contenders: ALL, start: throughOne({ isTls: true }), isTls: true, path: '/64k' },
	},
	{
		...HTTP1,
		...{ name: 'connect', title: 'New connection per request, HTTP/1.1', proxies: 1, goal: 0.4, steady: null },
		...{ contenders: ALL, start: throughOne({}), load: http1({ isNewConnectionEach: true }) },
	},
	{
		...HTTP1,
		...{ name: 'connect-tls', title: 'New TLS connection per request, HTTP/1.1', proxies: 1, goal: 0.7, steady: null },
		...{ contenders: ALL, start: throughOne({ isTls: true }), isTls: true },
		load: http1({ isNewConnectionEach: true }),
	},
	{
		...HTTP1,
		...{ name: 'tcp', title: 'TCP, small answers', proxies: 1, goal: 0.5 },
		...{ contenders: ['weft', 'Envoy', 'HAProxy'], start: throughOne({ isTcp: true }) },
	},
	{
		...HTTP1,
		...{ name: 'tcp-64k', title: 'TCP, answers of 64 KB', proxies: 1, goal: 0.5, path: '/64k' },
		...{ contenders: ['weft', 'Envoy', 'HAProxy'], start: throughOne({ isTcp: true }) },
	},
	{
		...HTTP1,
		...{ name: 'mtls', title: 'Small GET through two proxies, HTTP/1.1 in mutual TLS', proxies: 2, goal: 0.4 },
		...{ contenders: PAIR, start: throughTwo('http/1.1', 'http1') },
	},
	{
		...HTTP1,
		...{ name: 'mtls-64k', title: '64 KB through two proxies, HTTP/1.1 in mutual TLS', proxies: 2, goal: 0.7 },
		...{ contenders: PAIR, start: throughTwo('http/1.1', 'http1'), path: '/64k' },
	},
	{
		...HTTP2,
		...{ name: 'h2', title: 'Small GET, HTTP/2 in, HTTP/1.1 out', proxies: 1, goal: 0.4 },
		...{ contenders: ALL, start: throughOne({ isHttp2: true }) },
	},
	{
		...HTTP2,
		...{ name: 'h2-tls', title: 'Small GET, HTTP/2 over TLS in, HTTP/1.1 out', proxies: 1, goal: 0.4, isTls: true },
		...{ contenders: ALL, start: throughOne({ isHttp2: true, isTls: true }) },
	},
	{
		...HTTP1,
		...{ name: 'h1-h2-h1', title: 'Small GET, HTTP/1.1 → HTTP/2 in mutual TLS → HTTP/1.1', proxies: 2, goal: 0.4 },
		...{ contenders: PAIR, start: throughTwo('h2', 'http1') },
	},
	{
		...HTTP2,
		...{ name: 'h2-two', title: 'Small GET through two proxies, HTTP/2 all the way', proxies: 2, goal: 0.4 },
		...{ contenders: PAIR, start: throughTwo('h2', 'http2') },
	},
	{
		...HTTP2,
		...{ name: 'grpc', title: 'gRPC unary through two proxies', proxies: 2, goal: 0.4, path: '/bench.Echo/Unary' },
		...{ contenders: PAIR, start: throughTwo('h2', 'grpc') },
		load: http2({ streams: 10, grpcMessageBytes: GRPC_MESSAGE_BYTES }),
		steady: { isHttp2: true, grpcMessageBytes: GRPC_MESSAGE_BYTES },
	},
	{
		...HTTP2,
		...{ name: 'grpc-stream', title: 'gRPC, 100 messages each way on a stream, two proxies', proxies: 2, goal: 0.4 },
		...{ contenders: PAIR, start: throughTwo('h2', 'grpc'), unit: 'stream', steady: null },
		load: grpcStreams('grpc-bursts.ts'),
	},
	{
		...HTTP2,
		...{ name: 'grpc-stream-js', title: 'The same from grpc-js, message by message', proxies: 2, goal: 0.4 },
		...{ contenders: PAIR, start: throughTwo('h2', 'grpc'), unit: 'stream', steady: null },
		load: grpcStreams('grpc-streams.ts'),
	},
	{
		...HTTP2,
		...{ name: 'h2-down', title: 'One HTTP/2 stream of 1 GB to the client, two proxies', proxies: 2, goal: 0.7 },
		...{ contenders: PAIR, start: throughTwo('h2', 'http2'), unit: 'GB', load: gigabyte('download'), steady: null },
	},
	{
		...HTTP2,
		...{ name: 'h2-up', title: 'One HTTP/2 stream of 1 GB from the client, two proxies', proxies: 2, goal: 0.7 },
		...{ contenders: PAIR, start: throughTwo('h2', 'grpc'), unit: 'GB', load: gigabyte('upload'), steady: null },
	},
];
