// Envoy's `http_inspector`: does a client that does not speak TLS speak HTTP, and which?

import { HttpInspectorSchema } from '../../generated/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.ts';
import { CR, HTAB, LF, SP, TOKEN } from '../../http/characters.ts';
import { CLIENT_PREFACE } from '../../http2/frames.ts';
import type { Connection } from '../../net/network.ts';
import type { Counter, MetricRegistry } from '../../telemetry/registry.ts';
import type { TypedConfig } from '../typed-config.ts';
import type { Findings, Inspector, ListenerFilter, Verdict } from './listener-filter.ts';

export const HTTP_INSPECTOR_TYPE =
	'type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector';

/** A request line that is longer is none. */
export const REQUEST_LINE_BYTES_MAX = 8 * 1024;

export type HttpVersion = 'http/1.0' | 'http/1.1' | 'h2c';

interface HttpInspectorStats {
	readonly found: Readonly<Record<HttpVersion, Counter>>;
	readonly notFound: Counter;
	readonly readError: Counter;
}

/** @throws ConfigError */
export function compileHttpInspector(config: TypedConfig, registry: MetricRegistry): ListenerFilter {
	config.message(HttpInspectorSchema, {});
	const counter = (name: string, help: string): Counter =>
		registry.counter(`envoy_http_inspector_${name}`, help).with();
	const stats: HttpInspectorStats = {
		found: {
			'http/1.0': counter('http10_found', 'Connections that began with HTTP/1.0'),
			'http/1.1': counter('http11_found', 'Connections that began with HTTP/1.1'),
			h2c: counter('http2_found', 'Connections that began with HTTP/2'),
		},
		notFound: counter('http_not_found', 'Connections that began with something else'),
		readError: counter('read_error', 'Connections closed because their first line did not end'),
	};
	return {
		begin: (_connection: Connection, found: Findings) =>
			found.transportProtocol === 'tls' ? null : new HttpInspector(stats, found),
	};
}

class HttpInspector implements Inspector {
	readonly takenBytes = 0;
	/** Of the first line; no line feed stands before it. */
	private searched = 0;

	constructor(
		private readonly stats: HttpInspectorStats,
		private readonly found: Findings,
	) {}

	inspect(bytes: Uint8Array): Verdict {
		const version = readHttpVersion(bytes, this.searched);
		if (version === 'incomplete') {
			// What could have been the preface of HTTP/2 has line feeds, too.
			if (bytes.length >= CLIENT_PREFACE.length) this.searched = bytes.length;
			if (bytes.length < REQUEST_LINE_BYTES_MAX) return 'more';
			this.stats.readError.inc();
			return 'close';
		}
		if (version === 'not_http') {
			this.stats.notFound.inc();
			return 'done';
		}
		this.stats.found[version].inc();
		this.found.applicationProtocols = [version];
		return 'done';
	}
}

/**
 * What a client that begins so speaks. `searched`: how many bytes an earlier call found to be incomplete.
 * A first line with no version is HTTP/1.0's ancestor, and counts as such.
 */
export function readHttpVersion(bytes: Uint8Array, searched = 0): HttpVersion | 'not_http' | 'incomplete' {
	if (startsWithPreface(bytes)) return bytes.length < CLIENT_PREFACE.length ? 'incomplete' : 'h2c';
	const head = bytes.length > REQUEST_LINE_BYTES_MAX ? bytes.subarray(0, REQUEST_LINE_BYTES_MAX) : bytes;
	const feed = head.indexOf(LF, searched);
	const end = feed < 0 ? head.length : feed;
	if (!hasBlank(head, searched)) {
		// A method is a token: what begins otherwise need not be waited for.
		for (let i = searched; i < end && head[i] !== SP && head[i] !== HTAB; i++) {
			if (TOKEN[head[i]!] === 0 && !(head[i] === CR && i > 0)) return 'not_http';
		}
		if (end > 0 && (head[0] === SP || head[0] === HTAB)) return 'not_http';
	}
	if (feed < 0) return 'incomplete';
	const line = Buffer.from(head.buffer, head.byteOffset, feed).toString('latin1');
	const match = REQUEST_LINE.exec(line);
	if (match === null || !isTarget(match[2]!, match[1]!)) return 'not_http';
	return match[3] === '1' && match[4] === '1' ? 'http/1.1' : 'http/1.0';
}

/** As forgiving as Envoy is; the codec that reads it afterwards is not. */
const REQUEST_LINE =
	/^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]+([^\x80-\xff \t\r]+)(?:[ \t]+HTTP\/([0-9])\.([0-9]))?[ \t]*\r?$/;

function isTarget(target: string, method: string): boolean {
	if (method === 'CONNECT' && /^(?:[^/:@]+|\[[0-9a-fA-F:.]+\]):\d+$/.test(target)) return true;
	return target.startsWith('/') || target.startsWith('*') || /^[A-Za-z][A-Za-z0-9+\-.]*:\/\/[^/]/.test(target);
}

function hasBlank(bytes: Uint8Array, end: number): boolean {
	if (end === 0) return false;
	const part = bytes.subarray(0, end);
	return part.includes(SP) || part.includes(HTAB);
}

function startsWithPreface(bytes: Uint8Array): boolean {
	const length = Math.min(bytes.length, CLIENT_PREFACE.length);
	for (let i = 0; i < length; i++) if (bytes[i] !== CLIENT_PREFACE[i]) return false;
	return true;
}
