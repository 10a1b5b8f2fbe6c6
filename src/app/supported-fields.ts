// The page that lists what of Envoy's configuration the proxy takes, made of the tables by which it
// refuses the rest.

import { ACCESS_LOG_FIELDS } from '../proxy/access-log/compile-access-log.ts';
import { BOOTSTRAP_FIELDS } from '../proxy/bootstrap-fields.ts';
import { CLUSTER_FIELDS } from '../proxy/cluster/cluster-fields.ts';
import type { SupportedFields } from '../proxy/field-check.ts';
import { FIELDS_WITHOUT_EFFECT } from '../proxy/fields-without-effect.ts';
import { operatorNames } from '../proxy/format/operators.ts';
import { CORS_FIELDS } from '../proxy/http-filters/cors.ts';
import { FAULT_FIELDS } from '../proxy/http-filters/fault.ts';
import { FILTER_CONFIG_FIELDS } from '../proxy/http-filters/filter-registry.ts';
import { GRPC_HTTP1_BRIDGE_FIELDS } from '../proxy/http-filters/grpc-http1-bridge.ts';
import { GRPC_STATS_FIELDS } from '../proxy/http-filters/grpc-stats.ts';
import { GRPC_WEB_FIELDS } from '../proxy/http-filters/grpc-web.ts';
import { ROUTER_FIELDS } from '../proxy/http-filters/router.ts';
import { LISTENER_FIELDS } from '../proxy/listener/listener-fields.ts';
import { LISTENER_FILTER_FIELDS } from '../proxy/listener-filters/compile-listener-filters.ts';
import { CONNECTION_LIMIT_FIELDS } from '../proxy/network-filters/connection-limit.ts';
import { DIRECT_RESPONSE_FIELDS } from '../proxy/network-filters/direct-response.ts';
import { HTTP_FIELDS } from '../proxy/network-filters/http-fields.ts';
import { NETWORK_RBAC_FIELDS } from '../proxy/network-filters/rbac.ts';
import { TCP_PROXY_FIELDS } from '../proxy/network-filters/tcp-proxy.ts';
import { OVERLOAD_FIELDS } from '../proxy/overload/overload-config.ts';
import { ROUTE_FIELDS } from '../proxy/route/route-fields.ts';
import { TLS_FIELDS } from '../proxy/tls/tls-fields.ts';

const SECTIONS: readonly (readonly [string, SupportedFields])[] = [
	['Bootstrap', BOOTSTRAP_FIELDS],
	['Overload manager', OVERLOAD_FIELDS],
	['Listeners', LISTENER_FIELDS],
	['HTTP connection manager', HTTP_FIELDS],
	['Routes', ROUTE_FIELDS],
	['Router filter', ROUTER_FIELDS],
	['Fault filter', FAULT_FIELDS],
	['Filters on a route', FILTER_CONFIG_FIELDS],
	['Listener filters', LISTENER_FILTER_FIELDS],
	['Network RBAC filter', NETWORK_RBAC_FIELDS],
	['Network direct response', DIRECT_RESPONSE_FIELDS],
	['CORS filter', CORS_FIELDS],
	['gRPC-Web filter', GRPC_WEB_FIELDS],
	['gRPC HTTP/1.1 bridge', GRPC_HTTP1_BRIDGE_FIELDS],
	['gRPC statistics filter', GRPC_STATS_FIELDS],
	['TCP proxy', TCP_PROXY_FIELDS],
	['Connection limit filter', CONNECTION_LIMIT_FIELDS],
	['Access logs', ACCESS_LOG_FIELDS],
	['Clusters and endpoints', CLUSTER_FIELDS],
	['TLS and secrets', TLS_FIELDS],
];

/** All that is accepted, read or not. */
export const ALL_FIELDS: readonly SupportedFields[] = SECTIONS.map(([, fields]) => fields);

const HEAD = `# Supported Envoy configuration

\`weft proxy\` takes Envoy v3 bootstraps and xDS resources. What follows is read, or is listed with its reason under
"Accepted without effect". Any other field that is set is refused: the bootstrap with an error, an xDS resource with
a NACK that names the field; the last good state stays in force.

This page is made by \`scripts/bun scripts/supported-fields.ts\` from the tables that the proxy checks by.
`;

export function supportedFieldsText(): string {
	const parts = [HEAD];
	const shown = new Map<string, string>();
	for (const [title, fields] of SECTIONS) {
		const rows: string[] = [];
		for (const name of Object.keys(fields).sort()) {
			const list = fields[name]!;
			const text =
				list === '*'
					? 'all fields'
					: [...list]
							.sort()
							.map((field) => `\`${field}\``)
							.join(', ');
			// A message that another section shows in the same way is not repeated.
			if (shown.get(name) === text) continue;
			shown.set(name, text);
			rows.push(`| \`${name}\` | ${text} |`);
		}
		if (rows.length > 0) parts.push(`## ${title}\n\n| Message | Fields |\n|---|---|\n${rows.join('\n')}\n`);
	}
	parts.push(withoutEffectText());
	const operators = operatorNames().map((name) => `\`%${name}%\``);
	parts.push(`## Command operators\n\nIn access logs and header values: ${operators.join(', ')}.\n`);
	return parts.join('\n');
}

function withoutEffectText(): string {
	const rows = Object.entries(FIELDS_WITHOUT_EFFECT).map(([name, reason]) => {
		const at = name.lastIndexOf('.');
		return `| \`${name.slice(0, at)}\` | \`${name.slice(at + 1)}\` | ${reason} |`;
	});
	return `## Accepted without effect\n\n| Message | Field | Why |\n|---|---|---|\n${rows.join('\n')}\n`;
}
