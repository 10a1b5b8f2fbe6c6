// The relay on real sockets of loopback, in front of DNS servers of our own.

import { afterEach, describe, expect, test } from 'bun:test';
import { connect } from 'node:net';
import { type DecodedPacket, decode, encode, type Packet } from 'dns-packet';
import { bindDatagrams, connectDatagrams } from '../../../net/datagrams.ts';
import type { Connection, ConnectionHandler, IpAddress, ListenOptions, Network } from '../../../net/network.ts';
import { SimulatedNetwork } from '../../../net/simulated-network.ts';
import { SystemNetwork } from '../../../net/system-network.ts';
import { DnsRelay, takingOnePort } from './dns-relay.ts';
import { MeshZone } from './mesh-zone.ts';
import { FrameReader, frame } from './tcp-frames.ts';

const network = new SystemNetwork();
const closers: (() => void)[] = [];
const IDLE: ConnectionHandler = { onConnect() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} };
const ANY_PORT: IpAddress = { kind: 'ip', host: '127.0.0.1', port: 0 };

afterEach(() => {
	for (const close of closers.splice(0)) close();
});

interface Server {
	readonly address: IpAddress;
	readonly asked: { readonly packet: DecodedPacket; readonly from: IpAddress; readonly transport: string }[];
}

/** Gives the datagrams to answer a query with. */
type Reply = (query: DecodedPacket, transport: string) => Uint8Array[];

function dnsServer(reply: Reply): Promise<Server> {
	return takingOnePort(ANY_PORT, () => dnsServerOnce(reply));
}

async function dnsServerOnce(reply: Reply): Promise<Server> {
	const asked: Server['asked'] = [];
	const datagrams = await bindDatagrams(ANY_PORT, {
		onDatagram: (bytes, from) => {
			const packet = decode(Buffer.from(bytes));
			asked.push({ packet, from, transport: 'udp' });
			for (const message of reply(packet, 'udp')) datagrams.send(message, from);
		},
		onError: () => {},
	});
	const address: IpAddress = { ...ANY_PORT, port: datagrams.local.port };
	closers.push(() => datagrams.close());
	const listener = network.listen({ address }, (connection) => {
		const frames = new FrameReader((message) => {
			const packet = decode(Buffer.from(message));
			asked.push({ packet, from: ANY_PORT, transport: 'tcp' });
			for (const one of reply(packet, 'tcp')) connection.write(frame(one));
		});
		connection.handler = {
			onConnect() {},
			onData: (_connection, bytes) => frames.push(bytes),
			onDrain() {},
			onEnd: (ending) => ending.end(),
			onClose() {},
		};
	});
	closers.push(() => listener.close());
	return { address, asked };
}

function answer(query: DecodedPacket, more: Partial<Packet> & { data?: string } = {}): Uint8Array {
	const { data = '192.0.2.7', ...packet } = more;
	const name = query.questions![0]!.name;
	return encode({
		type: 'response',
		id: query.id!,
		questions: query.questions!,
		answers: [{ type: 'A', name, ttl: 30, data }],
		...packet,
	});
}

async function relayFor(servers: readonly IpAddress[] | null): Promise<IpAddress> {
	const zone = new MeshZone('shop');
	zone.set([{ name: 'ratings', namespace: 'shop', address: '127.96.0.1' }]);
	const relay = await DnsRelay.start({
		network,
		address: ANY_PORT,
		zone,
		servers: servers === null ? null : () => servers,
	});
	closers.push(() => relay.stop());
	return { ...ANY_PORT, port: relay.port };
}

function query(name: string, more: Partial<Packet> = {}): Uint8Array {
	return encode({ type: 'query', id: 4711, flags: 0x100, questions: [{ type: 'A', name }], ...more });
}

function askUdp(relay: IpAddress, bytes: Uint8Array): Promise<Uint8Array> {
	return new Promise((resolve) => {
		void connectDatagrams(relay, { onDatagram: (got) => resolve(got.slice()), onError: () => {} }).then((socket) => {
			closers.push(() => socket.close());
			socket.send(bytes, null);
		});
	});
}

