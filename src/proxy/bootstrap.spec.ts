import { describe, expect, test } from 'bun:test';
import { ConfigError } from '../std/errors.ts';
import { mergeBootstrapText, parseBootstrap } from './bootstrap.ts';

function errorsOf(text: string): string[] {
	try {
		parseBootstrap(text, 'bootstrap test');
	} catch (error) {
		if (error instanceof ConfigError) return error.message.split('\n');
		throw error;
	}
	return [];
}

describe('parseBootstrap', () => {
	test('takes YAML and JSON, snake_case and camelCase', () => {
		const yaml = parseBootstrap(
			'node: {id: a}\nstatic_resources:\n  clusters: [{name: c, connect_timeout: 0.25s}]\n',
			'b',
		);
		const json = parseBootstrap(
			'{"node": {"id": "a"}, "staticResources": {"clusters": [{"name": "c", "connectTimeout": "0.25s"}]}}',
			'b',
		);
		expect(json).toEqual(yaml);
		expect(yaml.staticResources?.clusters[0]?.connectTimeout?.nanos).toBe(250_000_000);
	});

	test('an unknown field is named with its path and what it may have meant', () => {
		expect(errorsOf('static_resources:\n  listeners:\n  - name: a\n    filter_chain: []\n')).toEqual([
			'bootstrap test: static_resources.listeners[0].filter_chain: found an unknown field, expected a field of envoy.config.listener.v3.Listener (did you mean filter_chains?)',
		]);
	});

	test('an unknown type of an extension is named', () => {
		const typed = '{"@type": "type.googleapis.com/envoy.Nothing"}';
		expect(
			errorsOf(`static_resources: {listeners: [{filter_chains: [{filters: [{name: x, typed_config: ${typed}}]}]}]}`)[0],
		).toContain('filter_chains[0].filters[0].typed_config.@type: found type.googleapis.com/envoy.Nothing');
	});

	test('a field within an extension is found', () => {
		const router = '{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "nope": 1}';
		expect(
			errorsOf(`static_resources: {listeners: [{filter_chains: [{filters: [{typed_config: ${router}}]}]}]}`)[0],
		).toContain('filters[0].typed_config.nope: found an unknown field');
	});

	test('a wrong value says what would be right', () => {
		expect(errorsOf('static_resources: {clusters: [{name: a, connect_timeout: 5}]}')).toEqual([
			'bootstrap test: static_resources.clusters[0].connect_timeout: found 5, expected a duration in seconds, for example "1.5s"',
		]);
		expect(errorsOf('static_resources: {clusters: [{name: a, lb_policy: BEST}]}')[0]).toContain(
			'expected one of ROUND_ROBIN',
		);
		expect(errorsOf('static_resources: {clusters: {}}')[0]).toContain('static_resources.clusters: found {}');
		expect(errorsOf('node: {id: 7}')[0]).toContain('expected a string');
	});

	test('what is not supported is refused, not ignored', () => {
		expect(errorsOf('stats_sinks: [{name: statsd}]')).toEqual([
			'bootstrap test: stats_sinks: expected it to be absent: weft does not support it',
		]);
		expect(errorsOf('admin: {access_log_path: /var/log/x}')[0]).toContain('admin.access_log_path');
		expect(errorsOf('admin: {access_log_path: /dev/null}')).toEqual([]);
	});

	test('text that is no document says where', () => {
		expect(errorsOf('a: [1')[0]).toContain('line 1');
		expect(errorsOf('--- {}\n--- {}')[0]).toContain('one YAML or JSON document');
		expect(errorsOf('[]')[0]).toContain('expected an object');
		expect(errorsOf('')[0]).toContain('expected');
	});

	test('of fields that exclude each other, that of the second text stays', () => {
		const base = 'admin: {address: {socketAddress: {address: 127.0.0.1, port_value: 1}}}';
		const text = mergeBootstrapText(base, '{admin: {address: {pipe: {path: /run/admin}}}}', 'b');
		expect(parseBootstrap(text, 'b').admin?.address?.address).toMatchObject({ case: 'pipe' });
	});

	test('a second text is merged over it', () => {
		const text = mergeBootstrapText('node: {id: a, cluster: c}\nstats_sinks: []', '{node: {id: b}}', 'b');
		expect(JSON.parse(text)).toEqual({ node: { id: 'b', cluster: 'c' }, stats_sinks: [] });
	});
});

test('a key that is no string is refused with its place', () => {
	expect(() => parseBootstrap('node: {id: a, metadata: {{b: c}: d}}', 'x')).toThrow(/line 1, column 26/);
});
