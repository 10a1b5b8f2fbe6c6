// Generates TypeScript for the Envoy xDS messages into src/generated (not committed).
//
// The .proto files are those that @grpc/grpc-js-xds ships, plus the few in proto/ that it lacks.
// They are copied to a scratch folder and prepared there: line ends become LF; `validate.rules`
// options go (their extension numbers are newer than the validate.proto beside them, and weft
// validates by itself); fields that newer Envoys have and weft uses are added (ADDED_FIELDS).
// A stamp of the inputs makes a second run free.

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const root = join(dirname(new URL(import.meta.url).pathname), '..');
const deps = join(root, 'node_modules/@grpc/grpc-js-xds/deps');
const scratch = join(root, 'node_modules/.cache/weft-protos');
const output = join(root, 'src/generated');

/** What weft uses; everything these import is generated too. */
const ENTRY_POINTS = [
	'envoy/admin/v3/certs.proto',
	'envoy/admin/v3/clusters.proto',
	'envoy/admin/v3/config_dump.proto',
	'envoy/admin/v3/listeners.proto',
	'envoy/admin/v3/server_info.proto',
	'envoy/config/bootstrap/v3/bootstrap.proto',
	'envoy/config/cluster/v3/cluster.proto',
	'envoy/config/core/v3/health_check.proto',
	'envoy/config/endpoint/v3/endpoint.proto',
	'envoy/config/listener/v3/listener.proto',
	'envoy/config/rbac/v3/rbac.proto',
	'envoy/config/route/v3/route.proto',
	'envoy/extensions/access_loggers/file/v3/file.proto',
	'envoy/extensions/access_loggers/stream/v3/stream.proto',
	'envoy/extensions/filters/http/cors/v3/cors.proto',
	'envoy/extensions/filters/http/fault/v3/fault.proto',
	'envoy/extensions/filters/http/grpc_http1_bridge/v3/config.proto',
	'envoy/extensions/filters/http/grpc_stats/v3/config.proto',
	'envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto',
	'envoy/extensions/filters/http/health_check/v3/health_check.proto',
	'envoy/extensions/filters/http/rbac/v3/rbac.proto',
	'envoy/extensions/filters/http/router/v3/router.proto',
	'envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto',
	'envoy/extensions/filters/listener/original_dst/v3/original_dst.proto',
	'envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto',
	'envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto',
	'envoy/extensions/filters/network/connection_limit/v3/connection_limit.proto',
	'envoy/extensions/filters/network/direct_response/v3/config.proto',
	'envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto',
	'envoy/extensions/filters/network/rbac/v3/rbac.proto',
	'envoy/extensions/filters/network/sni_cluster/v3/sni_cluster.proto',
	'envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto',
	'envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto',
	'envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto',
	'envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections.proto',
	'envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap.proto',
	'envoy/extensions/resource_monitors/injected_resource/v3/injected_resource.proto',
	'envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto',
	'envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto',
	'envoy/extensions/transport_sockets/tls/v3/tls.proto',
	'envoy/extensions/upstreams/http/v3/http_protocol_options.proto',
	'envoy/service/discovery/v3/ads.proto',
	'envoy/service/health/v3/hds.proto',
	'envoy/service/load_stats/v3/lrs.proto',
	'envoy/service/metrics/v3/metrics_service.proto',
	'envoy/service/secret/v3/sds.proto',
	'envoy/service/status/v3/csds.proto',
	'io/prometheus/client/metrics.proto',
	'istio/v1/auth/ca.proto',
	'udpa/type/v1/typed_struct.proto',
	'xds/type/v3/typed_struct.proto',
];

