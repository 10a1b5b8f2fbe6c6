// Resources from a file that is watched: Envoy's `path_config_source`. The file is a DiscoveryResponse
// in JSON or YAML, replaced by moving another over it; its resources are all there are (state of the
// world). One that cannot be read changes nothing.

import { createHash } from 'node:crypto';
import { type FSWatcher, readFileSync, statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fromBinary, fromJson, type JsonValue, type Registry, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { parse } from 'yaml';
import { ClusterSchema } from '../generated/envoy/config/cluster/v3/cluster_pb.ts';
import { ClusterLoadAssignmentSchema } from '../generated/envoy/config/endpoint/v3/endpoint_pb.ts';
import { ListenerSchema } from '../generated/envoy/config/listener/v3/listener_pb.ts';
import { RouteConfigurationSchema } from '../generated/envoy/config/route/v3/route_pb.ts';
import { SecretSchema } from '../generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { DiscoveryResponseSchema } from '../generated/envoy/service/discovery/v3/discovery_pb.ts';
import { errorMessage } from '../std/errors.ts';
import { Logger } from '../std/log.ts';
import { ClientResources } from './client-resources.ts';
import type { DiscoveredResource, DiscoveryClient, ResourceSubscriber, Subscription } from './discovery-client.ts';
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE } from './type-urls.ts';

const FILE_BYTES_MAX = 64 * 1024 * 1024;

const log = new Logger('file-discovery');

export class FileDiscovery implements DiscoveryClient {
	private readonly types = new Map<string, ClientResources>();
	private readonly names = new Map<string, ReadonlySet<string>>();
	private watcher: FSWatcher | null = null;
	private lastText: string | null = null;

	/** @param registry of the messages that the resources' Anys may hold */
	constructor(
		private readonly path: string,
		private readonly registry: Registry,
	) {
		try {
			// The folder, not the file: a file that is moved over the old one is another inode.
			this.watcher = watch(dirname(path), (_event, name) => {
				// A volume of Kubernetes swaps `..data`, through which the file is a link.
				if (name === null || name === basename(path) || name === '..data') this.read();
			});
		} catch (error) {
			log.warning('file not watched', { path, reason: errorMessage(error) });
		}
	}

	subscribe(typeUrl: string, names: readonly string[] | null, subscriber: ResourceSubscriber): Subscription {
		let type = this.types.get(typeUrl);
		if (type === undefined) {
			type = new ClientResources(typeUrl, () => {});
			this.types.set(typeUrl, type);
		}
		const isFirst = !type.hasSubscribers && type.count === 0;
		const subscription = type.subscribe(names, subscriber);
		if (isFirst) {
			this.lastText = null;
			this.read();
		}
		return subscription;
	}

	close(): void {
		this.watcher?.close();
		this.watcher = null;
	}

	/** Looks at the file now; called by the watch. */
	read(): void {
		let text: string;
		let resources: Map<string, DiscoveredResource[]>;
		try {
			if (statSync(this.path).size > FILE_BYTES_MAX) throw new Error(`more than ${FILE_BYTES_MAX} bytes`);
			text = readFileSync(this.path, 'utf8');
			if (text === this.lastText) return;
			resources = decodeResources(text, this.registry);
		} catch (error) {
			log.warning('file not used, what was good stays', { path: this.path, reason: errorMessage(error) });
			return;
		}
		this.lastText = text;
		for (const [typeUrl, type] of this.types) {
			const updated = resources.get(typeUrl) ?? [];
			const present = new Set(updated.map((resource) => resource.name));
			const removed = [...(this.names.get(typeUrl) ?? [])].filter((name) => !present.has(name));
			this.names.set(typeUrl, present);
			let refused: string | null;
			try {
				refused = type.apply({ updated, removed });
			} catch (error) {
				// A bug of a subscriber must not reach whoever watches files, which would end the process.
				log.error('subscriber failed', { path: this.path, reason: errorMessage(error) });
				continue;
			}
			if (refused !== null) log.warning('resources refused', { path: this.path, reason: refused });
		}
	}
}

/** By type URL. @throws when the text is not a DiscoveryResponse */
export function decodeResources(text: string, registry: Registry): Map<string, DiscoveredResource[]> {
	const response = fromJson(DiscoveryResponseSchema, parse(text) as JsonValue, { registry });
	const byType = new Map<string, DiscoveredResource[]>();
	for (const any of response.resources) {
		const name = resourceName(any.typeUrl, any.value);
		const list = byType.get(any.typeUrl) ?? [];
		byType.set(any.typeUrl, list);
		// Files need carry no version: the content is one.
		const version = createHash('sha256').update(toBinary(AnySchema, any)).digest('hex').slice(0, 16);
		list.push({ name, version, value: any.value });
	}
	return byType;
}

function resourceName(typeUrl: string, value: Uint8Array): string {
	switch (typeUrl) {
		case CLUSTER_TYPE:
			return fromBinary(ClusterSchema, value).name;
		case ENDPOINT_TYPE:
			return fromBinary(ClusterLoadAssignmentSchema, value).clusterName;
		case LISTENER_TYPE:
			return fromBinary(ListenerSchema, value).name;
		case ROUTE_TYPE:
			return fromBinary(RouteConfigurationSchema, value).name;
		case SECRET_TYPE:
			return fromBinary(SecretSchema, value).name;
		default:
			throw new Error(`resources of type ${typeUrl} are not known`);
	}
}
