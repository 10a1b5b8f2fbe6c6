// Envoy's `Listener`, compiled: where it listens and which filter chains it has.

import { TrafficDirection } from '../../generated/envoy/config/core/v3/base_pb.ts';
import {
	type Listener as ListenerMessage,
	ListenerSchema,
} from '../../generated/envoy/config/listener/v3/listener_pb.ts';
import { type Address, formatAddress } from '../../net/network.ts';
import { ConfigError } from '../../std/errors.ts';
import { compileListenAddress } from '../address.ts';
import { compileBufferLimit } from '../buffer-limit.ts';
import { unsupportedFields } from '../field-check.ts';
import type { NetworkFilterContext } from '../network-filters/network-filter-context.ts';
import { NO_OVERLOAD } from '../overload/overload-state.ts';
import type { SecretManager } from '../tls/secret-manager.ts';
import { compileFilterChain, type FilterChain, releaseFilterChain } from './filter-chain.ts';
import { LISTENER_FIELDS } from './listener-fields.ts';

export interface ListenerConfig {
	readonly name: string;
	readonly address: Address;
	readonly mode: number;
	/** False: only reached from a listener with `useOriginalDestination`. */
	readonly bindToPort: boolean;
	readonly useOriginalDestination: boolean;
	readonly chains: readonly FilterChain[];
	readonly defaultChain: FilterChain | null;
	/** 0: the network's default. */
	readonly backlog: number;
	/** `ignore_global_conn_limit` */
	readonly ignoresGlobalLimit: boolean;
	/** `bypass_overload_manager` */
	readonly bypassesOverload: boolean;
	/** Buffered bytes of a connection beyond which its writer waits; null: the network's default. */
	readonly bufferLimitBytes: number | null;
	/** `envoy_listener_address` label: `127.0.0.1_80`. */
	readonly statName: string;
	readonly message: ListenerMessage;
}

/** The parts of a network filter's context that a listener adds. */
export type ListenerEnvironment = Omit<NetworkFilterContext, 'listenerName' | 'direction' | 'bufferLimitBytes'>;

const BUFFER_LIMIT_BYTES_DEFAULT = 1024 * 1024;
/** What they look at is known here without them, or they change nothing. */
const LISTENER_FILTER_TYPES = new Set([
	'type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst',
]);

/** `known`: chains of the version before, by their content. @throws ConfigError */
export function compileListener(
	message: ListenerMessage,
	environment: ListenerEnvironment,
	secrets: SecretManager,
	known: ReadonlyMap<string, FilterChain>,
): ListenerConfig {
	const object = `listener ${JSON.stringify(message.name)}`;
	const details = unsupportedFields(ListenerSchema, message, LISTENER_FIELDS, object);
	if (details.length > 0) throw new ConfigError(details);
	message.listenerFilters.forEach((filter, index) => {
		const typeUrl = filter.configType.case === 'typedConfig' ? filter.configType.value.typeUrl : '';
		if (LISTENER_FILTER_TYPES.has(typeUrl)) return;
		throw new ConfigError({
			object,
			field: `listener_filters[${index}]`,
			found: filter.name,
			expected: `one of: ${[...LISTENER_FILTER_TYPES].join(', ')}`,
		});
	});
	const address = compileListenAddress(message.address, object, 'address');
	if (message.filterChains.length === 0 && message.defaultFilterChain === undefined) {
		throw new ConfigError({ object, field: 'filter_chains', expected: 'at least one filter chain' });
	}
	const bufferLimitBytes = compileBufferLimit(message.perConnectionBufferLimitBytes, object);
	const context: NetworkFilterContext = {
		...environment,
		listenerName: message.name,
		direction: directionOf(message.trafficDirection),
		bufferLimitBytes: bufferLimitBytes ?? BUFFER_LIMIT_BYTES_DEFAULT,
		overload: message.bypassOverloadManager ? NO_OVERLOAD : environment.overload,
	};
	const chains: FilterChain[] = [];
	let defaultChain: FilterChain | null = null;
	try {
		message.filterChains.forEach((chain, index) => {
			chains.push(compileFilterChain(chain, context, secrets, known, object, `filter_chains[${index}]`));
		});
		refuseTwins(chains, object);
		if (message.defaultFilterChain !== undefined) {
			const field = 'default_filter_chain';
			defaultChain = compileFilterChain(message.defaultFilterChain, context, secrets, known, object, field);
		}
	} catch (error) {
		for (const chain of chains) if (!known.has(chain.contentKey)) releaseFilterChain(chain);
		throw error;
	}
	const pipe = message.address?.address.case === 'pipe' ? message.address.address.value : null;
	return {
		name: message.name,
		address,
		mode: pipe?.mode ?? 0,
		bindToPort: message.bindToPort ?? true,
		useOriginalDestination: message.useOriginalDst ?? false,
		chains,
		defaultChain,
		backlog: message.tcpBacklogSize ?? 0,
		ignoresGlobalLimit: message.ignoreGlobalConnLimit,
		bypassesOverload: message.bypassOverloadManager,
		bufferLimitBytes,
		statName: message.statPrefix === '' ? formatAddress(address).replaceAll(':', '_') : message.statPrefix,
		message,
	};
}

export function allChains(config: ListenerConfig): readonly FilterChain[] {
	return config.defaultChain === null ? config.chains : [...config.chains, config.defaultChain];
}

function refuseTwins(chains: readonly FilterChain[], object: string): void {
	const seen = new Set<string>();
	chains.forEach((chain, index) => {
		const match = chain.identityKey.slice(chain.identityKey.indexOf('\n'));
		if (seen.has(match)) {
			const field = `filter_chains[${index}].filter_chain_match`;
			throw new ConfigError({ object, field, expected: 'a match that no other filter chain has' });
		}
		seen.add(match);
	});
}

function directionOf(direction: TrafficDirection): NetworkFilterContext['direction'] {
	if (direction === TrafficDirection.INBOUND) return 'inbound';
	return direction === TrafficDirection.OUTBOUND ? 'outbound' : 'unspecified';
}
