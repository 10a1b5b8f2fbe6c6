// Envoy's `OverloadManager`, compiled: which resources are watched, and from which pressure on what is done.

import type { JsonObject } from '@bufbuild/protobuf';
import {
	type OverloadAction,
	type OverloadManager,
	OverloadManagerSchema,
	ScaleTimersOverloadActionConfigSchema,
	ScaleTimersOverloadActionConfig_TimerType as TimerType,
	type Trigger,
} from '../../generated/envoy/config/overload/v3/overload_pb.ts';
import { DownstreamConnectionsConfigSchema } from '../../generated/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections_pb.ts';
import { FixedHeapConfigSchema } from '../../generated/envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap_pb.ts';
import { InjectedResourceConfigSchema } from '../../generated/envoy/extensions/resource_monitors/injected_resource/v3/injected_resource_pb.ts';
import { ConfigError } from '../../std/errors.ts';
import { durationMs } from '../duration-ms.ts';
import { type SupportedFields, unsupportedFields } from '../field-check.ts';
import { TypedConfig } from '../typed-config.ts';
import { ScaledTimeout } from './overload-state.ts';

const OVERLOAD = 'envoy.config.overload.v3';
const MONITORS = 'envoy.extensions.resource_monitors';
const PREFIX = 'type.googleapis.com/';
const REFRESH_INTERVAL_MS_DEFAULT = 1000;
/** Not more often, whatever is asked for: each refresh reads files of the system. */
const REFRESH_INTERVAL_MS_MIN = 10;

export const OVERLOAD_FIELDS: SupportedFields = {
	[`${OVERLOAD}.OverloadManager`]: ['refresh_interval', 'resource_monitors', 'actions', 'loadshed_points'],
	[`${OVERLOAD}.ResourceMonitor`]: ['name', 'typed_config'],
	[`${OVERLOAD}.OverloadAction`]: ['name', 'triggers', 'typed_config'],
	[`${OVERLOAD}.LoadShedPoint`]: ['name', 'triggers'],
	[`${OVERLOAD}.Trigger`]: ['name', 'threshold', 'scaled'],
	[`${OVERLOAD}.ThresholdTrigger`]: ['value'],
	[`${OVERLOAD}.ScaledTrigger`]: ['scaling_threshold', 'saturation_threshold'],
	[`${OVERLOAD}.ScaleTimersOverloadActionConfig`]: ['timer_scale_factors'],
	[`${OVERLOAD}.ScaleTimersOverloadActionConfig.ScaleTimer`]: ['timer', 'min_timeout', 'min_scale'],
	[`${MONITORS}.fixed_heap.v3.FixedHeapConfig`]: ['max_heap_size_bytes'],
	[`${MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig`]: ['max_active_downstream_connections'],
	[`${MONITORS}.injected_resource.v3.InjectedResourceConfig`]: ['filename'],
};

export const EVENT_LOOP_LAG_TYPE = `${PREFIX}weft.resource_monitors.v1.EventLoopLag`;

export type MonitorConfig = { readonly name: string } & (
	| { readonly kind: 'memory'; readonly bytesMax: number }
	| { readonly kind: 'connections'; readonly connectionsMax: number }
	| { readonly kind: 'file'; readonly path: string }
	| { readonly kind: 'loop-lag'; readonly lagMsMax: number }
);

/** Pressure up to `from` is 0, from `to` on 1, linear between; equal: a threshold. */
export interface CompiledTrigger {
	readonly monitor: string;
	readonly from: number;
	readonly to: number;
}

/** Which of OverloadState's levels an action or a point of that name sets. */
const ACTIONS = {
	'envoy.overload_actions.stop_accepting_requests': 'stopAcceptingRequests',
	'envoy.overload_actions.disable_http_keepalive': 'disableKeepAlive',
	'envoy.overload_actions.stop_accepting_connections': 'stopAcceptingConnections',
	'envoy.overload_actions.reject_incoming_connections': 'rejectConnections',
	'envoy.overload_actions.shrink_heap': 'shrinkHeap',
	'envoy.overload_actions.reduce_timeouts': 'reduceTimeouts',
} as const;

const POINTS = {
	'envoy.load_shed_points.tcp_listener_accept': 'acceptPoint',
	'envoy.load_shed_points.http_connection_manager_decode_headers': 'requestPoint',
	'envoy.load_shed_points.http1_server_abort_dispatch': 'http1DispatchPoint',
	'envoy.load_shed_points.http2_server_go_away_on_dispatch': 'http2DispatchPoint',
} as const;

const REDUCE_TIMEOUTS = 'envoy.overload_actions.reduce_timeouts';

export type LevelName = (typeof ACTIONS)[keyof typeof ACTIONS] | (typeof POINTS)[keyof typeof POINTS];
export type TimeoutName = 'httpIdleTimeout' | 'streamIdleTimeout' | 'connectionDuration' | 'handshakeTimeout';

export interface CompiledLevel {
	/** Envoy's. */
	readonly name: string;
	readonly level: LevelName;
	readonly isPoint: boolean;
	readonly triggers: readonly CompiledTrigger[];
}

