// Which Service addresses are taken. The API server is the store's only writer, so memory is
// enough: an address is reserved before its Service is written and released when that fails or the
// Service goes. The lowest free one is given, which keeps indices small.

import { ConfigError } from '../std/errors.ts';
import { SERVICE_INDEX_MAX, serviceAddress, serviceIndex } from './service.ts';

export class ServiceAddresses {
	private readonly owners = new Map<number, string>();
	/** All below are taken. */
	private lowestFree = 1;

	/** An empty `wanted` takes the lowest free one. @throws ConfigError */
	reserve(owner: string, wanted: string): string {
		const index = wanted === '' ? this.nextFree(owner) : (serviceIndex(wanted) ?? 0);
		const other = this.owners.get(index);
		if (other !== undefined) {
			throw new ConfigError({
				object: `Service ${owner}`,
				field: 'spec.clusterIP',
				found: JSON.stringify(wanted),
				expected: 'an address that no other Service has',
				hint: `Service ${other} has it; leave it out to be given one`,
			});
		}
		this.owners.set(index, owner);
		return serviceAddress(index);
	}

	release(address: string): void {
		const index = serviceIndex(address);
		if (index === null) return;
		this.owners.delete(index);
		this.lowestFree = Math.min(this.lowestFree, index);
	}

	private nextFree(owner: string): number {
		while (this.owners.has(this.lowestFree)) this.lowestFree++;
		if (this.lowestFree > SERVICE_INDEX_MAX) {
			throw new ConfigError({
				object: `Service ${owner}`,
				field: 'spec.clusterIP',
				expected: `at most ${SERVICE_INDEX_MAX} Services`,
				hint: 'delete some',
			});
		}
		return this.lowestFree;
	}
}
