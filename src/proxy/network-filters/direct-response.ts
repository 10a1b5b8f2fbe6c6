// Envoy's network filter `direct_response`: sends a text and closes.

import { ConfigSchema } from '../../generated/envoy/extensions/filters/network/direct_response/v3/config_pb.ts';
import type { Connection, ConnectionHandler } from '../../net/network.ts';
import type { SupportedFields } from '../field-check.ts';
import { readDataSource } from '../tls/data-source.ts';
import type { TypedConfig } from '../typed-config.ts';
import type { ConnectionInfo, NetworkFilter, ServedConnection } from './network-filter.ts';
import type { NetworkFilterContext } from './network-filter-context.ts';

export const DIRECT_RESPONSE_TYPE = 'type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config';

export const DIRECT_RESPONSE_FIELDS: SupportedFields = {
	'envoy.extensions.filters.network.direct_response.v3.Config': ['response'],
	'envoy.config.core.v3.DataSource': ['filename', 'inline_bytes', 'inline_string', 'environment_variable'],
};

/** A client that does not close its side after the text is cut off. */
const LINGER_MS = 1000;

/** @throws ConfigError */
export function compileDirectResponse(config: TypedConfig, context: NetworkFilterContext): NetworkFilter {
	const message = config.message(ConfigSchema, DIRECT_RESPONSE_FIELDS);
	const text =
		message.response === undefined ? '' : readDataSource(message.response, config.object, `${config.field}.response`);
	const bytes = new TextEncoder().encode(text);
	return {
		kind: 'tcp',
		ready: Promise.resolve(),
		serve: (info) => new DirectResponse(info, bytes, context),
		handOver: (next) => next.kind === 'tcp',
		release() {},
	};
}

class DirectResponse implements ConnectionHandler, ServedConnection {
	private readonly connection: Connection;
	private readonly timer;

	constructor(
		private readonly info: ConnectionInfo,
		bytes: Uint8Array,
		context: NetworkFilterContext,
	) {
		this.connection = info.connection;
		this.connection.handler = this;
		this.connection.write(bytes);
		this.connection.end();
		this.timer = context.clock.after(LINGER_MS, () => this.connection.reset());
	}

	/** It is under way already. */
	drain(): void {}

	close(): void {
		this.connection.reset();
	}

	onConnect(): void {}
	onData(): void {}
	onDrain(): void {}
	onEnd(): void {}

	onClose(): void {
		this.timer.cancel();
		this.info.onClosed();
	}
}
