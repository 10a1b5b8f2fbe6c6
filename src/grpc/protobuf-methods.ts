// Services of generated protobuf code as grpc-js service definitions, for the control plane's
// gRPC server. A method may take its responses as bytes that are already encoded.

import { type DescMessage, type DescService, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';

/** A request of any service, decoded; narrowed by the schema that the handler knows. */
type AnyMessage = MessageShape<DescMessage>;

/**
 * What `Server.addService` takes. Keys are the local method names (`createCertificate`).
 * Malformed requests are answered by grpc-js with INTERNAL, before any handler runs.
 */
export function serviceDefinition(
	service: DescService,
	options: { readonly encodedResponses?: boolean } = {},
): ServiceDefinition {
	const definition: Record<string, MethodDefinition<AnyMessage, AnyMessage | Uint8Array>> = {};
	for (const method of service.methods) {
		definition[method.localName] = {
			path: `/${service.typeName}/${method.name}`,
			requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
			responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
			requestSerialize: (message) => asBuffer(toBinary(method.input, message)),
			requestDeserialize: (bytes) => fromBinary(method.input, bytes),
			responseSerialize:
				options.encodedResponses === true
					? (message) => asBuffer(message as Uint8Array)
					: (message) => asBuffer(toBinary(method.output, message as AnyMessage)),
			responseDeserialize: (bytes) => fromBinary(method.output, bytes),
		};
	}
	return definition;
}

function asBuffer(bytes: Uint8Array): Buffer {
	return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
