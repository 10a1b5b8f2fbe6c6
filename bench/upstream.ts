// What stands behind the proxies: nginx as HTTP/1.1 and as HTTP/2 without TLS, and a program of our own for gRPC and
// for uploads by HTTP/2.

import { ftruncateSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../test/support/free-ports.ts';
import { type Child, start, untilListening } from './children.ts';
import { nginxPath } from './contenders.ts';

export interface Upstream {
	readonly http1Port: number;
	/** HTTP/2 by prior knowledge. */
	readonly http2Port: number;
	readonly grpcPort: number;
}

/** Bytes of the file that `/gigabyte` answers; sparse, so that no disk is read. */
export const GIGABYTE = 1 << 30;
const SMALL = JSON.stringify({ status: 'ok', items: Array.from({ length: 8 }, (_, index) => `item ${index}`) });
export async function startUpstream(directory: string): Promise<Upstream> {
	const upstream = { http1Port: freePort(), http2Port: freePort(), grpcPort: freePort() };
	const files = join(directory, 'files');
	mkdirSync(files, { recursive: true });
	writeFileSync(join(files, '1k'), Buffer.alloc(1024, 'x'));
	writeFileSync(join(files, '64k'), Buffer.alloc(65_536, 'x'));
	ftruncateSync(openSync(join(files, 'gigabyte'), 'w'), GIGABYTE);
	const scratch = join(directory, 'upstream');
	mkdirSync(scratch, { recursive: true });
	const file = join(directory, 'upstream.conf');
	writeFileSync(file, nginxConfiguration(scratch, files, upstream));
	const children: Child[] = [
		start('upstream', [nginxPath()!, '-e', 'stderr', '-p', scratch, '-c', file]),
		start('gRPC upstream', ['node', join(import.meta.dir, 'grpc-upstream.mjs'), String(upstream.grpcPort)]),
	];
	for (const port of Object.values(upstream)) await untilListening(port, children);
	return upstream;
}

function nginxConfiguration(scratch: string, files: string, upstream: Upstream): string {
	// As root, nginx would else take another user for its worker, who may not read the files.
	const user = process.getuid?.() === 0 ? 'user root;\n' : '';
	return `${user}worker_processes 1;
daemon off;
pid ${scratch}/pid;
error_log stderr error;
events { worker_connections 8192; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_max_body_size 0;
	client_body_temp_path ${scratch}/body;
	proxy_temp_path ${scratch}/proxy;
	fastcgi_temp_path ${scratch}/fastcgi;
	uwsgi_temp_path ${scratch}/uwsgi;
	scgi_temp_path ${scratch}/scgi;
	open_file_cache max=100;
	server {
		listen 127.0.0.1:${upstream.http1Port} backlog=4096;
		listen 127.0.0.1:${upstream.http2Port} http2 backlog=4096;
		http2_max_concurrent_streams 1000;
		root ${files};
		default_type application/json;
		location = / { return 200 '${SMALL}'; }
		location = /ok { return 200 ok; }
		location = /upload {
			# Reads all of it first, and drops it: an answer before the end would be another shape.
			client_body_buffer_size 2m;
			proxy_pass http://127.0.0.1:${upstream.http1Port}/ok;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
		}
	}
}
`;
}