export interface OverloadConfig {
	/** Default 1000. */
	readonly refreshIntervalMs: number;
	readonly monitors: readonly MonitorConfig[];
	readonly levels: readonly CompiledLevel[];
	readonly timeouts: ReadonlyMap<TimeoutName, ScaledTimeout>;
}

const OBJECT = 'bootstrap';
const FIELD = 'overload_manager';

/** @throws ConfigError */
export function compileOverloadManager(message: OverloadManager): OverloadConfig {
	const details = unsupportedFields(OverloadManagerSchema, message, OVERLOAD_FIELDS, OBJECT, FIELD);
	if (details.length > 0) throw new ConfigError(details);
	const monitors: MonitorConfig[] = [];
	message.resourceMonitors.forEach((monitor, index) => {
		const at = `${FIELD}.resource_monitors[${index}]`;
		if (monitor.name === '') throw fault(`${at}.name`, undefined, 'a name');
		if (monitors.some((one) => one.name === monitor.name)) {
			throw fault(`${at}.name`, monitor.name, 'a name that no other resource monitor has');
		}
		const any = monitor.configType.case === 'typedConfig' ? monitor.configType.value : undefined;
		const compiled = compileMonitor(monitor.name, TypedConfig.read(any, OBJECT, `${at}.typed_config`));
		if (compiled.kind === 'connections' && monitors.some((one) => one.kind === 'connections')) {
			throw fault(at, monitor.name, 'one monitor of downstream connections at most: it is the limit');
		}
		monitors.push(compiled);
	});
	if (monitors.length === 0) throw fault(`${FIELD}.resource_monitors`, undefined, 'at least one resource monitor');
	const timeouts = new Map<TimeoutName, ScaledTimeout>();
	const levels: CompiledLevel[] = [];
	const add = (at: string, name: string, known: Readonly<Record<string, LevelName>>, triggers: readonly Trigger[]) => {
		const level = Object.hasOwn(known, name) ? known[name] : undefined;
		if (level === undefined) throw fault(`${at}.name`, name, `one of: ${Object.keys(known).join(', ')}`);
		if (levels.some((one) => one.level === level)) throw fault(`${at}.name`, name, 'each at most once');
		levels.push({ name, level, isPoint: known === POINTS, triggers: compileTriggers(triggers, monitors, at) });
	};
	message.actions.forEach((action, index) => {
		const at = `${FIELD}.actions[${index}]`;
		add(at, action.name, ACTIONS, action.triggers);
		if (action.name === REDUCE_TIMEOUTS) compileTimeouts(action, at, timeouts);
		else if (action.typedConfig !== undefined) {
			throw fault(`${at}.typed_config`, action.typedConfig.typeUrl, `it to be absent: ${action.name} has none`);
		}
	});
	message.loadshedPoints.forEach((point, index) => {
		add(`${FIELD}.loadshed_points[${index}]`, point.name, POINTS, point.triggers);
	});
	const refreshIntervalMs = durationMs(message.refreshInterval) ?? REFRESH_INTERVAL_MS_DEFAULT;
	if (refreshIntervalMs < REFRESH_INTERVAL_MS_MIN) {
		throw fault(`${FIELD}.refresh_interval`, `${refreshIntervalMs}ms`, `at least ${REFRESH_INTERVAL_MS_MIN}ms`);
	}
	return { refreshIntervalMs, monitors, levels, timeouts };
}

/** Of the monitor of downstream connections, which is a limit at the same time; null: there is none. */
export function connectionsMax(config: OverloadConfig): number | null {
	for (const monitor of config.monitors) if (monitor.kind === 'connections') return monitor.connectionsMax;
	return null;
}

function compileMonitor(name: string, config: TypedConfig): MonitorConfig {
	switch (config.typeUrl) {
		case PREFIX + FixedHeapConfigSchema.typeName: {
			const { maxHeapSizeBytes } = config.message(FixedHeapConfigSchema, OVERLOAD_FIELDS);
			if (maxHeapSizeBytes <= 0n) throw config.error('max_heap_size_bytes', String(maxHeapSizeBytes), 'more than 0');
			return { name, kind: 'memory', bytesMax: Number(maxHeapSizeBytes) };
		}
		case PREFIX + DownstreamConnectionsConfigSchema.typeName: {
			const { maxActiveDownstreamConnections: max } = config.message(
				DownstreamConnectionsConfigSchema,
				OVERLOAD_FIELDS,
			);
			if (max <= 0n) throw config.error('max_active_downstream_connections', String(max), 'more than 0');
			return { name, kind: 'connections', connectionsMax: Number(max) };
		}
		case PREFIX + InjectedResourceConfigSchema.typeName: {
			const { filename } = config.message(InjectedResourceConfigSchema, OVERLOAD_FIELDS);
			if (filename === '') throw config.error('filename', undefined, 'the path of a file');
			return { name, kind: 'file', path: filename };
		}
		case EVENT_LOOP_LAG_TYPE:
			return { name, kind: 'loop-lag', lagMsMax: maxLag(config.struct(), config) };
		default: {
			const known = [FixedHeapConfigSchema, DownstreamConnectionsConfigSchema, InjectedResourceConfigSchema];
			const types = [...known.map((schema) => PREFIX + schema.typeName), EVENT_LOOP_LAG_TYPE];
			throw config.error('', config.typeUrl, `one of: ${types.join(', ')}`);
		}
	}
}

