// Envoy's `config.rbac.v3.RBAC`, compiled: may this connection or request pass?

import { RBAC_Action as Action, type RBAC } from '../../generated/envoy/config/rbac/v3/rbac_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import type { SupportedFields } from '../field-check.ts';
import type { StreamInfo } from '../stream-info.ts';
import { type Condition, ConditionCompiler, type HttpConditions } from './conditions.ts';

const RBAC_PACKAGE = 'envoy.config.rbac.v3';

export const RBAC_RULE_FIELDS: SupportedFields = {
	[`${RBAC_PACKAGE}.RBAC`]: ['action', 'policies'],
	[`${RBAC_PACKAGE}.Policy`]: ['permissions', 'principals'],
	[`${RBAC_PACKAGE}.Permission`]: [
		'and_rules',
		'or_rules',
		'any',
		'header',
		'url_path',
		'destination_ip',
		'destination_port',
		'destination_port_range',
		'not_rule',
		'requested_server_name',
	],
	[`${RBAC_PACKAGE}.Permission.Set`]: ['rules'],
	[`${RBAC_PACKAGE}.Principal`]: [
		'and_ids',
		'or_ids',
		'any',
		'authenticated',
		'source_ip',
		'direct_remote_ip',
		'remote_ip',
		'header',
		'url_path',
		'not_id',
	],
	[`${RBAC_PACKAGE}.Principal.Set`]: ['ids'],
	[`${RBAC_PACKAGE}.Principal.Authenticated`]: ['principal_name'],
	'envoy.config.core.v3.CidrRange': '*',
	'envoy.type.v3.Int32Range': '*',
	'envoy.type.matcher.v3.StringMatcher': ['exact', 'prefix', 'suffix', 'safe_regex', 'contains', 'ignore_case'],
	'envoy.type.matcher.v3.RegexMatcher': ['regex', 'google_re2'],
};

export interface Decision {
	readonly allowed: boolean;
	/** The policy that matched; null: none did. */
	readonly policy: string | null;
}

export interface Rules {
	decide(info: StreamInfo): Decision;
}

interface Policy {
	readonly name: string;
	readonly permissions: readonly Condition[];
	readonly principals: readonly Condition[];
	readonly matched: Decision;
}

/** `http`: null where there are no requests. @throws ConfigError */
export function compileRules(config: RBAC, http: HttpConditions | null, object: string, field: string): Rules {
	const compiler = new ConditionCompiler(http, object);
	// DENY passes what no policy matches; LOG passes all.
	const allowsMatched = config.action !== Action.DENY;
	const unmatched: Decision = { allowed: config.action !== Action.ALLOW, policy: null };
	const policies = Object.keys(config.policies)
		.sort()
		.map((name): Policy => {
			const policy = config.policies[name]!;
			const at = `${field}.policies[${JSON.stringify(name)}]`;
			for (const part of ['permissions', 'principals'] as const) {
				if (policy[part].length > 0) continue;
				throw new ConfigError({ object, field: `${at}.${part}`, expected: 'at least one' });
			}
			return {
				name,
				permissions: policy.permissions.map((one, i) => compiler.permission(one, `${at}.permissions[${i}]`)),
				principals: policy.principals.map((one, i) => compiler.principal(one, `${at}.principals[${i}]`)),
				matched: { allowed: allowsMatched, policy: name },
			};
		});
	return {
		decide(info) {
			for (const policy of policies) {
				if (matchesAny(policy.permissions, info) && matchesAny(policy.principals, info)) return policy.matched;
			}
			return unmatched;
		},
	};
}

function matchesAny(conditions: readonly Condition[], info: StreamInfo): boolean {
	for (const condition of conditions) if (condition(info)) return true;
	return false;
}
