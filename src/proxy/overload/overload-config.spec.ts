import { describe, expect, test } from 'bun:test';
import { parseBootstrap } from '../bootstrap.ts';
import { connectionBudget, isConnectionLimitKey } from './connection-budget.ts';
import { compileOverloadManager, connectionsMax, type OverloadConfig } from './overload-config.ts';
import { compileRuntime } from './runtime.ts';

const TYPE = 'type.googleapis.com/envoy.extensions.resource_monitors';
const MEMORY = {
	name: 'envoy.resource_monitors.fixed_heap',
	typed_config: { '@type': `${TYPE}.fixed_heap.v3.FixedHeapConfig`, max_heap_size_bytes: 1000 },
};
const CONNECTIONS = {
	name: 'envoy.resource_monitors.global_downstream_max_connections',
	typed_config: {
		'@type': `${TYPE}.downstream_connections.v3.DownstreamConnectionsConfig`,
		max_active_downstream_connections: 7,
	},
};
const lag = (value: object): object => ({
	name: 'weft.resource_monitors.event_loop_lag',
	typed_config: {
		'@type': 'type.googleapis.com/xds.type.v3.TypedStruct',
		type_url: 'type.googleapis.com/weft.resource_monitors.v1.EventLoopLag',
		value,
	},
});
const STOP = {
	name: 'envoy.overload_actions.stop_accepting_requests',
	triggers: [{ name: MEMORY.name, threshold: { value: 0.9 } }],
};
const reduce = (...factors: object[]): object => ({
	name: 'envoy.overload_actions.reduce_timeouts',
	triggers: [{ name: MEMORY.name, scaled: { scaling_threshold: 0.5, saturation_threshold: 0.9 } }],
	typed_config: {
		'@type': 'type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig',
		timer_scale_factors: factors,
	},
});

function compile(overload: object): OverloadConfig {
	const bootstrap = parseBootstrap(JSON.stringify({ overload_manager: overload }), 'bootstrap');
	return compileOverloadManager(bootstrap.overloadManager!);
}

test('monitors, triggers, actions and points are compiled', () => {
	const config = compile({
		resource_monitors: [MEMORY, CONNECTIONS, lag({ max_lag: '0.25s' })],
		actions: [STOP, reduce({ timer: 'HTTP_DOWNSTREAM_CONNECTION_MAX', min_scale: { value: 10 } })],
		loadshed_points: [{ ...STOP, name: 'envoy.load_shed_points.tcp_listener_accept' }],
	});
	expect(config.refreshIntervalMs).toBe(1000);
	expect(config.monitors.map((one) => one.kind)).toEqual(['memory', 'connections', 'loop-lag']);
	expect(config.monitors[2]).toMatchObject({ lagMsMax: 250 });
	expect(connectionsMax(config)).toBe(7);
	expect(config.levels.map(({ level, isPoint }) => [level, isPoint])).toEqual([
		['stopAcceptingRequests', false],
		['reduceTimeouts', false],
		['acceptPoint', true],
	]);
	expect(config.levels[1]!.triggers).toEqual([{ monitor: MEMORY.name, from: 0.5, to: 0.9 }]);
	expect([...config.timeouts.keys()]).toEqual(['connectionDuration']);
});

