// What an HTTPRoute must hold beyond its schema: Gateway API's rules across fields (the CEL rules
// of the CRD, v1.6), patterns that compile, and a clear refusal of what weft does not do yet.

import { RE2JS } from 're2js';
import { parseDurationMs } from '../std/duration.ts';
import type { FieldErrors, FieldPath } from './field-errors.ts';
import type {
	HttpHeaderModifier,
	HttpPathModifier,
	HttpRouteFilter,
	HttpRouteMatch,
	HttpRouteRule,
	HttpRouteSpec,
} from './http-route-schema.ts';
import type { MeshObject } from './object.ts';

const MATCHES_MAX = 128;
const PATH_CHARACTERS = /^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$/;
const PATH_REFUSED = ['//', '/./', '/../', '%2f', '%2F', '#'];

export function validateHttpRoute(route: MeshObject<HttpRouteSpec>, errors: FieldErrors): void {
	const { spec } = route;
	validateRoute(spec, errors);
	for (const [index, rule] of spec.rules.entries()) validateRule(rule, ['spec', 'rules', index], errors);
}

/** What holds for routes of every kind, but for what is in their rules. */
export function validateRoute(spec: CommonSpec, errors: FieldErrors): void {
	if ((spec.hostnames ?? []).length > 0) {
		errors.add(
			['spec', 'hostnames'],
			'no hostnames on a route with a Service as parent',
			'match the header "host" in spec.rules[].matches[].headers instead',
		);
	}
	validateParents(spec, errors);
	const names = new Set<string>();
	let matchCount = 0;
	for (const [index, rule] of spec.rules.entries()) {
		matchCount += rule.matches.length;
		if (rule.name === undefined) continue;
		if (names.has(rule.name)) {
			errors.add(['spec', 'rules', index, 'name'], 'a name that no other rule of the route has');
		}
		names.add(rule.name);
	}
	if (matchCount > MATCHES_MAX) errors.add(['spec', 'rules'], `at most ${MATCHES_MAX} matches in all rules together`);
}

interface CommonSpec extends Pick<HttpRouteSpec, 'hostnames' | 'parentRefs'> {
	readonly rules: readonly { readonly name?: string; readonly matches: readonly unknown[] }[];
}

function validateParents(spec: CommonSpec, errors: FieldErrors): void {
	const seen = new Set<string>();
	for (const [index, parent] of spec.parentRefs.entries()) {
		const path = ['spec', 'parentRefs', index];
		if (parent.kind !== 'Service' || (parent.group !== '' && parent.group !== 'core')) {
			errors.add(
				[...path, 'kind'],
				'a Service as parent: weft does not serve Gateways yet',
				'write group: "" and kind: Service',
			);
		}
		if (parent.sectionName !== undefined) {
			errors.add([...path, 'sectionName'], 'no sectionName with a Service as parent', 'name the port with "port"');
		}
		const key = `${parent.namespace ?? OWN_NAMESPACE}/${parent.name}/${parent.port ?? ''}`;
		if (seen.has(key)) errors.add(path, 'a parent that is listed once');
		seen.add(key);
	}
}

/** Stands for the route's own namespace in keys. */
const OWN_NAMESPACE = '';

function validateRule(rule: HttpRouteRule, path: FieldPath, errors: FieldErrors): void {
	for (const [index, match] of rule.matches.entries()) validateMatch(match, [...path, 'matches', index], errors);
	const filters = rule.filters ?? [];
	const redirect = filters.findIndex((filter) => filter.type === 'RequestRedirect');
	if (redirect >= 0 && (rule.backendRefs ?? []).length > 0) {
		errors.add([...path, 'backendRefs'], 'no backendRefs in a rule with a RequestRedirect filter');
	}
	validateForwarding(rule, path, errors);
	validateTimeouts(rule, [...path, 'timeouts'], errors);
}

/** Filters and backends of a rule. `matches`: of an HTTPRoute; a path is changed in their terms. */
export function validateForwarding(rule: Forwarding, path: FieldPath, errors: FieldErrors): void {
	validateFilters(rule.filters ?? [], [...path, 'filters'], errors, rule);
	for (const [index, backend] of (rule.backendRefs ?? []).entries()) {
		const place = [...path, 'backendRefs', index];
		if (backend.kind !== 'Service' || (backend.group !== '' && backend.group !== 'core')) {
			errors.add([...place, 'kind'], 'a Service (group ""), the only kind of backend that weft has');
		}
		if (backend.port === undefined) errors.add([...place, 'port'], 'the port of the Service (it is required)');
		for (const [position, filter] of (backend.filters ?? []).entries()) {
			if (filter.type === 'RequestHeaderModifier' || filter.type === 'ResponseHeaderModifier') continue;
			errors.add(
				[...place, 'filters', position, 'type'],
				'RequestHeaderModifier or ResponseHeaderModifier: weft has no other filter on a single backend yet',
				'put it in the filters of the rule',
			);
		}
		validateFilters(backend.filters ?? [], [...place, 'filters'], errors, rule);
	}
}

