// Envoy's network filter `rbac`: who may connect. All that it looks at is known once the connection is
// (handshaken and) there and stays the same while it lasts, so the verdict is given once, before anything
// behind the filter hears of the connection.

import { type RBAC, RBACSchema } from '../../generated/envoy/extensions/filters/network/rbac/v3/rbac_pb.ts';
import type { Counter, MetricRegistry } from '../../telemetry/registry.ts';
import type { SupportedFields } from '../field-check.ts';
import type { FilterConfig } from '../http-filters/filter.ts';
import { compileRules, RBAC_RULE_FIELDS, type Rules } from '../rbac/rules.ts';
import type { StreamInfo } from '../stream-info.ts';
import type { TcpSessionFilter, TcpSessionFilterFactory } from './tcp-session-filter.ts';

export const NETWORK_RBAC_FIELDS: SupportedFields = {
	'envoy.extensions.filters.network.rbac.v3.RBAC': [
		'rules',
		'shadow_rules',
		'shadow_rules_stat_prefix',
		'stat_prefix',
		'enforcement_type',
	],
	...RBAC_RULE_FIELDS,
};

export const networkRbacFactory: TcpSessionFilterFactory = {
	typeUrl: 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC',
	compile(config, context) {
		const message = config.message(RBACSchema, NETWORK_RBAC_FIELDS);
		if (message.statPrefix === '') throw config.error('stat_prefix', undefined, 'a name for its statistics');
		return new NetworkRbac(context.name, message, config, context.registry);
	},
};

class NetworkRbac implements TcpSessionFilter {
	readonly isGate = true;
	private readonly rules: Rules | null;
	private readonly shadowRules: Rules | null;
	private readonly allowed: Counter;
	private readonly denied: Counter;
	private readonly shadowAllowed: Counter;
	private readonly shadowDenied: Counter;

	constructor(
		readonly name: string,
		message: RBAC,
		config: FilterConfig,
		registry: MetricRegistry,
	) {
		const { object, field } = config;
		this.rules = message.rules === undefined ? null : compileRules(message.rules, null, object, `${field}.rules`);
		this.shadowRules =
			message.shadowRules === undefined
				? null
				: compileRules(message.shadowRules, null, object, `${field}.shadow_rules`);
		const labels = ['envoy_rbac_prefix'];
		const prefix = message.statPrefix.replace(/\.$/, '');
		const shadow = message.shadowRulesStatPrefix.replace(/[^A-Za-z0-9_]/g, '_');
		const counter = (what: string, help: string): Counter =>
			registry.counter(`envoy_rbac_${what}`, help, labels).with(prefix);
		this.allowed = counter('allowed', 'Connections that the rules let pass');
		this.denied = counter('denied', 'Connections that the rules closed');
		this.shadowAllowed = counter(`${shadow}shadow_allowed`, 'Connections that the shadow rules would let pass');
		this.shadowDenied = counter(`${shadow}shadow_denied`, 'Connections that the shadow rules would close');
	}

	onOpen(info: StreamInfo): boolean {
		if (this.shadowRules !== null) {
			(this.shadowRules.decide(info).allowed ? this.shadowAllowed : this.shadowDenied).inc();
		}
		if (this.rules === null) return true;
		const { allowed, policy } = this.rules.decide(info);
		if (allowed) {
			this.allowed.inc();
			return true;
		}
		this.denied.inc();
		info.connectionTerminationDetails = `rbac_access_denied_matched_policy[${(policy ?? 'none').replace(/\s/g, '_')}]`;
		return false;
	}
}
