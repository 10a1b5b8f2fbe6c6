// What a request pays for being routed: the virtual host by its authority, then the first route that matches.
//
//   scripts/bun bench/proxy/route-match.bench.ts

import { fromJson, type JsonObject } from '@bufbuild/protobuf';
import { RouteConfigurationSchema } from '../../src/generated/envoy/config/route/v3/route_pb.ts';
import type { RequestHead } from '../../src/http/stream.ts';
import { compileRouteConfiguration } from '../../src/proxy/route/route-compiler.ts';
import { typeRegistry } from '../../src/proxy/type-registry.ts';
import { SeededRandom } from '../../src/std/random.ts';
import { measure } from '../measure.ts';

const random = new SeededRandom(1);

function head(authority: string, path: string, headers: string[] = []): RequestHead {
	return { method: 'GET', scheme: 'http', authority, path, headers, upgrade: '' };
}

function bench(name: string, virtualHosts: JsonObject[], request: RequestHead): void {
	const json = { name: 'bench', virtual_hosts: virtualHosts };
	const message = fromJson(RouteConfigurationSchema, json, { registry: typeRegistry });
	const table = compileRouteConfiguration(message, (filter) => `configuration of ${filter}`);
	if (table.route(request, random) === null) throw new Error(`${name}: nothing matches`);
	measure(`route: ${name}`, () => {
		table.route(request, random);
	});
}

const route = { cluster: 'target' };
const everything = { match: { prefix: '/' }, route };
const host = (name: string, domains: string[], routes: JsonObject[]): JsonObject => ({ name, domains, routes });
const small = head('reviews:9080', '/reviews/42?page=1', ['user-agent', 'bench', 'accept', '*/*', 'x-user', 'beta']);

bench('one host, one prefix', [host('all', ['*'], [everything])], small);
bench(
	'1000 hosts by name, one prefix each',
	Array.from({ length: 1000 }, (_, index) => host(`h${index}`, [`service-${index}:9080`], [everything])),
	head('service-999:9080', '/'),
);
for (const count of [10, 100]) {
	const others = Array.from({ length: count }, (_, index) => ({ match: { prefix: `/other-${index}/` }, route }));
	bench(
		`${count} prefixes that do not match, then one that does`,
		[host('all', ['*'], [...others, everything])],
		small,
	);
}
const byHeader = { prefix: '/reviews', headers: [{ name: 'x-user', string_match: { exact: 'beta' } }] };
bench('prefix and header', [host('all', ['*'], [{ match: byHeader, route }, everything])], small);
bench(
	'weights of two clusters',
	[
		host(
			'all',
			['*'],
			[
				{
					match: { prefix: '/' },
					route: {
						weighted_clusters: {
							clusters: [
								{ name: 'v1', weight: 90 },
								{ name: 'v2', weight: 10 },
							],
						},
					},
				},
			],
		),
	],
	small,
);