function maxLag(value: JsonObject, config: TypedConfig): number {
	for (const key of Object.keys(value)) {
		if (key !== 'max_lag') throw config.error(`value.${key}`, undefined, 'it to be absent: the only field is max_lag');
	}
	const text = value.max_lag;
	// A google.protobuf.Duration in JSON.
	const ms = typeof text === 'string' && /^\d{1,6}(\.\d{1,9})?s$/.test(text) ? Number(text.slice(0, -1)) * 1000 : 0;
	if (ms <= 0) {
		throw config.error('value.max_lag', JSON.stringify(text), 'a duration above 0, such as "0.2s"');
	}
	return ms;
}

function compileTriggers(
	triggers: readonly Trigger[],
	monitors: readonly MonitorConfig[],
	at: string,
): CompiledTrigger[] {
	if (triggers.length === 0) throw fault(`${at}.triggers`, undefined, 'at least one trigger');
	const compiled: CompiledTrigger[] = [];
	triggers.forEach((trigger, index) => {
		const field = `${at}.triggers[${index}]`;
		const { name, triggerOneof } = trigger;
		if (!monitors.some((monitor) => monitor.name === name)) {
			throw fault(`${field}.name`, name, `one of the resource monitors: ${monitors.map((one) => one.name).join(', ')}`);
		}
		if (compiled.some((one) => one.monitor === name)) throw fault(`${field}.name`, name, 'each resource once');
		switch (triggerOneof.case) {
			case 'threshold': {
				const { value } = triggerOneof.value;
				checkShare(value, `${field}.threshold.value`);
				compiled.push({ monitor: name, from: value, to: value });
				break;
			}
			case 'scaled': {
				const { scalingThreshold: from, saturationThreshold: to } = triggerOneof.value;
				checkShare(from, `${field}.scaled.scaling_threshold`);
				checkShare(to, `${field}.scaled.saturation_threshold`);
				if (from >= to) {
					throw fault(`${field}.scaled.scaling_threshold`, String(from), `less than saturation_threshold, ${to}`);
				}
				compiled.push({ monitor: name, from, to });
				break;
			}
			default:
				throw fault(field, undefined, 'one of threshold, scaled');
		}
	});
	return compiled;
}

function compileTimeouts(action: OverloadAction, at: string, timeouts: Map<TimeoutName, ScaledTimeout>): void {
	const config = TypedConfig.read(action.typedConfig, OBJECT, `${at}.typed_config`);
	const { timerScaleFactors } = config.message(ScaleTimersOverloadActionConfigSchema, OVERLOAD_FIELDS);
	if (timerScaleFactors.length === 0) throw config.error('timer_scale_factors', undefined, 'at least one');
	timerScaleFactors.forEach(({ timer, overloadAdjust }, index) => {
		const field = `timer_scale_factors[${index}]`;
		const name = timeoutName(timer);
		if (name === null) {
			const known = 'HTTP_DOWNSTREAM_CONNECTION_IDLE, HTTP_DOWNSTREAM_STREAM_IDLE, HTTP_DOWNSTREAM_CONNECTION_MAX';
			throw config.error(`${field}.timer`, TimerType[timer], `one of: ${known}, TRANSPORT_SOCKET_CONNECT`);
		}
		if (timeouts.has(name)) throw config.error(`${field}.timer`, TimerType[timer], 'each timer once');
		switch (overloadAdjust.case) {
			case 'minTimeout':
				timeouts.set(name, new ScaledTimeout(durationMs(overloadAdjust.value) ?? 0, 0));
				break;
			case 'minScale': {
				const { value } = overloadAdjust.value;
				if (!(value >= 0 && value <= 100)) throw config.error(`${field}.min_scale.value`, String(value), '0 to 100');
				timeouts.set(name, new ScaledTimeout(null, value / 100));
				break;
			}
			default:
				throw config.error(field, undefined, 'one of min_timeout, min_scale');
		}
	});
}

function timeoutName(timer: TimerType): TimeoutName | null {
	switch (timer) {
		case TimerType.HTTP_DOWNSTREAM_CONNECTION_IDLE:
			return 'httpIdleTimeout';
		case TimerType.HTTP_DOWNSTREAM_STREAM_IDLE:
			return 'streamIdleTimeout';
		case TimerType.HTTP_DOWNSTREAM_CONNECTION_MAX:
			return 'connectionDuration';
		case TimerType.TRANSPORT_SOCKET_CONNECT:
			return 'handshakeTimeout';
		default:
			return null;
	}
}

function checkShare(value: number, field: string): void {
	if (!(value >= 0 && value <= 1)) throw fault(field, String(value), '0 to 1');
}

function fault(field: string, found: string | undefined, expected: string): ConfigError {
	return new ConfigError({ object: OBJECT, field, found, expected });
}
