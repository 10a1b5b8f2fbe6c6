// What listener filters make of a connection: PROXY header, TLS and HTTP detection, one behind the other:
//
//  - no input makes them throw;
//  - every split of the input comes to the same end: refused, still waiting, or handed on with the same findings;
//  - what is handed on is the input, less the PROXY header, to the byte;
//  - nobody waits for more than the bound.

import { create } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { ListenerFilterSchema } from '../../src/generated/envoy/config/listener/v3/listener_components_pb.ts';
import { HttpInspectorSchema } from '../../src/generated/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.ts';
import { ProxyProtocolSchema } from '../../src/generated/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.ts';
import { TlsInspectorSchema } from '../../src/generated/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts';
import type { Address, Connection } from '../../src/net/network.ts';
import { testClientHello } from '../../src/net/testing-client-hello.ts';
import { compileListenerFilters } from '../../src/proxy/listener-filters/compile-listener-filters.ts';
import { Inspection, newFindings } from '../../src/proxy/listener-filters/inspection.ts';
import type { Inspector } from '../../src/proxy/listener-filters/listener-filter.ts';
import { readProxyHeader } from '../../src/proxy/listener-filters/proxy-protocol-header.ts';
import { VirtualClock } from '../../src/std/clock.ts';
import type { Random } from '../../src/std/random.ts';
import { MetricRegistry } from '../../src/telemetry/registry.ts';
import { cut } from '../support/byte-split.ts';
import { type FuzzTarget, fail, grow, same } from './fuzz.ts';

const V2 = '\r\n\r\n\0\r\nQUIT\n';
const PROXY_HEADERS = [
	'PROXY TCP4 192.0.2.7 10.1.2.3 4000 80\r\n',
	'PROXY TCP6 2001:db8::1 ::1 4000 80\r\n',
	'PROXY UNKNOWN\r\n',
	`${V2}\x21\x11\0\x0c\xc0\0\x02\x07\x0a\x01\x02\x03\x0f\xa0\0\x50`,
	`${V2}\x21\x11\0\x11\xc0\0\x02\x07\x0a\x01\x02\x03\x0f\xa0\0\x50\x04\0\x02ab`,
	`${V2}\x21\x21\0\x24${'\x20\x01\x0d\xb8'.repeat(8)}\x0f\xa0\0\x50`,
	`${V2}\x20\0\0\x03abc`,
];
const CLIENTS = [
	'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
	'GET /\n',
	'CONNECT a:80 HTTP/1.0\r\n\r\n',
	'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0',
	'SSH-2.0-x\r\n',
	Buffer.from(testClientHello({ serverName: 'a.example', alpn: ['h2'], versions: [0x0304] })).toString('latin1'),
	Buffer.from(testClientHello({})).toString('latin1'),
	`GET /${'x'.repeat(9000)} HTTP/1.1\r\n`,
];
const SPICE = [
	...['PROXY ', 'PROXY TCP4 ', V2, '\x21\x11\xff\xff', '\r\n', '\n', ' ', '\0', '\x16\x03\x01', '\xff\xff'],
	...['HTTP/1.1', '\x80', 'x'.repeat(5000), 'PRI * HTTP/2.0\r\n'],
];
/** Header, ClientHello, and one read more. */
const WAITING_BYTES_MAX = 16 + 65535 + 16 * 1024;

const registry = new MetricRegistry();
const clock = new VirtualClock(0);
const proxyProtocol = (optional: boolean) =>
	anyPack(ProxyProtocolSchema, create(ProxyProtocolSchema, { allowRequestsWithoutProxyProtocol: optional }));
const CHAINS = [true, false].map((optional) =>
	compileListenerFilters(
		[
			proxyProtocol(optional),
			anyPack(TlsInspectorSchema, create(TlsInspectorSchema)),
			anyPack(HttpInspectorSchema, create(HttpInspectorSchema)),
		].map((any, index) =>
			create(ListenerFilterSchema, { name: `f${index}`, configType: { case: 'typedConfig', value: any } }),
		),
		false,
		registry,
		'fuzzed',
	),
);

interface Outcome {
	end: 'refused' | 'waiting' | 'handed on';
	found: unknown;
	remote: Address;
	left: string;
}

function inspect(parts: readonly Uint8Array[], filters: (typeof CHAINS)[number], input: string): Outcome {
	const local: Address = { kind: 'ip', host: '127.0.0.1', port: 80 };
	const outcome: Outcome = { end: 'waiting', found: null, remote: { ...local, port: 1 }, left: '' };
	const left: Uint8Array[] = [];
	const connection = {
		local,
		speakFor: (address: Address) => {
			outcome.remote = address;
		},
		reset: () => {
			outcome.end = 'refused';
		},
	} as unknown as Connection;
	const found = newFindings(null);
	const inspector = filters[0]!.begin(connection, found) as Inspector;
	const settings = { filters, timeoutMs: 0, continueOnTimeout: false };
	const listener = {
		onInspected: (_: Inspection, what: unknown, received: Uint8Array | null) => {
			outcome.end = 'handed on';
			outcome.found = what;
			if (received !== null) left.push(received);
		},
		onInspectionTimeout: () => {},
		onInspectionClosed: () => {},
	};
	const inspection = new Inspection(connection, settings, found, inspector, 1, null, listener, clock, false);
	inspection.start();
	let given = 0;
	for (const part of parts) {
		if (outcome.end === 'handed on') left.push(part);
		else if (outcome.end === 'waiting') {
			if (given > WAITING_BYTES_MAX) fail('more is waited for than the bound', input.slice(0, 200));
			// Valid during the call only.
			const lent = part.slice();
			inspection.onData(connection, lent);
			lent.fill(0xdd);
		}
		given += part.length;
	}
	if (outcome.end === 'handed on') outcome.left = Buffer.concat(left).toString('latin1');
	else outcome.found = null;
	return outcome;
}

export const listenerFilters: FuzzTarget = {
	name: 'listener-filters',
	run(random: Random): void {
		const header = random.below(3) === 0 ? '' : grow(random, PROXY_HEADERS, SPICE, 1);
		const input = header + grow(random, CLIENTS, SPICE, 2);
		const bytes = new Uint8Array(Buffer.from(input, 'latin1'));
		const filters = CHAINS[random.below(2)]!;
		const whole = inspect([bytes], filters, input);
		for (const split of ['bytes', 'random'] as const) {
			const parts = cut(bytes, split, random.below(1 << 30));
			same(inspect(parts, filters, input), whole, `split into ${split}`, input);
		}
		if (whole.end !== 'handed on') return;
		const first = readProxyHeader(bytes);
		const taken = typeof first === 'object' && 'byteLength' in first ? first.byteLength : 0;
		same(whole.left, input.slice(taken), 'what is handed on is not the rest', input);
	},
};
