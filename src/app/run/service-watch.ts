// The Services of the mesh as they come and go, for the program's name resolution: a list, then a
// watch from there, and both again when the connection is lost (the control plane may restart). What
// is known stays in force meanwhile.

import { z } from 'zod';
import type { Clock, Timer } from '../../std/clock.ts';
import { errorMessage } from '../../std/errors.ts';
import { Logger } from '../../std/log.ts';
import type { Random } from '../../std/random.ts';
import type { ControlPlaneClient } from './control-plane-client.ts';

export interface KnownService {
	readonly namespace: string;
	readonly name: string;
	/** `127.96.H.L`; empty until it is given one. */
	readonly address: string;
	readonly ports: readonly number[];
}

const SERVICES_PATH = '/api/v1/services';
const LINE_BYTES_MAX = 1024 * 1024;
const BACKOFF_MIN_MS = 250;
const BACKOFF_MAX_MS = 10_000;
const log = new Logger('services');

const serviceSchema = z.object({
	metadata: z.object({
		name: z.string(),
		namespace: z.string().default('default'),
		resourceVersion: z.string().optional(),
	}),
	spec: z.object({
		clusterIP: z.string().default(''),
		ports: z.array(z.object({ port: z.int() })).default([]),
	}),
});
const listSchema = z.object({
	metadata: z.object({ resourceVersion: z.string() }),
	items: z.array(serviceSchema),
});
const eventSchema = z.discriminatedUnion('type', [
	z.object({ type: z.enum(['ADDED', 'MODIFIED']), object: serviceSchema }),
	z.object({ type: z.literal('DELETED'), object: serviceSchema }),
	z.object({ type: z.literal('BOOKMARK'), object: z.unknown() }),
	z.object({ type: z.literal('ERROR'), object: z.object({ message: z.string().default('') }) }),
]);

export class ServiceWatch {
	private readonly services = new Map<string, KnownService>();
	private readonly abort = new AbortController();
	private retry: Timer | null = null;
	private failures = 0;

	/** `onChange` gets all Services there are; the array is the receiver's. */
	constructor(
		private readonly client: Pick<ControlPlaneClient, 'get'>,
		private readonly clock: Clock,
		private readonly random: Random,
		private readonly onChange: (services: KnownService[]) => void,
	) {}

	start(): void {
		void this.follow();
	}

	stop(): void {
		this.abort.abort();
		this.retry?.cancel();
	}

	private async follow(): Promise<void> {
		try {
			await this.watch(await this.list());
			this.failures = 0;
		} catch (error) {
			if (this.abort.signal.aborted) return;
			log.debug('the watch of services was lost', { reason: errorMessage(error) });
		}
		if (this.abort.signal.aborted) return;
		const ceilingMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.failures++, 16));
		this.retry = this.clock.after(ceilingMs * (0.5 + 0.5 * this.random.next()), () => void this.follow());
	}

	private async list(): Promise<string> {
		const response = await this.client.get(SERVICES_PATH, this.abort.signal);
		if (!response.ok) throw new Error(`the list was answered ${response.status}`);
		const list = listSchema.parse(await response.json());
		this.services.clear();
		for (const item of list.items) this.put(item);
		this.failures = 0;
		this.tell();
		return list.metadata.resourceVersion;
	}

	private async watch(resourceVersion: string): Promise<void> {
		const query = `?watch=1&resourceVersion=${encodeURIComponent(resourceVersion)}`;
		const response = await this.client.get(SERVICES_PATH + query, this.abort.signal);
		if (!response.ok || response.body === null) throw new Error(`the watch was answered ${response.status}`);
		const decoder = new TextDecoder();
		let rest = '';
		for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
			rest += decoder.decode(bytes, { stream: true });
			const lines = rest.split('\n');
			rest = lines.pop() ?? '';
			if (rest.length > LINE_BYTES_MAX) throw new Error('an event is too long');
			let changed = false;
			for (const line of lines) if (line !== '') changed = this.apply(line) || changed;
			if (changed) this.tell();
		}
	}

	/** Says whether something changed. @throws when the watch cannot go on */
	private apply(line: string): boolean {
		const event = eventSchema.parse(JSON.parse(line));
		switch (event.type) {
			case 'ADDED':
			case 'MODIFIED':
				this.put(event.object);
				return true;
			case 'DELETED':
				return this.services.delete(`${event.object.metadata.namespace}/${event.object.metadata.name}`);
			case 'BOOKMARK':
				return false;
			case 'ERROR':
				throw new Error(event.object.message);
		}
	}

	private put(service: z.output<typeof serviceSchema>): void {
		const { namespace, name } = service.metadata;
		const ports = service.spec.ports.map(({ port }) => port);
		this.services.set(`${namespace}/${name}`, { namespace, name, address: service.spec.clusterIP, ports });
	}

	private tell(): void {
		this.onChange([...this.services.values()]);
	}
}