describe('what Envoy refuses, or weft has not, is refused by its name', () => {
	const monitors = { resource_monitors: [MEMORY] };
	const cases: readonly (readonly [string, object, string])[] = [
		['no monitor', { actions: [] }, 'overload_manager.resource_monitors'],
		['a monitor twice', { resource_monitors: [MEMORY, MEMORY] }, 'overload_manager.resource_monitors[1].name'],
		[
			'a heap of nothing',
			{ resource_monitors: [{ ...MEMORY, typed_config: { ...MEMORY.typed_config, max_heap_size_bytes: 0 } }] },
			'max_heap_size_bytes: found 0',
		],
		['a lag without its bound', { resource_monitors: [lag({})] }, 'value.max_lag'],
		['another field of the lag', { resource_monitors: [lag({ max_lag: '1s', unit: 's' })] }, 'value.unit'],
		['an action twice', { ...monitors, actions: [STOP, STOP] }, 'overload_manager.actions[1].name'],
		[
			'an action that weft has not',
			{ ...monitors, actions: [{ ...STOP, name: 'envoy.overload_actions.reset_high_memory_stream' }] },
			'found envoy.overload_actions.reset_high_memory_stream, expected one of: ',
		],
		[
			'a point that weft has not',
			{ ...monitors, loadshed_points: [{ ...STOP, name: 'envoy.load_shed_points.connection_pool_new_connection' }] },
			'overload_manager.loadshed_points[0].name',
		],
		['an action without a trigger', { ...monitors, actions: [{ name: STOP.name }] }, 'actions[0].triggers'],
		[
			'a trigger of an unknown resource',
			{ ...monitors, actions: [{ name: STOP.name, triggers: [{ name: 'nobody', threshold: { value: 1 } }] }] },
			'actions[0].triggers[0].name: found nobody',
		],
		[
			'a resource twice in an action',
			{ ...monitors, actions: [{ name: STOP.name, triggers: [...STOP.triggers, ...STOP.triggers] }] },
			'actions[0].triggers[1].name',
		],
		[
			'a scale that ends before it begins',
			{
				...monitors,
				actions: [
					{
						name: STOP.name,
						triggers: [{ name: MEMORY.name, scaled: { scaling_threshold: 0.9, saturation_threshold: 0.5 } }],
					},
				],
			},
			'scaled.scaling_threshold: found 0.9, expected less than',
		],
		[
			'a threshold above all',
			{ ...monitors, actions: [{ name: STOP.name, triggers: [{ name: MEMORY.name, threshold: { value: 1.5 } }] }] },
			'threshold.value: found 1.5',
		],
		['timeouts without their list', { ...monitors, actions: [reduce()] }, 'timer_scale_factors'],
		[
			'a timer that weft has not',
			{ ...monitors, actions: [reduce({ timer: 'HTTP_DOWNSTREAM_STREAM_FLUSH', min_timeout: '1s' })] },
			'timer_scale_factors[0].timer: found HTTP_DOWNSTREAM_STREAM_FLUSH',
		],
		[
			'a configuration where there is none',
			{ ...monitors, actions: [{ ...STOP, typed_config: MEMORY.typed_config }] },
			'actions[0].typed_config',
		],
		[
			'accounts of buffers',
			{ ...monitors, buffer_factory_config: { minimum_account_to_track_power_of_two: 20 } },
			'overload_manager.buffer_factory_config',
		],
	];
	for (const [title, overload, message] of cases) {
		test(title, () => expect(() => compile(overload)).toThrow(message));
	}
});

describe('limits by runtime keys', () => {
	const runtime = (...layers: object[]) => {
		const text = JSON.stringify({
			layered_runtime: { layers: layers.map((layer, index) => ({ name: `${index}`, static_layer: layer })) },
		});
		return compileRuntime(parseBootstrap(text, 'bootstrap').layeredRuntime, isConnectionLimitKey);
	};

	test('of a listener, and of all; a later layer wins, and keys may be nested', () => {
		const values = runtime(
			{ 'envoy.resource_limits.listener.a.b.connection_limit': 3, overload: { global_downstream_max_connections: 9 } },
			{ envoy: { resource_limits: { listener: { 'a.b': { connection_limit: '4' } } } } },
		);
		const budget = connectionBudget(values, null);
		expect(budget.listenerMax('a.b')).toBe(4);
		expect(budget.listenerMax('other')).toBe(Number.POSITIVE_INFINITY);
		expect(budget.max).toBe(9);
		expect(connectionBudget(values, 5).max).toBe(5);
	});

	test('another key, or what is no number, is refused', () => {
		expect(() => runtime({ 'envoy.reloadable_features.x': true })).toThrow(
			'layered_runtime.layers[0].static_layer.envoy.reloadable_features.x',
		);
		expect(() => runtime({ overload: { global_downstream_max_connections: -1 } })).toThrow('found -1');
		expect(() => runtime({ overload: { global_downstream_max_connections: 'many' } })).toThrow('found "many"');
	});
});
