// Envoy's RBAC `Permission` and `Principal`, compiled: what a connection or a request is, and who is
// behind it. A condition looks at a StreamInfo only, so that one compiler serves TCP and HTTP; what can be
// asked of HTTP requests alone comes from `HttpConditions`.

import { isIP } from 'node:net';
import type { CidrRange } from '../../generated/envoy/config/core/v3/address_pb.ts';
import type { Permission, Principal } from '../../generated/envoy/config/rbac/v3/rbac_pb.ts';
import type { HeaderMatcher } from '../../generated/envoy/config/route/v3/route_components_pb.ts';
import type { PathMatcher } from '../../generated/envoy/type/matcher/v3/path_pb.ts';
import type { Address } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';
import { compileCidrRanges } from '../cidr.ts';
import type { StreamInfo } from '../stream-info.ts';
import { compileStringMatcher, type StringTest } from '../string-matcher.ts';

export type Condition = (info: StreamInfo) => boolean;

/** What conditions on requests are made of. */
export interface HttpConditions {
	/** @throws ConfigError */
	header(config: HeaderMatcher, object: string, field: string): Condition;
	/** @throws ConfigError */
	urlPath(config: PathMatcher, object: string, field: string): Condition;
}

/** A condition in a condition in a … */
const DEPTH_MAX = 32;
const PORT_END = 65536;

/** `http`: null where there are no requests. */
export class ConditionCompiler {
	constructor(
		private readonly http: HttpConditions | null,
		private readonly object: string,
	) {}

	/** @throws ConfigError */
	permission(config: Permission, field: string, depth = 0): Condition {
		this.checkDepth(field, depth);
		const { rule } = config;
		switch (rule.case) {
			case 'andRules':
			case 'orRules': {
				const at = `${field}.${rule.case === 'andRules' ? 'and_rules' : 'or_rules'}.rules`;
				const rules = rule.value.rules.map((one, index) => this.permission(one, `${at}[${index}]`, depth + 1));
				return this.combined(rule.case === 'andRules', rules, at);
			}
			case 'notRule':
				return negated(this.permission(rule.value, `${field}.not_rule`, depth + 1));
			case 'any':
				return this.any(rule.value, field);
			case 'header':
				return this.header(rule.value, `${field}.header`);
			case 'urlPath':
				return this.urlPath(rule.value, `${field}.url_path`);
			case 'destinationIp':
				return this.address(rule.value, `${field}.destination_ip`, localAddress);
			case 'destinationPort':
				return this.ports(rule.value, rule.value + 1, `${field}.destination_port`);
			case 'destinationPortRange':
				return this.ports(rule.value.start, rule.value.end, `${field}.destination_port_range`);
			case 'requestedServerName': {
				const test = this.text(rule.value, `${field}.requested_server_name`);
				return (info) => test(info.requestedServerName);
			}
			default:
				throw this.unsupported(
					field,
					rule.case,
					'and_rules, or_rules, not_rule, any, header, url_path, destination_ip, destination_port, destination_port_range, requested_server_name',
				);
		}
	}

	/** @throws ConfigError */
	principal(config: Principal, field: string, depth = 0): Condition {
		this.checkDepth(field, depth);
		const { identifier } = config;
		switch (identifier.case) {
			case 'andIds':
			case 'orIds': {
				const at = `${field}.${identifier.case === 'andIds' ? 'and_ids' : 'or_ids'}.ids`;
				const ids = identifier.value.ids.map((one, index) => this.principal(one, `${at}[${index}]`, depth + 1));
				return this.combined(identifier.case === 'andIds', ids, at);
			}
			case 'notId':
				return negated(this.principal(identifier.value, `${field}.not_id`, depth + 1));
			case 'any':
				return this.any(identifier.value, field);
			case 'authenticated': {
				const name = identifier.value.principalName;
				if (name === undefined) return (info) => info.connection.tls?.peerCertificate != null;
				return authenticated(this.text(name, `${field}.authenticated.principal_name`));
			}
			case 'sourceIp':
				return this.address(identifier.value, `${field}.source_ip`, remoteAddress);
			case 'directRemoteIp':
				return this.address(identifier.value, `${field}.direct_remote_ip`, directRemoteAddress);
			case 'remoteIp':
				return this.address(identifier.value, `${field}.remote_ip`, clientAddress);
			case 'header':
				return this.header(identifier.value, `${field}.header`);
			case 'urlPath':
				return this.urlPath(identifier.value, `${field}.url_path`);
			default:
				throw this.unsupported(
					field,
					identifier.case,
					'and_ids, or_ids, not_id, any, authenticated, source_ip, direct_remote_ip, remote_ip, header, url_path',
				);
		}
	}