/** Fields of Envoy 1.40 that the shipped files are too old for. */
const ADDED_FIELDS = [
	{
		file: 'envoy/config/core/v3/address.proto',
		after: '  bool ipv4_compat = 6;\n',
		text: '\n  // The network namespace in which the socket is made, by its path (for example /proc/PID/ns/net).\n  string network_namespace_filepath = 7;\n',
	},
	{
		file: 'envoy/config/overload/v3/overload.proto',
		after: '    TRANSPORT_SOCKET_CONNECT = 3;\n',
		text: '\n    // HttpProtocolOptions.max_connection_duration of downstream connections.\n    HTTP_DOWNSTREAM_CONNECTION_MAX = 4;\n\n    // How long a stream may take to be flushed to a downstream client.\n    HTTP_DOWNSTREAM_STREAM_FLUSH = 5;\n',
	},
	{
		file: 'envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto',
		after: '  TcpAccessLogOptions access_log_options = 17;\n',
		text: '\n  // The time before each connect attempt after the first; absent: none.\n  config.core.v3.BackoffStrategy backoff_options = 18;\n\n  // Adds up to so much of max_downstream_connection_duration, at random.\n  type.v3.Percent max_downstream_connection_duration_jitter_percentage = 20;\n',
	},
	{
		file: 'envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto',
		after: 'import "envoy/config/core/v3/base.proto";\n',
		text: 'import "envoy/config/core/v3/backoff.proto";\nimport "envoy/type/v3/percent.proto";\n',
	},
	{
		file: 'envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto',
		after: '  google.protobuf.BoolValue enable_ja3_fingerprinting = 1;\n',
		text: '\n  google.protobuf.BoolValue enable_ja4_fingerprinting = 3;\n\n  // A ClientHello that cannot be read closes the connection.\n  bool close_connection_on_client_hello_parsing_errors = 4;\n\n  // Bytes; up to 16384, which is the default.\n  google.protobuf.UInt32Value max_client_hello_size = 5;\n',
	},
];

