// Methods of generated protobuf code, for calls; and calls with one request and one response.

import { type DescMethod, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { type CallOptions, type ClientMethod, GrpcCall } from './call.ts';
import { GrpcError } from './call-status.ts';
import type { GrpcChannel } from './channel.ts';
import { GrpcStatus } from './status.ts';

export function clientMethod<M extends DescMethod>(
	method: M,
): ClientMethod<MessageShape<M['input']>, MessageShape<M['output']>> {
	return {
		path: `/${method.parent.typeName}/${method.name}`,
		encode: (message) => toBinary(method.input, message),
		decode: (bytes) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
		responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
	};
}

/** @throws GrpcError (rejects) for every status but OK */
export function callUnary<Request, Response>(
	channel: GrpcChannel,
	method: ClientMethod<Request, Response>,
	request: Request,
	options: CallOptions = {},
): Promise<Response> {
	return new Promise((resolve, reject) => {
		let response: Response | undefined;
		const call = new GrpcCall(channel, method, options, {
			onMessage: (message) => {
				response = message;
			},
			onEnd: (status) => {
				if (status.code === GrpcStatus.ok) resolve(response as Response);
				else reject(new GrpcError(status));
			},
		});
		call.send(request, true);
	});
}
