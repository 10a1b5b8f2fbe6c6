// What slowhttptest does, in small: clients that send a head, send a body, or read an answer so slowly that they
// would hold their connections for ever. Each kind is ended by the timeout that is for it, and others are served
// meanwhile, every time.

import { afterAll, beforeAll, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../support/free-ports.ts';
import { eventually } from '../support/mesh-control.ts';
import { RawClient } from '../support/raw-client.ts';
import { StreamProgram } from '../support/streams.ts';
import { httpListener, staticCluster } from '../support/test-proxy.ts';
import { WeftProcess } from '../support/weft-process.ts';

const ATTACKERS = 100;
const BODY_BYTES = 64 * 1024 * 1024;
const GET = Buffer.from('GET /good HTTP/1.1\r\nhost: a\r\n\r\n');
/** Between two pieces of an attacker. */
const DRIP_MS = 100;
/** Generous: other work may have the machine. */
const LIMIT_MS = 60_000;
/** Those who read nothing have 30 s more to take what the kernel has for them. */
const ENDED_LIMIT_MS = 120_000;

const directory = mkdtempSync(join(tmpdir(), 'weft-slow-'));
let program: StreamProgram;
let weft: WeftProcess;
let port = 0;
let adminPort = 0;

beforeAll(async () => {
	program = StreamProgram.start();
	[port, adminPort] = freePorts(2) as [number, number];
	const routes = [
		{ match: { path: '/good' }, direct_response: { status: 200, body: { inline_string: 'fine' } } },
		{ match: { prefix: '/' }, route: { cluster: 'program', timeout: '0s' } },
	];
	const manager = {
		request_headers_timeout: '1s',
		request_timeout: '2s',
		stream_idle_timeout: '2s',
		route_config: { virtual_hosts: [{ name: 'v', domains: ['*'], routes }] },
	};
	const bootstrap = {
		admin: { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } },
		static_resources: {
			listeners: [httpListener(port, manager)],
			clusters: [staticCluster('program', [program.port])],
		},
	};
	const file = join(directory, 'bootstrap.json');
	writeFileSync(file, JSON.stringify(bootstrap));
	weft = new WeftProcess(['proxy', '-c', file]);
	await weft.says(/main: ready/);
}, LIMIT_MS);

afterAll(async () => {
	await weft?.kill();
	program?.stop();
	rmSync(directory, { recursive: true, force: true });
});

async function stat(name: string): Promise<number> {
	const text = await (await fetch(`http://127.0.0.1:${adminPort}/stats`)).text();
	return Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
}

interface Attack {
	readonly first: string;
	/** Sent again and again. Null: nothing more is sent, and nothing is read. */
	readonly drip: string | null;
	/** Counts those that were ended. */
	readonly counter: string;
}

const ATTACKS: Readonly<Record<string, Attack>> = {
	'slow heads': {
		first: 'GET / HTTP/1.1\r\nhost: a\r\n',
		drip: 'x-a: b\r\n',
		counter: 'http.test.downstream_rq_header_timeout',
	},
	'slow bodies': {
		first: `POST /upload/content-length/${BODY_BYTES}/fast HTTP/1.1\r\nhost: a\r\ncontent-length: ${BODY_BYTES}\r\n\r\n`,
		drip: 'x',
		counter: 'http.test.downstream_rq_timeout',
	},
	'slow readers': {
		first: `GET /download/content-length/${BODY_BYTES}/fast HTTP/1.1\r\nhost: a\r\n\r\n`,
		drip: null,
		counter: 'http.test.downstream_rq_idle_timeout',
	},
};

for (const [name, attack] of Object.entries(ATTACKS)) {
	test(
		`${name} are ended by their timeout, and a good client is served meanwhile`,
		async () => {
			const attackers: Socket[] = [];
			const good = await RawClient.connect(port);
			let isOver = false;
			let answered = 0;
			const serve = (async () => {
				while (!isOver) {
					good.received = '';
					await good.send([GET]);
					await good.until(() => good.closed || good.received.endsWith('fine'), LIMIT_MS);
					if (!good.received.startsWith('HTTP/1.1 200')) throw new Error(`the good client got ${good.received}`);
					answered += 1;
				}
			})();
			try {
				await Promise.all(Array.from({ length: ATTACKERS }, async () => attackers.push(await mount(attack))));
				const drips = setInterval(() => {
					if (attack.drip !== null) for (const one of attackers) if (one.writable) one.write(attack.drip);
				}, DRIP_MS);
				const isEnded = async () => (await stat(attack.counter)) === ATTACKERS;
				const areGone = async () => (await stat('http.test.downstream_cx_active')) === 1;
				try {
					await eventually(
						'the attackers are ended',
						async () => (await isEnded()) && (await areGone()),
						ENDED_LIMIT_MS,
					);
				} finally {
					clearInterval(drips);
				}
				const before = answered;
				await eventually('the good client is served', () => answered > before, LIMIT_MS);
			} finally {
				isOver = true;
				for (const one of attackers) one.destroy();
				await serve;
				good.destroy();
			}
			await eventually('nothing is left', async () => (await stat('http.test.downstream_cx_active')) === 0, LIMIT_MS);
		},
		LIMIT_MS + ENDED_LIMIT_MS,
	);
}

function mount({ first, drip }: Attack): Promise<Socket> {
	return new Promise((resolve, reject) => {
		const socket = connect({ port, host: '127.0.0.1' });
		if (drip === null) socket.pause();
		else socket.resume();
		socket.once('error', reject);
		socket.once('connect', () => {
			socket.off('error', reject);
			socket.on('error', () => socket.destroy());
			socket.write(first);
			resolve(socket);
		});
	});
}
