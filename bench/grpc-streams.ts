// Load of streams by grpc-js, which sends a message when the last one is out: each sends 100 small messages and waits
// for all answers; as many at a time as said. The load generator is the slowest part.
//
//   grpc-streams.ts PORT AT_ONCE SECONDS      prints one line of JSON: streams, seconds, failures, milliseconds of each

import { Client, credentials } from '@grpc/grpc-js';

const MESSAGES = 100;
const MESSAGE = Buffer.alloc(32, 'x');
const [port, atOnce, seconds] = process.argv.slice(2).map(Number) as [number, number, number];
const bytes = (message: Buffer): Buffer => message;
const clients = Array.from(
	{ length: 4 },
	() => new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }),
);
const durations: number[] = [];
let failures = 0;

function one(client: Client): Promise<void> {
	return new Promise((resolve) => {
		const started = performance.now();
		const call = client.makeBidiStreamRequest('/bench.Echo/Stream', bytes, bytes);
		let answers = 0;
		call.on('data', () => answers++);
		call.on('error', () => undefined);
		call.on('status', (status) => {
			durations.push(performance.now() - started);
			if (status.code !== 0 || answers !== MESSAGES) failures++;
			resolve();
		});
		for (let i = 0; i < MESSAGES; i++) call.write(MESSAGE);
		call.end();
	});
}

const started = performance.now();
const until = started + seconds * 1000;
await Promise.all(
	Array.from({ length: atOnce }, async (_, index) => {
		while (performance.now() < until) await one(clients[index % clients.length]!);
	}),
);
const took = (performance.now() - started) / 1000;
for (const client of clients) client.close();
console.log(JSON.stringify({ streams: durations.length, seconds: took, failures, durations }));