	private combined(all: boolean, conditions: readonly Condition[], field: string): Condition {
		if (conditions.length === 0) throw new ConfigError({ object: this.object, field, expected: 'at least one' });
		return all
			? (info) => conditions.every((condition) => condition(info))
			: (info) => conditions.some((condition) => condition(info));
	}

	private any(value: boolean, field: string): Condition {
		if (value) return () => true;
		throw new ConfigError({ object: this.object, field: `${field}.any`, found: 'false', expected: 'true' });
	}

	private header(config: HeaderMatcher, field: string): Condition {
		if (this.http === null) throw this.onlyHttp(field);
		return this.http.header(config, this.object, field);
	}

	private urlPath(config: PathMatcher, field: string): Condition {
		if (this.http === null) throw this.onlyHttp(field);
		return this.http.urlPath(config, this.object, field);
	}

	private address(range: CidrRange, field: string, hostOf: (info: StreamInfo) => string): Condition {
		const contains = compileCidrRanges([range], this.object, field);
		return (info) => {
			const host = hostOf(info);
			return isIP(host) !== 0 && contains(host);
		};
	}

	private ports(start: number, end: number, field: string): Condition {
		if (start < 0 || start >= end || end > PORT_END) {
			throw new ConfigError({
				object: this.object,
				field,
				found: end === start + 1 ? String(start) : `${start} to ${end}`,
				expected: `0 <= start < end <= ${PORT_END}`,
			});
		}
		return (info) => {
			const address = info.originalDestination ?? info.connection.local;
			return address.kind === 'ip' && address.port >= start && address.port < end;
		};
	}

	private text(config: Parameters<typeof compileStringMatcher>[0], field: string): StringTest {
		return compileStringMatcher(config, this.object, field);
	}

	private checkDepth(field: string, depth: number): void {
		if (depth <= DEPTH_MAX) return;
		throw new ConfigError({ object: this.object, field, expected: `at most ${DEPTH_MAX} conditions in each other` });
	}

	private onlyHttp(field: string): ConfigError {
		return new ConfigError({ object: this.object, field, expected: 'nothing that only requests have' });
	}

	private unsupported(field: string, found: string | undefined, known: string): ConfigError {
		return new ConfigError({ object: this.object, field, found: found ?? 'nothing', expected: `one of ${known}` });
	}
}

function negated(condition: Condition): Condition {
	return (info) => !condition(info);
}

/** By any URI SAN, any DNS SAN, or the subject of the certificate that the peer showed. */
function authenticated(test: StringTest): Condition {
	return (info) => {
		const peer = info.connection.tls?.peerCertificate ?? null;
		if (peer === null) return false;
		return peer.uriSans.some(test) || peer.dnsSans.some(test) || test(peer.subject);
	};
}

function localAddress(info: StreamInfo): string {
	return hostOf(info.originalDestination ?? info.connection.local);
}

function remoteAddress(info: StreamInfo): string {
	return hostOf(info.connection.remote);
}

function directRemoteAddress(info: StreamInfo): string {
	return hostOf(info.connection.directRemote);
}

/** Whom the request is from, where proxies before us are trusted to say. */
function clientAddress(info: StreamInfo): string {
	return info.clientAddress === '' ? remoteAddress(info) : info.clientAddress;
}

function hostOf(address: Address): string {
	return address.kind === 'ip' ? address.host : '';
}
