// From Envoy's `ConfigSource` to the DiscoveryClient that serves it: the ADS stream, or a file that
// is watched. Anything else is refused by name.

import { dirname, normalize } from 'node:path';
import type { ConfigSource } from '../generated/envoy/config/core/v3/config_source_pb.ts';
import { ConfigError } from '../std/errors.ts';
import type { DiscoveryClient } from '../xds/discovery-client.ts';
import { durationMs } from './duration-ms.ts';

/** Makes the client of one watched file; see xds/file-discovery.ts. */
export type OpenFileDiscovery = (path: string) => DiscoveryClient;

/** How long a subscriber waits for its first resource before it counts as initialised. Envoy `initial_fetch_timeout`. */
export const INITIAL_FETCH_TIMEOUT_DEFAULT_MS = 15_000;

export class ConfigSources {
	private readonly files = new Map<string, DiscoveryClient>();

	private ads: DiscoveryClient | null = null;

	constructor(private readonly openFile: OpenFileDiscovery) {}

	/** The bootstrap has an `ads_config`. Apart from the constructor, since that client's TLS may itself need secrets. */
	useAds(client: DiscoveryClient): void {
		this.ads = client;
	}

	/** @throws ConfigError for a source that is not supported or not configured */
	resolve(source: ConfigSource, object: string, field: string): DiscoveryClient {
		const specifier = source.configSourceSpecifier;
		switch (specifier.case) {
			case 'ads':
				if (this.ads !== null) return this.ads;
				throw new ConfigError({
					object,
					field: `${field}.ads`,
					expected: 'dynamic_resources.ads_config in the bootstrap, which it refers to',
				});
			case 'path':
				return this.file(specifier.value);
			case 'pathConfigSource':
				// The file's own folder is watched in any case.
				if (specifier.value.watchedDirectory !== undefined) {
					const watched = specifier.value.watchedDirectory.path;
					const folder = dirname(specifier.value.path);
					if (normalize(`${watched}/.`) !== normalize(`${folder}/.`)) {
						throw new ConfigError({
							object,
							field: `${field}.path_config_source.watched_directory`,
							found: watched,
							expected: `${folder}, the folder of the file, or nothing`,
						});
					}
				}
				return this.file(specifier.value.path);
			case 'apiConfigSource':
				throw new ConfigError({
					object,
					field: `${field}.api_config_source`,
					expected: 'ads or path_config_source: weft has one stream to the control plane (ADS)',
				});
			default:
				throw new ConfigError({ object, field, expected: 'ads or path_config_source' });
		}
	}

	private file(path: string): DiscoveryClient {
		let client = this.files.get(path);
		if (client === undefined) {
			client = this.openFile(path);
			this.files.set(path, client);
		}
		return client;
	}
}

/** Milliseconds; 0: waits for ever. */
export function initialFetchTimeoutMs(source: ConfigSource): number {
	return durationMs(source.initialFetchTimeout) ?? INITIAL_FETCH_TIMEOUT_DEFAULT_MS;
}
