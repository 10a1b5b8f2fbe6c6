// The interop service on grpc-js; see README.md.

import { Metadata, Server, ServerCredentials } from '@grpc/grpc-js';

const text = {
	requestSerialize: (value) => Buffer.from(JSON.stringify(value)),
	requestDeserialize: (bytes) => (bytes.length === 0 ? {} : JSON.parse(bytes.toString())),
	responseSerialize: (value) => (value === null ? Buffer.alloc(0) : Buffer.from(JSON.stringify(value))),
	responseDeserialize: (bytes) => bytes,
};

function method(name, requestStream, responseStream) {
	return { path: `/weft.interop.Test/${name}`, requestStream, responseStream, ...text };
}

const METHODS = {
	emptyCall: method('EmptyCall', false, false),
	unaryCall: method('UnaryCall', false, false),
	streamingInputCall: method('StreamingInputCall', true, false),
	streamingOutputCall: method('StreamingOutputCall', false, true),
	fullDuplexCall: method('FullDuplexCall', true, true),
};

const payload = (size = 0) => ({ payload: '0'.repeat(size) });

function echoMetadata(call, trailing) {
	const [initial] = call.metadata.get('x-grpc-test-echo-initial');
	if (initial !== undefined) {
		const metadata = new Metadata();
		metadata.set('x-grpc-test-echo-initial', initial);
		call.sendMetadata(metadata);
	}
	for (const value of call.metadata.get('x-grpc-test-echo-trailing-bin')) {
		trailing.set('x-grpc-test-echo-trailing-bin', value);
	}
}

/** One after the other, each after its time; nothing of them once the call is cancelled. */
async function respond(call, responses) {
	for (const { size, afterMs = 0 } of responses) {
		if (afterMs > 0) {
			await new Promise((resolve) => {
				const timer = setTimeout(resolve, afterMs);
				call.once('cancelled', () => {
					clearTimeout(timer);
					resolve();
				});
			});
		}
		if (call.cancelled) return;
		if (!call.write(payload(size))) {
			await new Promise((resolve) => {
				call.once('drain', resolve);
				call.once('cancelled', resolve);
			});
		}
	}
}

const server = new Server({ 'grpc.max_receive_message_length': 1 << 24 });
server.addService(METHODS, {
	emptyCall: (_call, done) => done(null, null),
	unaryCall: (call, done) => {
		const trailing = new Metadata();
		echoMetadata(call, trailing);
		const { status: wanted, responseSize } = call.request;
		if (wanted) done({ code: wanted.code, details: wanted.message, metadata: trailing });
		else done(null, payload(responseSize), trailing);
	},
	streamingInputCall: (call, done) => {
		let aggregatedSize = 0;
		call.on('data', (message) => {
			aggregatedSize += message.payload.length;
		});
		call.on('end', () => done(null, { aggregatedSize }));
	},
	streamingOutputCall: async (call) => {
		await respond(call, call.request.responses);
		call.end();
	},
	fullDuplexCall: (call) => {
		const trailing = new Metadata();
		echoMetadata(call, trailing);
		let before = Promise.resolve();
		let failed = null;
		call.on('data', (message) => {
			failed ??= message.status ?? null;
			before = before.then(() => respond(call, message.responses ?? []));
		});
		call.on('end', async () => {
			await before;
			if (failed === null) call.end(trailing);
			else call.emit('error', { code: failed.code, details: failed.message, metadata: trailing });
		});
	},
});
server.bindAsync(`127.0.0.1:${process.argv[2] ?? 0}`, ServerCredentials.createInsecure(), (error, port) => {
	if (error !== null) throw error;
	console.log(port);
});