function askTcp(relay: IpAddress, messages: readonly Uint8Array[]): Promise<DecodedPacket[]> {
	return new Promise((resolve, reject) => {
		const got: DecodedPacket[] = [];
		const socket = connect(relay.port, relay.host, () => socket.end(Buffer.concat(messages.map(frame))));
		const frames = new FrameReader((message) => got.push(decode(Buffer.from(message))));
		socket.on('data', (bytes: Buffer) => frames.push(bytes));
		socket.on('end', () => resolve(got));
		socket.on('error', reject);
	});
}

const rcode = (packet: DecodedPacket) => (packet.flags ?? 0) & 15;
const addresses = (packet: DecodedPacket) => packet.answers!.map((one) => (one.type === 'A' ? one.data : one.type));

describe('names of the mesh', () => {
	test('are answered at once, with the options that EDNS asks for', async () => {
		const relay = await relayFor(null);
		const options = {
			type: 'OPT' as const,
			name: '.',
			udpPayloadSize: 4096,
			flags: 0,
			options: [],
			extendedRcode: 0,
			ednsVersion: 0,
			flag_do: false,
		};
		const packet = decode(
			Buffer.from(await askUdp(relay, query('ratings.shop.svc.cluster.local', { additionals: [options] }))),
		);
		expect(packet).toMatchObject({ id: 4711, type: 'response', flag_aa: true, flag_rd: true, flag_ra: true });
		expect(addresses(packet)).toEqual(['127.96.0.1']);
		expect(packet.additionals!.map(({ type }) => type)).toEqual(['OPT']);
	});

	test('without such a record, or that are not there, have no answer but for how long that holds', async () => {
		const relay = await relayFor(null);
		const noData = decode(
			Buffer.from(await askUdp(relay, query('ratings', { questions: [{ type: 'AAAA', name: 'ratings' }] }))),
		);
		expect([rcode(noData), noData.answers, noData.authorities![0]!.type]).toEqual([0, [], 'SOA']);
		const unknown = decode(Buffer.from(await askUdp(relay, query('no.shop.svc.cluster.local'))));
		expect([rcode(unknown), unknown.answers, unknown.authorities![0]!.type]).toEqual([3, [], 'SOA']);
	});
});

describe('other names', () => {
	test('are asked of the machine’s resolvers, under other ids and from other ports each time', async () => {
		const server = await dnsServer((asked) => [answer(asked)]);
		const relay = await relayFor([server.address]);
		for (let index = 0; index < 4; index++) {
			const packet = decode(Buffer.from(await askUdp(relay, query('example.com'))));
			expect(packet.id).toBe(4711);
			expect(addresses(packet)).toEqual(['192.0.2.7']);
		}
		expect(new Set(server.asked.map(({ from }) => from.port)).size).toBeGreaterThan(1);
		expect(new Set(server.asked.map(({ packet }) => packet.id)).size).toBeGreaterThan(1);
	});

	test('what does not answer the question is waited past', async () => {
		const server = await dnsServer((asked) => [
			answer(asked, { id: asked.id! ^ 1, data: '203.0.113.1' }),
			answer(asked, { questions: [{ type: 'A', name: 'example.org' }], data: '203.0.113.2' }),
			new Uint8Array(3),
			answer(asked),
		]);
		const relay = await relayFor([server.address]);
		expect(addresses(decode(Buffer.from(await askUdp(relay, query('example.com')))))).toEqual(['192.0.2.7']);
	});

	test('go to the next resolver when one is not there or fails', async () => {
		const broken = await dnsServer((asked) => [answer(asked, { answers: [], flags: 2 })]);
		const gone = await bindDatagrams(ANY_PORT, { onDatagram() {}, onError() {} });
		gone.close();
		const good = await dnsServer((asked) => [answer(asked)]);
		const relay = await relayFor([gone.local, broken.address, good.address]);
		expect(addresses(decode(Buffer.from(await askUdp(relay, query('example.com')))))).toEqual(['192.0.2.7']);
		expect(broken.asked).toHaveLength(1);
	});

	test('failed everywhere: the program hears so', async () => {
		const broken = await dnsServer((asked) => [answer(asked, { answers: [], flags: 5 })]);
		const relay = await relayFor([broken.address]);
		expect(rcode(decode(Buffer.from(await askUdp(relay, query('example.com')))))).toBe(5);
		const nobody = await relayFor([]);
		expect(rcode(decode(Buffer.from(await askUdp(nobody, query('example.com')))))).toBe(2);
	});

	test('are refused where only the mesh is to be reached', async () => {
		const relay = await relayFor(null);
		expect(rcode(decode(Buffer.from(await askUdp(relay, query('example.com')))))).toBe(5);
	});

	test('over TCP go over TCP, several on one connection', async () => {
		const data = '192.0.2.8';
		const server = await dnsServer((asked, transport) => (transport === 'tcp' ? [answer(asked, { data })] : []));
		const relay = await relayFor([server.address]);
		const got = await askTcp(relay, [query('example.com'), query('ratings', { id: 2 })]);
		expect(got.map((packet) => [packet.id, ...addresses(packet)]).sort()).toEqual([
			[2, '127.96.0.1'],
			[4711, '192.0.2.8'],
		]);
		expect(server.asked.map(({ transport }) => transport)).toEqual(['tcp']);
	});
});