/** Removes the import, the statements and the field options of `validate`. */
function withoutValidation(text: string): string {
	const source = text
		.replaceAll('\r\n', '\n')
		.replace(/^import "validate\/validate\.proto";\n/m, '')
		.replace(/^\s*option \(validate\.[^;]*;\n/gm, '');
	let out = '';
	let position = 0;
	for (;;) {
		const rule = source.indexOf('(validate.rules)', position);
		if (rule < 0) return out + source.slice(position);
		const open = source.lastIndexOf('[', rule);
		const { options, end } = bracketed(source, open);
		const kept = options.filter((option) => !option.trim().startsWith('(validate.rules)'));
		out += source.slice(position, open).trimEnd();
		if (kept.length > 0) out += ` [${kept.join(',')}]`;
		position = end + 1;
	}
}

/** The options between the bracket at `open` and its partner at `end`, cut at the commas of the outer level. */
function bracketed(source: string, open: number): { options: string[]; end: number } {
	const options: string[] = [];
	let depth = 0;
	let start = open + 1;
	for (let i = open + 1; i < source.length; i++) {
		const c = source[i];
		if (c === '"') {
			for (i++; source[i] !== '"'; i++) if (source[i] === '\\') i++;
		} else if (c === '{' || c === '[' || c === '(') depth++;
		else if ((c === '}' || c === ']' || c === ')') && depth > 0) depth--;
		else if (c === ',' && depth === 0) {
			options.push(source.slice(start, i));
			start = i + 1;
		} else if (c === ']') {
			options.push(source.slice(start, i));
			return { options, end: i };
		}
	}
	throw new Error(`no closing bracket for the one at ${open}`);
}

const LIBRARY = '"@bufbuild/protobuf/codegenv2"';
const OWN_DESCRIPTORS = join(root, 'src/protobuf/descriptors.ts');

/**
 * Its descriptors are made when they are first used (src/protobuf). Files with extensions, and those that are not
 * proto3, keep the library's. Annotations, which nobody reads, are no imports any more.
 */
function withLazyDescriptors(name: string, text: string): string {
	if (!/\(package [^)]*, syntax proto3\)/.test(text) || /\bextDesc\(/.test(text)) return text;
	const own = relative(dirname(join(output, name)), OWN_DESCRIPTORS);
	const annotations: string[] = [];
	return text
		.replace(/^import (\{ .*\bfileDesc\b.* \}) from (.*);$/m, (line, names, from) =>
			from === LIBRARY ? `import ${names} from "${own}";` : line,
		)
		.replace(/^import \{ (file_\w+) \} from ".*\/annotations\/.*";\n/gm, (_line, file) => {
			annotations.push(file);
			return '';
		})
		.replace(/^( {2}fileDesc\("[^"]*", \[)(.*)(\]\);)$/m, (_line, before, files: string, after) => {
			const kept = files.split(', ').filter((file) => !annotations.includes(file));
			return before + kept.join(', ') + after;
		});
}

function protoFiles(folder: string): string[] {
	return readdirSync(folder, { recursive: true })
		.map(String)
		.filter((name) => name.endsWith('.proto'));
}

function stamp(): string {
	const version = JSON.parse(readFileSync(join(root, 'node_modules/@grpc/grpc-js-xds/package.json'), 'utf8')).version;
	const plugin = JSON.parse(
		readFileSync(join(root, 'node_modules/@bufbuild/protoc-gen-es/package.json'), 'utf8'),
	).version;
	const own = protoFiles(join(root, 'proto')).map((name) => readFileSync(join(root, 'proto', name), 'utf8'));
	const hash = new Bun.CryptoHasher('sha256');
	for (const part of [version, plugin, readFileSync(import.meta.path, 'utf8'), ...own]) hash.update(part);
	return hash.digest('hex');
}

function main(): void {
	const stampFile = join(output, '.stamp');
	const wanted = stamp();
	if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === wanted) return;
	process.stdout.write('generating protobuf code (once, about 10 s)\n');

	rmSync(scratch, { recursive: true, force: true });
	rmSync(output, { recursive: true, force: true });
	mkdirSync(scratch, { recursive: true });
	const sources: [string, string][] = [
		['envoy-api/envoy', 'envoy'],
		['xds/xds', 'xds'],
		['xds/udpa', 'udpa'],
		['googleapis/google/rpc', 'google/rpc'],
		['googleapis/google/api', 'google/api'],
	];
	for (const [from, to] of sources) cpSync(join(deps, from), join(scratch, to), { recursive: true });
	cpSync(join(root, 'proto'), scratch, { recursive: true });
	for (const name of protoFiles(scratch)) {
		const path = join(scratch, name);
		// The v2 API and its leftovers are not used by anything weft names.
		if (/\/v[12](alpha\d*)?\//.test(name) && name.startsWith('envoy/')) rmSync(path);
		else if (statSync(path).isFile()) writeFileSync(path, withoutValidation(readFileSync(path, 'utf8')));
	}
	for (const { file, after, text } of ADDED_FIELDS) {
		const path = join(scratch, file);
		const before = readFileSync(path, 'utf8');
		if (!before.includes(after)) throw new Error(`${file}: the line to add a field after is gone: ${after.trim()}`);
		writeFileSync(path, before.replace(after, after + text));
	}

	writeFileSync(join(scratch, 'buf.yaml'), 'version: v2\n');
	const template = {
		version: 'v2',
		plugins: [
			{
				local: join(root, 'node_modules/.bin/protoc-gen-es'),
				out: output,
				include_imports: true,
				opt: ['target=ts', 'import_extension=ts'],
			},
		],
	};
	const command = [join(root, 'node_modules/.bin/buf'), 'generate', '--template', JSON.stringify(template)];
	for (const entry of ENTRY_POINTS) command.push('--path', entry);
	const run = Bun.spawnSync(command, { cwd: scratch, stdout: 'inherit', stderr: 'pipe' });
	if (run.exitCode !== 0) {
		process.stderr.write(run.stderr.toString());
		throw new Error(`buf generate failed with exit code ${run.exitCode}`);
	}
	for (const name of readdirSync(output, { recursive: true }).map(String)) {
		if (!name.endsWith('_pb.ts')) continue;
		const path = join(output, name);
		const text = readFileSync(path, 'utf8');
		writeFileSync(path, withLazyDescriptors(name, text));
	}
	writeFileSync(stampFile, wanted);
	const count = readdirSync(output, { recursive: true }).filter((name) => String(name).endsWith('.ts')).length;
	process.stdout.write(`generated ${count} files in ${relative(process.cwd(), output) || output}\n`);
}

main();
