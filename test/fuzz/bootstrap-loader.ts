// Bootstraps into the loader:
//
//  - whatever it is given, it answers with a bootstrap or a ConfigError, in bounded time;
//  - the same configuration in JSON and in YAML is the same bootstrap;
//  - load(serialize(x)) = x;
//  - to merge nothing over it changes nothing, to merge a cluster adds it.

import { toJson } from '@bufbuild/protobuf';
import { stringify } from 'yaml';
import { type Bootstrap, BootstrapSchema } from '../../src/generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { mergeBootstrapText, parseBootstrap } from '../../src/proxy/bootstrap.ts';
import { typeRegistry } from '../../src/proxy/type-registry.ts';
import { ConfigError } from '../../src/std/errors.ts';
import type { Random } from '../../src/std/random.ts';
import { httpListener, staticCluster } from '../support/test-proxy.ts';
import { type FuzzTarget, fail, grow, pick, same } from './fuzz.ts';

/** Far above what any takes; a quadratic one goes beyond. */
const TIME_MS_MAX = 2000;

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const GOOD = {
	node: { id: 'a', cluster: 'b', metadata: { c: { d: [1, true, null, 'e'] } } },
	admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
	static_resources: {
		listeners: [
			httpListener(0, {
				request_timeout: '1.5s',
				max_request_headers_kb: 16,
				route_config: {
					name: 'r',
					virtual_hosts: [
						{
							name: 'v',
							domains: ['*'],
							routes: [{ match: { safe_regex: { regex: '/a.*' } }, route: { cluster: 'one', timeout: '2s' } }],
						},
					],
				},
			}),
		],
		clusters: [staticCluster('one', [80, 81], { lb_policy: 'LEAST_REQUEST' })],
	},
	layered_runtime: { layers: [{ name: 'admin', admin_layer: {} }] },
} as unknown as Json;

const VALUES: readonly Json[] = [
	...[null, true, false, 0, -1, 1.5, 1e308, 4294967296, Number.MAX_SAFE_INTEGER, '', 'x', '1s', '-1s', '1e9s', 'NaN'],
	...[[], {}, [{}], [[[]]], { a: 1 }, { '@type': 'x' }, { __proto__: null }, '\0', '\ud800', 'é', '127.0.0.1', '[::1]'],
];
const KEYS: readonly string[] = [
	'name',
	'address',
	'@type',
	'__proto__',
	'constructor',
	'typed_config',
	'portValue',
	'',
];

const SPICE: readonly string[] = [
	...[
		'{',
		'}',
		'[',
		']',
		':',
		',',
		'"',
		"'",
		'\n',
		'\n  ',
		'\t',
		'#',
		'---',
		'...',
		'&a',
		'*a',
		'<<: *a',
		'!!js',
		'|',
		'>',
	],
	...['null', '~', '0x1f', '1e999', '"\\ud800"', '"@type"', '? ', '- ', '%YAML 1.1\n---\n', '\0', '\ufeff', '\u2028'],
];

export const bootstrapLoader: FuzzTarget = {
	name: 'bootstrap-loader',
	run(random: Random): void {
		const value = mutated(random, GOOD, 0.02);
		const json = JSON.stringify(value);
		const loaded = load(json);
		const what = random.below(4);
		// What YAML cannot say of a string as JSON can is no matter here.
		if (what === 0 && !/[\0\ufeff\ud800-\udfff]|\\[u0]/.test(json)) {
			same(shown(load(stringify(value))), shown(loaded), 'YAML and JSON differ', json);
		}
		if (what === 1 && typeof loaded !== 'string') {
			const written = JSON.stringify(toJson(BootstrapSchema, loaded, { registry: typeRegistry }));
			same(shown(load(written)), shown(loaded), 'written and loaded again it differs', json);
		}
		if (what === 2 && typeof loaded !== 'string') {
			same(shown(load(mergeBootstrapText(json, '{}', 'fuzz'))), shown(loaded), 'merged with nothing it differs', json);
			const over = { static_resources: { clusters: [staticCluster('added', [1])] } };
			const more = load(mergeBootstrapText(json, JSON.stringify(over), 'fuzz'));
			if (typeof more === 'string') fail('merged with another cluster it is refused', json);
			const clusters = loaded.staticResources?.clusters.map((cluster) => cluster.name) ?? [];
			const names = more.staticResources?.clusters.map((cluster) => cluster.name);
			same(names, [...clusters, 'added'], 'merged with another cluster it has others', json);
		}
		if (what < 3) return;
		const texts = [json, stringify(GOOD), 'a: &a [1]\nb: *a\n'];
		const broken = grow(random, texts, SPICE, 1);
		load(broken);
	},
};

/** What is wrong, as text; anything but a ConfigError is a finding. */
function load(text: string): Bootstrap | string {
	// Of the processor: other work may have it for seconds.
	const started = process.cpuUsage();
	try {
		return parseBootstrap(text, 'fuzz');
	} catch (error) {
		if (!(error instanceof ConfigError)) throw new Error(`${error}\nInput: ${JSON.stringify(text)}`, { cause: error });
		if (error.message === '') fail('a ConfigError that says nothing', text);
		return 'refused';
	} finally {
		const { user, system } = process.cpuUsage(started);
		const tookMs = (user + system) / 1000;
		if (tookMs > TIME_MS_MAX) fail(`it took ${Math.round(tookMs)} ms`, text);
	}
}

function shown(loaded: Bootstrap | string): Json | string {
	return typeof loaded === 'string' ? loaded : (toJson(BootstrapSchema, loaded, { registry: typeRegistry }) as Json);
}

/** Each part of `value` is changed with that probability. */
function mutated(random: Random, value: Json, chance: number): Json {
	if (random.next() < chance) return pick(random, VALUES);
	if (Array.isArray(value)) {
		const list = value.map((one) => mutated(random, one, chance));
		if (list.length > 0 && random.next() < chance) list.push(list[random.below(list.length)]!);
		return list;
	}
	if (typeof value !== 'object' || value === null) return value;
	const changed: [string, Json][] = [];
	for (const [key, one] of Object.entries(value)) {
		if (random.next() < chance) continue;
		changed.push([random.next() < chance ? pick(random, KEYS) : key, mutated(random, one, chance)]);
	}
	if (random.next() < chance) changed.push([pick(random, KEYS), pick(random, VALUES)]);
	return Object.fromEntries(changed);
}
