// From the two ways in which Envoy's Cluster names its balancing (`lb_policy`, and the newer
// `load_balancing_policy`, which wins) to weft's policy.

import { type Any, anyUnpack } from '@bufbuild/protobuf/wkt';
import { type Cluster, Cluster_LbPolicy as LbPolicy } from '../../generated/envoy/config/cluster/v3/cluster_pb.ts';
import {
	LeastRequestSchema,
	LeastRequest_SelectionMethod as SelectionMethod,
} from '../../generated/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.ts';
import { RoundRobinSchema } from '../../generated/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import { unsupportedFields } from '../field-check.ts';
import type { LoadBalancingPolicy } from '../load-balancing/host-picker.ts';
import { CLUSTER_FIELDS } from './cluster-fields.ts';

const CHOICE_COUNT_DEFAULT = 2;
const CHOICE_COUNT_MAX = 100;
const POLICY_TYPES = 'type.googleapis.com/envoy.extensions.load_balancing_policies';

/** @throws ConfigError. `policy` null: the cluster's own, of ORIGINAL_DST. */
export function compileLoadBalancing(
	message: Cluster,
	isOriginalDst: boolean,
	object: string,
): { policy: LoadBalancingPolicy | null } {
	if (isOriginalDst !== (message.lbPolicy === LbPolicy.CLUSTER_PROVIDED)) {
		throw new ConfigError({
			object,
			field: 'lb_policy',
			found: LbPolicy[message.lbPolicy] ?? String(message.lbPolicy),
			expected: 'CLUSTER_PROVIDED with the type ORIGINAL_DST, and only with it',
		});
	}
	if (isOriginalDst) return { policy: null };
	const policies = message.loadBalancingPolicy?.policies;
	if (policies !== undefined) {
		for (const [i, entry] of policies.entries()) {
			const config = entry.typedExtensionConfig?.typedConfig;
			const field = `load_balancing_policy.policies[${i}].typed_extension_config.typed_config`;
			const policy = config === undefined ? null : typedPolicy(config, object, field);
			if (policy !== null) return { policy };
		}
		throw new ConfigError({
			object,
			field: 'load_balancing_policy.policies',
			expected: 'one of RoundRobin, LeastRequest, Random',
		});
	}
	switch (message.lbPolicy) {
		case LbPolicy.ROUND_ROBIN:
			return { policy: { kind: 'round_robin' } };
		case LbPolicy.RANDOM:
			return { policy: { kind: 'random' } };
		case LbPolicy.LEAST_REQUEST: {
			const config = message.lbConfig.case === 'leastRequestLbConfig' ? message.lbConfig.value : undefined;
			const bias = config?.activeRequestBias?.defaultValue ?? 1;
			return { policy: leastRequest(config?.choiceCount, bias, object, 'least_request_lb_config') };
		}
		default:
			throw new ConfigError({
				object,
				field: 'lb_policy',
				found: LbPolicy[message.lbPolicy] ?? String(message.lbPolicy),
				expected: 'ROUND_ROBIN, LEAST_REQUEST or RANDOM',
			});
	}
}

/** Null: one that weft does not know; Envoy tries the next in the list. */
function typedPolicy(config: Any, object: string, field: string): LoadBalancingPolicy | null {
	switch (config.typeUrl) {
		case `${POLICY_TYPES}.round_robin.v3.RoundRobin`: {
			const message = anyUnpack(config, RoundRobinSchema)!;
			const unsupported = unsupportedFields(RoundRobinSchema, message, CLUSTER_FIELDS, object, field);
			if (unsupported.length > 0) throw new ConfigError(unsupported);
			return { kind: 'round_robin' };
		}
		case `${POLICY_TYPES}.least_request.v3.LeastRequest`: {
			const message = anyUnpack(config, LeastRequestSchema)!;
			const unsupported = unsupportedFields(LeastRequestSchema, message, CLUSTER_FIELDS, object, field);
			if (unsupported.length > 0) throw new ConfigError(unsupported);
			if (message.selectionMethod !== SelectionMethod.N_CHOICES) {
				throw new ConfigError({ object, field: `${field}.selection_method`, expected: 'N_CHOICES' });
			}
			return leastRequest(message.choiceCount, message.activeRequestBias?.defaultValue ?? 1, object, field);
		}
		case `${POLICY_TYPES}.random.v3.Random`:
			if (config.value.length === 0) return { kind: 'random' };
			throw new ConfigError({ object, field, expected: 'no fields: weft supports none of Random' });
		default:
			return null;
	}
}

function leastRequest(
	choiceCount: number | undefined,
	activeRequestBias: number,
	object: string,
	field: string,
): LoadBalancingPolicy {
	const count = choiceCount ?? CHOICE_COUNT_DEFAULT;
	if (count < 2 || count > CHOICE_COUNT_MAX) {
		const expected = `2 to ${CHOICE_COUNT_MAX}`;
		throw new ConfigError({ object, field: `${field}.choice_count`, found: String(count), expected });
	}
	if (!(activeRequestBias >= 0)) {
		const found = String(activeRequestBias);
		throw new ConfigError({ object, field: `${field}.active_request_bias`, found, expected: 'at least 0' });
	}
	return { kind: 'least_request', choiceCount: count, activeRequestBias };
}
