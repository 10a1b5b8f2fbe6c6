// What mesh telemetry costs a request: the head hook and the series found again.
// scripts/bun bench/proxy/http-filters/mesh-telemetry.bench.ts

import type { JsonObject } from '@bufbuild/protobuf';
import type { Connection } from '../../../src/net/network.ts';
import type { Exchange } from '../../../src/proxy/http-filters/exchange.ts';
import type { FilterConfig, FilterContext, HttpFilter } from '../../../src/proxy/http-filters/filter.ts';
import { meshTelemetryFactory, PEER_HEADER } from '../../../src/proxy/http-filters/mesh-telemetry.ts';
import { StreamInfo } from '../../../src/proxy/stream-info.ts';
import type { Cluster, Host } from '../../../src/proxy/upstream.ts';
import { MetricRegistry } from '../../../src/telemetry/registry.ts';
import { measure } from '../../measure.ts';

const self = { workload: 'a-v1', namespace: 'n', app: 'a', version: 'v1', serviceAccount: 'sa', trustDomain: 'td' };
const uriSans = ['spiffe://td/ns/n/sa/sa'];
const peerCertificate = { chainDer: [], subject: '', uriSans, dnsSans: [], serialNumber: '', notAfterMs: 0 };
const tls = { version: 'TLSv1.3', cipher: 'x', alpn: null, serverName: null, peerCertificate };
const cluster = {
	metadata: { istio: { services: [{ host: 'b.n', name: 'b', namespace: 'n' }] } },
} as unknown as Cluster;
const hosts = Array.from(
	{ length: 10 },
	(_, i) => ({ metadata: { istio: { workload: `b-v${i};n;b;v${i};weft` } } }) as unknown as Host,
);

function compile(struct: JsonObject): Required<HttpFilter> {
	const config = { typeUrl: '', struct: () => struct, object: 'bench', field: '' } as unknown as FilterConfig;
	const context = { name: 'bench', slot: 0, registry: new MetricRegistry() } as unknown as FilterContext;
	return meshTelemetryFactory({}).compile(config, context) as Required<HttpFilter>;
}

function exchangeWith(headers: string[]): Exchange {
	const exchange = new StreamInfo({ tls } as unknown as Connection, 'l', 0, 0) as unknown as Exchange;
	exchange.requestHead = { method: 'GET', scheme: 'http', authority: 'b', path: '/', headers, upgrade: '' };
	return Object.assign(exchange, { filterState: [], cluster, upstreamTls: tls, status: 200, endMs: 3, bytesSent: 100 });
}

const usual = ['user-agent', 'x', 'accept', '*/*', 'x-request-id', 'y', 'x-forwarded-proto', 'http'];

const outbound = compile({ ...self, reporter: 'source' });
const out = exchangeWith([...usual]);
let turn = 0;
measure('outbound, one request of 10 hosts in turn', () => {
	out.host = hosts[turn++ % hosts.length]!;
	outbound.onRequestHead(out, true);
	outbound.onComplete(out);
});

const inbound = compile({ ...self, reporter: 'destination' });
const into = exchangeWith([...usual]);
measure('inbound, one request of a known peer', () => {
	into.requestHead.headers.push(PEER_HEADER, 'c-v1;n;c;v1;sa');
	inbound.onRequestHead(into, true);
	inbound.onComplete(into);
});
