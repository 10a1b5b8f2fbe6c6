// The proxies that are compared, each with one worker, and how to start them.

import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Child, start } from './children.ts';

const root = join(import.meta.dir, '..');

export type ContenderName = 'weft' | 'Envoy' | 'HAProxy' | 'nginx';

const binary = join(root, 'dist/weft');
let weftCommand: readonly string[] = [];

/** `command`: to be run as weft, words with spaces between, or null. Returns what will be measured, in words. */
export function setWeftCommand(fromSource: boolean, command: string | null): string {
	if (command !== null) {
		weftCommand = command.split(' ');
		return command;
	}
	const built = fromSource ? undefined : statSync(binary, { throwIfNoEntry: false });
	weftCommand = built === undefined ? [process.execPath, join(root, 'bin/weft.ts')] : [binary];
	return built === undefined ? 'from source' : `dist/weft, built ${built.mtime.toISOString().slice(0, 16)}`;
}

/** weft and Envoy: the same bootstrap file. */
export function startFromBootstrap(name: 'weft' | 'Envoy', file: string, baseId: number): Child {
	const flags = ['-c', file, '--concurrency', '1', '-l', 'error'];
	if (name === 'weft') return start(name, [...weftCommand, 'proxy', ...flags]);
	return start(name, [envoy() ?? 'envoy', ...flags, '--base-id', String(baseId), '--disable-hot-restart']);
}

function envoy(): string | null {
	const own = join(root, '.venv/bin/envoy');
	return existsSync(own) ? own : Bun.which('envoy');
}

export function isInstalled(name: ContenderName): boolean {
	switch (name) {
		case 'weft':
			return true;
		case 'Envoy':
			return envoy() !== null;
		case 'HAProxy':
			return sbin('haproxy') !== null;
		case 'nginx':
			return nginxPath() !== null;
	}
}

export function nginxPath(): string | null {
	return sbin('nginx');
}

function sbin(name: string): string | null {
	return Bun.which(name, { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` });
}

/** What HAProxy and nginx are to do; weft and Envoy have a bootstrap for it. */
export interface Front {
	readonly listenPort: number;
	readonly targetPort: number;
	readonly tls?: { readonly both: string; readonly certificate: string; readonly key: string };
	/** Clients speak HTTP/2: by ALPN with TLS, else by prior knowledge. */
	readonly isHttp2?: boolean;
	/** HAProxy only. */
	readonly isTcp?: boolean;
}

export function startHaproxy(directory: string, front: Front): Child {
	const file = join(directory, 'haproxy.cfg');
	const tls = front.tls === undefined ? '' : ` ssl crt ${front.tls.both} alpn ${front.isHttp2 ? 'h2' : 'http/1.1'}`;
	const proto = front.isHttp2 && front.tls === undefined ? ' proto h2' : '';
	writeFileSync(
		file,
		`global
	nbthread 1
	maxconn 8192
defaults
	mode ${front.isTcp ? 'tcp' : 'http'}
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	${front.isTcp ? '' : 'http-reuse always'}
frontend in
	bind 127.0.0.1:${front.listenPort}${tls}${proto}
	default_backend target
backend target
	server target 127.0.0.1:${front.targetPort}
`,
	);
	return start('HAProxy', [sbin('haproxy')!, '-db', '-f', file]);
}

export function startNginx(directory: string, front: Front): Child {
	const file = join(directory, 'nginx.conf');
	const scratch = join(directory, 'nginx');
	mkdirSync(scratch, { recursive: true });
	const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
		.map((kind) => `\t${kind}_temp_path ${scratch}/${kind};`)
		.join('\n');
	const tls = front.tls === undefined ? '' : ' ssl';
	const certificate =
		front.tls === undefined
			? ''
			: `ssl_certificate ${front.tls.certificate};\n\t\tssl_certificate_key ${front.tls.key};`;
	writeFileSync(
		file,
		`worker_processes 1;
daemon off;
pid ${scratch}/pid;
error_log stderr error;
events { worker_connections 8192; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_max_body_size 0;
${temporary}
	upstream target {
		server 127.0.0.1:${front.targetPort};
		keepalive 256;
		keepalive_requests 1000000000;
	}
	server {
		listen 127.0.0.1:${front.listenPort}${tls}${front.isHttp2 ? ' http2' : ''};
		${certificate}
		location / {
			proxy_pass http://target;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_request_buffering off;
		}
	}
}
`,
	);
	return start('nginx', [sbin('nginx')!, '-e', 'stderr', '-p', scratch, '-c', file]);
}