type Forwarding = Pick<HttpRouteRule, 'filters' | 'backendRefs' | 'matches'>;

function validateMatch(match: HttpRouteMatch, path: FieldPath, errors: FieldErrors): void {
	const valuePath = [...path, 'path', 'value'];
	const { type, value } = match.path;
	if (type === 'RegularExpression') validatePattern(value, valuePath, errors);
	else validatePath(value, valuePath, errors);
	validateValueMatches(match.headers ?? [], [...path, 'headers'], errors, (name) => name.toLowerCase());
	validateValueMatches(match.queryParams ?? [], [...path, 'queryParams'], errors, (name) => name);
}

/** `normal`: two names that are equal in this form are the same. */
export function validateValueMatches(
	list: readonly { readonly name: string; readonly type: string; readonly value: string }[],
	path: FieldPath,
	errors: FieldErrors,
	normal: (name: string) => string,
): void {
	const names = new Set<string>();
	for (const [index, one] of list.entries()) {
		const name = normal(one.name);
		if (names.has(name)) {
			errors.add([...path, index, 'name'], 'a name that is listed once; only the first would count');
		}
		names.add(name);
		if (one.type === 'RegularExpression') validatePattern(one.value, [...path, index, 'value'], errors);
	}
}

function validatePath(value: string, path: FieldPath, errors: FieldErrors): void {
	const bad = PATH_REFUSED.find((part) => value.includes(part));
	if (!value.startsWith('/')) errors.add(path, 'a path that starts with /');
	else if (bad !== undefined) errors.add(path, `a path without ${bad}`);
	else if (value.endsWith('/..') || value.endsWith('/.')) errors.add(path, 'a path that does not end with /. or /..');
	else if (!PATH_CHARACTERS.test(value))
		errors.add(path, "a path of A-Z a-z 0-9 / - . _ ~ ! $ & ' ( ) * + , ; = : @ and %XX");
}

export function validatePattern(pattern: string, path: FieldPath, errors: FieldErrors): boolean {
	try {
		RE2JS.compile(pattern);
		return true;
	} catch (error) {
		const reason = error instanceof Error ? error.message : String(error);
		errors.add(path, `a regular expression in RE2 syntax (${reason})`);
		return false;
	}
}

const FIELD_OF_TYPE = {
	RequestHeaderModifier: 'requestHeaderModifier',
	ResponseHeaderModifier: 'responseHeaderModifier',
	RequestMirror: 'requestMirror',
	RequestRedirect: 'requestRedirect',
	URLRewrite: 'urlRewrite',
	ExtensionRef: 'extensionRef',
	CORS: 'cors',
} as const;

function validateFilters(
	filters: readonly HttpRouteFilter[],
	path: FieldPath,
	errors: FieldErrors,
	rule: Forwarding,
): void {
	const types = new Set<string>();
	for (const [index, filter] of filters.entries()) {
		const place = [...path, index];
		if (types.has(filter.type)) errors.add([...place, 'type'], `${filter.type} once: it cannot be repeated`);
		types.add(filter.type);
		if (filter.type === 'RequestMirror' || filter.type === 'CORS') {
			errors.add([...place, 'type'], `a filter that weft supports; ${filter.type} is not one of them yet`);
			continue;
		}
		for (const [type, field] of Object.entries(FIELD_OF_TYPE)) {
			const present = filter[field] !== undefined;
			if (present && type !== filter.type) errors.add([...place, field], `nothing here with type ${filter.type}`);
			if (!present && type === filter.type) errors.add([...place, field], `an object (required with type ${type})`);
		}
		validateHeaderModifier(filter.requestHeaderModifier, [...place, 'requestHeaderModifier'], errors);
		validateHeaderModifier(filter.responseHeaderModifier, [...place, 'responseHeaderModifier'], errors);
		validatePathModifier(filter.requestRedirect?.path, [...place, 'requestRedirect', 'path'], errors, rule);
		validatePathModifier(filter.urlRewrite?.path, [...place, 'urlRewrite', 'path'], errors, rule);
		validateExtension(filter, [...place, 'extensionRef'], errors);
	}
	if (types.has('RequestRedirect') && types.has('URLRewrite')) {
		errors.add(path, 'RequestRedirect or URLRewrite, not both');
	}
}

