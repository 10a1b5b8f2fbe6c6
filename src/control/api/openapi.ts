// OpenAPI v3 of what is served, from the same schemas that check objects: `kubectl explain` reads
// it, and `kubectl apply` looks there whether the server checks fields (it does, always strictly).

import { z } from 'zod';
import { apiVersionOf, type KindDefinition } from '../../config/kind.ts';
import { type AnyKind, KINDS } from '../../config/kinds.ts';

/** `/openapi/v3` and below; null for another path. */
export function openapi(path: string): object | null {
	if (path === '/openapi/v3') return { paths: Object.fromEntries(groupVersions().map(indexEntry)) };
	const prefix = '/openapi/v3/';
	const wanted = groupVersions().find((one) => path === `${prefix}${pathOf(one)}`);
	return wanted === undefined ? null : document(wanted.group, wanted.version);
}

interface GroupVersion {
	readonly group: string;
	readonly version: string;
}

function groupVersions(): GroupVersion[] {
	const all = KINDS.flatMap((kind) => kind.versions.map((version) => ({ group: kind.group, version })));
	return all.filter((one, index) => all.findIndex((other) => pathOf(other) === pathOf(one)) === index);
}

function pathOf({ group, version }: GroupVersion): string {
	return group === '' ? `api/${version}` : `apis/${group}/${version}`;
}

function indexEntry(one: GroupVersion): [string, object] {
	return [pathOf(one), { serverRelativeURL: `/openapi/v3/${pathOf(one)}` }];
}

function document(group: string, version: string): object {
	const kinds = KINDS.filter((kind) => kind.group === group && kind.versions.includes(version));
	const schemas = Object.fromEntries(kinds.map((kind) => [schemaName(kind, version), objectSchema(kind, version)]));
	const paths = Object.fromEntries(kinds.flatMap((kind) => resourcePaths(kind, version)));
	return { openapi: '3.0.0', info: { title: 'weft', version }, paths, components: { schemas } };
}

function schemaName(kind: AnyKind, version: string): string {
	const reversed = kind.group === '' ? 'io.k8s.api.core' : kind.group.split('.').toReversed().join('.');
	return `${reversed}.${version}.${kind.kind}`;
}

function gvk(kind: KindDefinition, version: string): object {
	return { group: kind.group, version, kind: kind.kind };
}

function objectSchema(kind: AnyKind, version: string): object {
	const jsonSchema = (schema: z.ZodType) =>
		z.toJSONSchema(schema, { target: 'openapi-3.0', io: 'input', unrepresentable: 'any' });
	return {
		type: 'object',
		description: kind.description,
		properties: {
			apiVersion: { type: 'string', description: `"${apiVersionOf(kind, version)}"` },
			kind: { type: 'string', description: `"${kind.kind}"` },
			metadata: { type: 'object', description: 'name, namespace, labels, annotations' },
			spec: jsonSchema(kind.specSchema),
			status: jsonSchema(kind.statusSchema),
		},
		'x-kubernetes-group-version-kind': [gvk(kind, version)],
	};
}

const PARAMETERS = ['dryRun', 'fieldManager', 'fieldValidation'].map((name) => ({
	name,
	in: 'query',
	schema: { type: 'string', uniqueItems: true },
}));

function resourcePaths(kind: AnyKind, version: string): [string, object][] {
	const scope = kind.namespaced ? '/namespaces/{namespace}' : '';
	const base = `/${pathOf({ group: kind.group, version })}${scope}/${kind.plural}`;
	const schema = { $ref: `#/components/schemas/${schemaName(kind, version)}` };
	const content = { 'application/json': { schema } };
	const operation = (action: string, parameters: object[], withBody: boolean) => ({
		'x-kubernetes-action': action,
		'x-kubernetes-group-version-kind': gvk(kind, version),
		parameters,
		...(withBody ? { requestBody: { content } } : {}),
		responses: { '200': { description: 'OK', content } },
	});
	return [
		[base, { get: operation('list', [], false), post: operation('post', PARAMETERS, true) }],
		[
			`${base}/{name}`,
			{
				get: operation('get', [], false),
				put: operation('put', PARAMETERS, true),
				patch: operation('patch', PARAMETERS, true),
				delete: operation('delete', [], false),
			},
		],
	];
}
