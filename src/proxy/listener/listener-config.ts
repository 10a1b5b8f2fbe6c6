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
import { durationMs } from '../duration-ms.ts';
import { unsupportedFields } from '../field-check.ts';
import { compileListenerFilters } from '../listener-filters/compile-listener-filters.ts';
import type { InspectionSettings } from '../listener-filters/inspection.ts';
import type { NetworkFilterContext } from '../network-filters/network-filter-context.ts';
import { NO_OVERLOAD } from '../overload/overload-state.ts';
import type { SecretManager } from '../tls/secret-manager.ts';
import { compileFilterChain, type FilterChain, releaseFilterChain } from './filter-chain.ts';
import { type ChainMatcher, compileChainMatcher } from './filter-chain-match.ts';
import { LISTENER_FIELDS } from './listener-fields.ts';

export interface ListenerConfig {
	readonly name: string;
	readonly address: Address;
	readonly mode: number;
	/** False: only reached from a listener with `useOriginalDestination`. */
	readonly bindToPort: boolean;
	/** A connection that was redirected here goes to the listener of where it was headed, if there is one. */
	readonly useOriginalDestination: boolean;
	readonly inspection: InspectionSettings;
	readonly matcher: ChainMatcher<FilterChain>;
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
const LISTENER_FILTERS_TIMEOUT_MS_DEFAULT = 15_000;

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
	const useOriginalDestination = message.useOriginalDst ?? false;
	const filters = compileListenerFilters(message.listenerFilters, useOriginalDestination, environment.registry, object);
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
	let matcher: ChainMatcher<FilterChain>;
	try {
		message.filterChains.forEach((chain, index) => {
			chains.push(compileFilterChain(chain, context, secrets, known, object, `filter_chains[${index}]`));
		});
		const matches = message.filterChains.map((chain, index) => ({
			match: chain.filterChainMatch,
			value: chains[index]!,
			field: `filter_chains[${index}].filter_chain_match`,
		}));
		matcher = compileChainMatcher(matches, object);
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
		useOriginalDestination,
		inspection: {
			filters,
			timeoutMs: durationMs(message.listenerFiltersTimeout) ?? LISTENER_FILTERS_TIMEOUT_MS_DEFAULT,
			continueOnTimeout: message.continueOnListenerFiltersTimeout,
		},
		matcher,
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

function directionOf(direction: TrafficDirection): NetworkFilterContext['direction'] {
	if (direction === TrafficDirection.INBOUND) return 'inbound';
	return direction === TrafficDirection.OUTBOUND ? 'outbound' : 'unspecified';
}