function validateHeaderModifier(modifier: HttpHeaderModifier | undefined, path: FieldPath, errors: FieldErrors): void {
	if (modifier === undefined) return;
	for (const field of ['set', 'add'] as const) {
		const names = new Set<string>();
		for (const [index, { name }] of (modifier[field] ?? []).entries()) {
			if (names.has(name.toLowerCase())) errors.add([...path, field, index, 'name'], 'a name that is listed once');
			names.add(name.toLowerCase());
			validateHeaderChange(name, [...path, field, index, 'name'], errors);
		}
	}
	for (const [index, name] of (modifier.remove ?? []).entries()) {
		validateHeaderChange(name, [...path, 'remove', index], errors);
	}
}

/** Where a message ends, and what is between two proxies: changed here, the next one could read another message. */
const FRAMING_HEADERS: ReadonlySet<string> = new Set([
	...[
		'connection',
		'content-length',
		'keep-alive',
		'proxy-connection',
		'te',
		'trailer',
		'transfer-encoding',
		'upgrade',
	],
	// Who calls; believed by the other sidecar, as far as the certificate bears it out.
	'x-weft-peer',
]);

/** Envoy refuses to change pseudo-headers and host by header mutation; a rewrite is done with URLRewrite. */
function validateHeaderChange(name: string, path: FieldPath, errors: FieldErrors): void {
	if (name.startsWith(':')) errors.add(path, 'a header, not a pseudo-header of HTTP/2');
	else if (name.toLowerCase() === 'host') {
		errors.add(path, 'a header other than host', 'use a URLRewrite filter with hostname');
	} else if (FRAMING_HEADERS.has(name.toLowerCase())) {
		errors.add(path, "a header that is not the proxies' own");
	}
}

function validatePathModifier(
	modifier: HttpPathModifier | undefined,
	path: FieldPath,
	errors: FieldErrors,
	rule: Forwarding,
): void {
	if (modifier === undefined) return;
	const wanted = modifier.type === 'ReplaceFullPath' ? 'replaceFullPath' : 'replacePrefixMatch';
	const other = modifier.type === 'ReplaceFullPath' ? 'replacePrefixMatch' : 'replaceFullPath';
	if (modifier[wanted] === undefined) errors.add([...path, wanted], `a path (required with type ${modifier.type})`);
	if (modifier[other] !== undefined) errors.add([...path, other], `nothing here with type ${modifier.type}`);
	const value = modifier[wanted] ?? '';
	if (/[^\x21-\x7e]|[?#]/.test(value))
		errors.add([...path, wanted], 'a path of visible ASCII characters without ? and #');
	if (modifier.type === 'ReplaceFullPath' && modifier.replaceFullPath !== undefined && !value.startsWith('/')) {
		errors.add([...path, wanted], 'a path that starts with /');
	}
	if (modifier.type !== 'ReplacePrefixMatch') return;
	if (value !== '' && !value.startsWith('/')) errors.add([...path, wanted], 'a path that starts with /, or ""');
	if (rule.matches.length !== 1 || rule.matches[0]?.path.type !== 'PathPrefix') {
		errors.add([...path, 'type'], 'ReplaceFullPath, or exactly one match in the rule with a path of type PathPrefix');
	}
}

function validateExtension(filter: HttpRouteFilter, path: FieldPath, errors: FieldErrors): void {
	const reference = filter.extensionRef;
	if (reference === undefined) return;
	if (reference.group !== 'weft.dev') errors.add([...path, 'group'], '"weft.dev"');
	else if (reference.kind !== 'FaultInjection') errors.add([...path, 'kind'], '"FaultInjection"');
}

function validateTimeouts(rule: HttpRouteRule, path: FieldPath, errors: FieldErrors): void {
	const { request, backendRequest } = rule.timeouts ?? {};
	if (request === undefined || backendRequest === undefined) return;
	const requestMs = parseDurationMs(request) ?? 0;
	if (requestMs > 0 && (parseDurationMs(backendRequest) ?? 0) > requestMs) {
		errors.add([...path, 'backendRequest'], `at most ${request}, the timeout of the whole request`);
	}
}