test('a client that reads no answer is not read from for ever', async () => {
	const wire = new SimulatedNetwork();
	let accepted: Connection | null = null;
	const watched: Network = Object.assign(Object.create(wire), {
		clock: wire.clock,
		listen: (options: ListenOptions, accept: (connection: Connection) => void) =>
			wire.listen(options, (connection) => {
				accepted = connection;
				accept(connection);
			}),
	});
	const zone = new MeshZone('shop');
	zone.set([]);
	const relay = await DnsRelay.start({ network: watched, address: ANY_PORT, zone, servers: null });
	closers.push(() => relay.stop());
	const client = wire.connect({ address: { ...ANY_PORT, port: relay.port } }, IDLE);
	client.pause();
	// So few at once that no more are under way than may be.
	const few = new Array(10).fill(frame(query(`${`${'x'.repeat(60)}.`.repeat(3)}cluster.local`)));
	let most = 0;
	let sent = 0;
	for (let round = 0; round < 1000; round++) {
		if (client.bufferedBytes === 0) {
			for (const one of few) client.write(one);
			sent++;
		}
		wire.clock.advance(5);
		for (let i = 0; i < 20; i++) await Promise.resolve();
		most = Math.max(most, (accepted as Connection | null)?.bufferedBytes ?? 0);
	}
	expect(sent).toBeLessThan(1000);
	expect(most).toBeGreaterThan(0);
	expect(most).toBeLessThan(512 * 1024);
});

test('what is no query is answered as such, or not at all', async () => {
	const relay = await relayFor(null);
	const twice = query('a', {
		questions: [
			{ type: 'A', name: 'a' },
			{ type: 'A', name: 'b' },
		],
	});
	expect((await askUdp(relay, twice))[3]! & 15).toBe(1);
	const cut = query('example.com').slice(0, 20);
	expect((await askUdp(relay, cut))[3]! & 15).toBe(1);
	// Answers to answers would go round for ever: the next thing heard is the answer to the next query.
	const socket = await connectDatagrams(relay, { onDatagram: (bytes) => heard(bytes.slice()), onError() {} });
	let heard: (bytes: Uint8Array) => void = () => {};
	const next = new Promise<Uint8Array>((resolve) => {
		heard = resolve;
	});
	socket.send(answer(decode(Buffer.from(query('example.com')))), null);
	socket.send(new Uint8Array(5), null);
	socket.send(query('ratings', { id: 9 }), null);
	expect(decode(Buffer.from(await next)).id).toBe(9);
	socket.close();
});
