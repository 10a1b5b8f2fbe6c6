import { beforeEach, expect, test } from 'bun:test';
import type { Connection } from '../net/network.ts';
import { SimulatedNetwork } from '../net/simulated-network.ts';
import { type ProbeKind, probe } from './health-probe.ts';

const ADDRESS = { kind: 'ip' as const, host: '127.0.0.1', port: 9080 };
const HTTP: ProbeKind = { kind: 'http', path: '/ready', host: 'a' };
const TCP: ProbeKind = { kind: 'tcp' };

let network: SimulatedNetwork;
let request: string;

beforeEach(() => {
	network = new SimulatedNetwork();
	request = '';
});

/** A program that answers with `text`; null: it takes the request and says nothing. */
function listen(text: string | null, end = true): void {
	network.listen({ address: ADDRESS }, (connection: Connection) => {
		connection.handler = {
			onConnect: () => {},
			onDrain: () => {},
			onEnd: () => {},
			onClose: () => {},
			onData: (open, bytes) => {
				request += Buffer.from(bytes).toString('latin1');
				if (text === null || !request.endsWith('\r\n\r\n')) return;
				open.write(Buffer.from(text));
				if (end) open.end();
			},
		};
	});
}

/** The results of one probe, all of them, after two seconds. */
function results(what: ProbeKind): (string | null)[] {
	const said: (string | null)[] = [];
	probe(network, ADDRESS, what, 1000, (failure) => said.push(failure));
	network.clock.advance(2000);
	return said;
}

test('passes on 2xx, with a request that a program understands', () => {
	listen('HTTP/1.1 204 No Content\r\n\r\n');
	expect(results(HTTP)).toEqual([null]);
	expect(request).toStartWith('GET /ready HTTP/1.1\r\nhost: a\r\n');
});

test('fails on another status, and says which', () => {
	listen('HTTP/1.1 503 Service Unavailable\r\n\r\n');
	expect(results(HTTP)).toEqual(['status 503']);
});

test('fails on what is not HTTP, however long', () => {
	listen('SSH-2.0-x\r\n');
	expect(results(HTTP)).toEqual(['the answer is not HTTP/1.1']);
});

test('gives up on an answer without a line end', () => {
	listen('x'.repeat(100_000), false);
	expect(results(HTTP)).toEqual(['the answer is not HTTP']);
});

test('fails when no answer comes in time', () => {
	listen(null);
	expect(results(HTTP)).toEqual(['no answer within 1000 ms']);
});

test('fails when nobody listens', () => {
	expect(results(TCP)).toHaveLength(1);
	expect(results(TCP)[0]).not.toBeNull();
});

test('a connection that opens is enough for TCP', () => {
	listen(null);
	expect(results(TCP)).toEqual([null]);
});

test('says nothing once it is cancelled', () => {
	listen(null);
	const said: (string | null)[] = [];
	probe(network, ADDRESS, HTTP, 1000, (failure) => said.push(failure)).cancel();
	network.clock.advance(2000);
	expect(said).toEqual([]);
});
