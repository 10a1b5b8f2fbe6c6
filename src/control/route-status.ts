// What the status of each HTTPRoute and GRPCRoute says: whether its parents accept it, whether what it names is
// there, and how many sidecars have it in force. Written only when it says something new.

import { GRPC_ROUTE } from '../config/grpc-route.ts';
import { HTTP_ROUTE, type HttpRouteStatus } from '../config/http-route.ts';
import type { Condition } from '../config/object.ts';
import type { ObjectStore } from '../config/object-store.ts';
import type { Clock } from '../std/clock.ts';
import { errorMessage } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { parentFault, unresolvedReferences } from './compile/backend.ts';
import type { HttpRoute } from './mesh-kinds.ts';
import type { MeshModel } from './model.ts';

const log = new Logger('route-status');

export const CONTROLLER_NAME = 'weft.dev/controller';
export const PROGRAMMED = 'weft.dev/Programmed';

/** How many sidecars get a route, how many have acknowledged it as it is, and what one of the others said. */
export interface RouteProgress {
	readonly of: number;
	readonly acknowledged: number;
	/** `NODE: DETAIL` of a NACK; null: none. */
	readonly rejection: string | null;
}

export class RouteStatusWriter {
	private readonly dirty = new Set<string>();
	private running: Promise<void> | null = null;

	constructor(
		private readonly model: MeshModel,
		private readonly objects: ObjectStore,
		private readonly clock: Clock,
		private readonly progressOf: (route: HttpRoute) => RouteProgress,
	) {}

	/** These routes' statuses (by `routeKey`) may differ from what is written. */
	mark(keys: Iterable<string>): void {
		for (const key of keys) this.dirty.add(key);
		if (this.dirty.size === 0 || this.running !== null) return;
		this.running = this.run().finally(() => {
			this.running = null;
			if (this.dirty.size > 0) this.mark([]);
		});
	}

	/** Resolves when nothing is left to write. */
	async idle(): Promise<void> {
		while (this.running !== null) await this.running;
	}

	private async run(): Promise<void> {
		for (const key of this.dirty) {
			this.dirty.delete(key);
			const route = this.model.route(key);
			// What sidecars have acknowledged is still the route as it was: it is marked again when it is compiled.
			if (route === undefined || this.model.awaitsCompilation(key)) continue;
			const wanted = this.statusOf(route);
			if (sameStatus(route.status, wanted)) continue;
			try {
				await this.write(route, wanted);
			} catch (error) {
				log.error('a status could not be written', { route: key, error: errorMessage(error) });
			}
		}
	}

	private async write(route: HttpRoute, wanted: HttpRouteStatus): Promise<void> {
		const { namespace = '', name, generation } = route.metadata;
		const change = (current: Pick<HttpRoute, 'metadata' | 'status'>) =>
			// Of another generation: the model will hear of it, and this is asked for again.
			current.metadata.generation === generation ? keepTransitionTimes(wanted, current.status, this.now()) : null;
		if (route.kind === 'GRPCRoute') await this.objects.updateStatus(GRPC_ROUTE, namespace, name, change);
		else await this.objects.updateStatus(HTTP_ROUTE, namespace, name, change);
	}

	private statusOf(route: HttpRoute): HttpRouteStatus {
		const unresolved = unresolvedReferences(this.model, route);
		const progress = this.progressOf(route);
		const observedGeneration = route.metadata.generation;
		const condition = (type: string, status: Condition['status'], reason: string, message: string) => ({
			type,
			status,
			reason,
			message,
			lastTransitionTime: '',
			observedGeneration,
		});
		const [first] = unresolved;
		const resolved =
			first === undefined
				? condition('ResolvedRefs', 'True', 'ResolvedRefs', 'Everything that the route names is there')
				: condition(
						'ResolvedRefs',
						'False',
						first.reason,
						[...new Set(unresolved.map((one) => one.message))].join('; '),
					);
		const parents = route.spec.parentRefs.map((parentRef) => {
			const fault = parentFault(this.model, route, parentRef);
			const accepted =
				fault === null
					? condition('Accepted', 'True', 'Accepted', 'The route is accepted')
					: condition('Accepted', 'False', fault.reason, fault.message);
			return {
				parentRef,
				controllerName: CONTROLLER_NAME,
				conditions: [accepted, resolved, fault === null ? programmed(progress, condition) : notProgrammed(condition)],
			};
		});
		return { parents };
	}

	private now(): string {
		return `${new Date(this.clock.wallMs()).toISOString().slice(0, 19)}Z`;
	}
}

type MakeCondition = (type: string, status: Condition['status'], reason: string, message: string) => Condition;

/** Gateway API: `Invalid`, of what is not accepted. */
function notProgrammed(condition: MakeCondition): Condition {
	return condition(PROGRAMMED, 'False', 'Invalid', 'no sidecar gets a route that is not accepted');
}

function programmed(progress: RouteProgress, condition: MakeCondition): Condition {
	const { of, acknowledged, rejection } = progress;
	const message = `acknowledged by ${acknowledged} of ${of}`;
	if (rejection !== null) return condition(PROGRAMMED, 'False', 'Rejected', `${message}; ${rejection}`.slice(0, 4096));
	if (acknowledged < of) return condition(PROGRAMMED, 'Unknown', 'Pending', message);
	return condition(PROGRAMMED, 'True', 'Programmed', message);
}

/** But for the times of transition. */
function sameStatus(written: HttpRouteStatus | undefined, wanted: HttpRouteStatus): boolean {
	if (written === undefined) return false;
	const bare = (status: HttpRouteStatus) => ({
		parents: status.parents.map((parent) => ({
			...parent,
			conditions: parent.conditions.map((condition) => ({ ...condition, lastTransitionTime: '' })),
		})),
	});
	return Bun.deepEquals(bare(written), bare(wanted));
}

function keepTransitionTimes(
	wanted: HttpRouteStatus,
	written: HttpRouteStatus | undefined,
	now: string,
): HttpRouteStatus {
	return {
		parents: wanted.parents.map((parent) => {
			const before = written?.parents.find((one) => Bun.deepEquals(one.parentRef, parent.parentRef));
			return {
				...parent,
				conditions: parent.conditions.map((condition) => {
					const old = before?.conditions.find(({ type }) => type === condition.type);
					return { ...condition, lastTransitionTime: old?.status === condition.status ? old.lastTransitionTime : now };
				}),
			};
		}),
	};
}
