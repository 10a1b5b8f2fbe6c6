// The interop cases on grpc-js; see README.md.

import assert from 'node:assert/strict';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';

const SERVICE = 'weft.interop.Test';
const LIMIT_MS = 30_000;
const SPECIAL = '\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1f608}\t\n';
const client = new Client(process.argv[2], credentials.createInsecure(), {
	'grpc.max_receive_message_length': 1 << 24,
});

const encode = (value) => (value === null ? Buffer.alloc(0) : Buffer.from(JSON.stringify(value)));
const decode = (bytes) => (bytes.length === 0 ? {} : JSON.parse(bytes.toString()));
const payload = (size) => '0'.repeat(size);
const soon = () => ({ deadline: Date.now() + LIMIT_MS });

/** What comes of a call: initial metadata, messages, and the status with its trailing metadata. */
function outcome(call) {
	const heard = { initial: null, messages: [], end: null };
	call.on('metadata', (metadata) => {
		heard.initial = metadata;
	});
	call.on('data', (message) => heard.messages.push(message));
	call.on('error', () => {});
	return new Promise((resolve) => {
		call.on('status', (end) => resolve({ ...heard, end }));
	});
}

function unary(name, request, metadata = new Metadata(), service = SERVICE) {
	return new Promise((resolve) => {
		const found = { initial: null, error: null, value: null, trailing: null };
		const call = client.makeUnaryRequest(
			`/${service}/${name}`,
			encode,
			decode,
			request,
			metadata,
			soon(),
			(error, value) => {
				found.error = error;
				found.value = value;
			},
		);
		call.on('metadata', (initial) => {
			found.initial = initial;
		});
		call.on('status', ({ metadata: trailing }) => {
			found.trailing = trailing;
			setImmediate(() => resolve(found));
		});
	});
}

const duplex = (metadata = new Metadata(), options = soon()) =>
	client.makeBidiStreamRequest(`/${SERVICE}/FullDuplexCall`, encode, decode, metadata, options);

function ok({ end }) {
	assert.equal(end.code, status.OK, end.details);
}

const CASES = {
	async empty_unary() {
		const { error, value } = await unary('EmptyCall', null);
		assert.deepEqual([error, value], [null, {}]);
	},
	async large_unary() {
		const { error, value } = await unary('UnaryCall', { responseSize: 314159, payload: payload(271828) });
		assert.equal(error, null);
		assert.equal(value.payload.length, 314159);
	},
	async client_streaming() {
		const reply = await new Promise((resolve, reject) => {
			const call = client.makeClientStreamRequest(
				`/${SERVICE}/StreamingInputCall`,
				encode,
				decode,
				soon(),
				(error, value) => (error === null ? resolve(value) : reject(error)),
			);
			for (const size of [27182, 8, 1828, 45904]) call.write({ payload: payload(size) });
			call.end();
		});
		assert.equal(reply.aggregatedSize, 74922);
	},
	async server_streaming() {
		const responses = [31415, 9, 2653, 58979].map((size) => ({ size }));
		const call = client.makeServerStreamRequest(
			`/${SERVICE}/StreamingOutputCall`,
			encode,
			decode,
			{ responses },
			soon(),
		);
		const heard = await outcome(call);
		ok(heard);
		assert.deepEqual(
			heard.messages.map((message) => message.payload.length),
			[31415, 9, 2653, 58979],
		);
	},
	async ping_pong() {
		const steps = [
			[27182, 31415],
			[8, 9],
			[1828, 2653],
			[45904, 58979],
		];
		const call = duplex();
		let next = 0;
		const send = () => {
			const [request, response] = steps[next++];
			call.write({ payload: payload(request), responses: [{ size: response }] });
		};
		const ended = outcome(call);
		call.on('data', () => (next < steps.length ? send() : call.end()));
		send();
		const heard = await ended;
		ok(heard);
		assert.deepEqual(
			heard.messages.map((message) => message.payload.length),
			steps.map(([, response]) => response),
		);
	},
	async empty_stream() {
		const call = duplex();
		call.end();
		const heard = await outcome(call);
		ok(heard);
		assert.equal(heard.messages.length, 0);
	},
	async timeout_on_sleeping_server() {
		// A server knows the deadline too and may reset the call before the client has looked at its clock.
		for (let attempt = 0; ; attempt++) {
			const call = duplex(new Metadata(), { deadline: Date.now() + 200 });
			call.write({ payload: payload(27182), responses: [{ size: 31415, afterMs: 60_000 }] });
			const { end } = await outcome(call);
			const byServer = end.code === status.CANCELLED || end.code === status.UNAVAILABLE;
			if (byServer && attempt < 5) continue;
			assert.equal(end.code, status.DEADLINE_EXCEEDED);
			return;
		}
	},
	async cancel_after_begin() {
		const code = await new Promise((resolve) => {
			const call = client.makeClientStreamRequest(`/${SERVICE}/StreamingInputCall`, encode, decode, soon(), () => {});
			call.on('error', () => {});
			call.on('status', (end) => resolve(end.code));
			call.cancel();
		});
		assert.equal(code, status.CANCELLED);
	},
	async cancel_after_first_response() {
		const call = duplex();
		call.write({ payload: payload(27182), responses: [{ size: 31415 }] });
		call.once('data', () => call.cancel());
		const { end, messages } = await outcome(call);
		assert.deepEqual([end.code, messages.length], [status.CANCELLED, 1]);
	},
	async status_code_and_message() {
		const wanted = { code: 2, message: 'test status message' };
		const { error } = await unary('UnaryCall', { status: wanted });
		assert.deepEqual([error?.code, error?.details], [2, wanted.message]);
		const call = duplex();
		call.write({ status: wanted });
		call.end();
		const { end } = await outcome(call);
		assert.deepEqual([end.code, end.details], [2, wanted.message]);
	},
	async special_status_message() {
		const { error } = await unary('UnaryCall', { status: { code: 2, message: SPECIAL } });
		assert.deepEqual([error?.code, error?.details], [2, SPECIAL]);
	},
	async custom_metadata() {
		const metadata = new Metadata();
		metadata.set('x-grpc-test-echo-initial', 'test_initial_metadata_value');
		metadata.set('x-grpc-test-echo-trailing-bin', Buffer.from([0xab, 0xab, 0xab]));
		const check = (initial, trailing) => {
			assert.deepEqual(initial.get('x-grpc-test-echo-initial'), ['test_initial_metadata_value']);
			assert.deepEqual(trailing.get('x-grpc-test-echo-trailing-bin'), [Buffer.from([0xab, 0xab, 0xab])]);
		};
		const one = await unary('UnaryCall', { responseSize: 314159, payload: payload(271828) }, metadata);
		assert.equal(one.error, null);
		check(one.initial, one.trailing);
		const call = duplex(metadata);
		call.write({ payload: payload(271828), responses: [{ size: 314159 }] });
		call.end();
		const ended = outcome(call);
		let initial = null;
		call.on('metadata', (found) => {
			initial = found;
		});
		const heard = await ended;
		ok(heard);
		check(initial, heard.end.metadata);
	},
	async unimplemented_method() {
		const { error } = await unary('UnimplementedCall', null);
		assert.equal(error?.code, status.UNIMPLEMENTED);
	},
	async unimplemented_service() {
		const { error } = await unary('UnimplementedCall', null, new Metadata(), 'weft.interop.Missing');
		assert.equal(error?.code, status.UNIMPLEMENTED);
	},
};

for (const [name, run] of Object.entries(CASES)) {
	try {
		await run();
		console.log(`ok ${name}`);
	} catch (error) {
		console.log(`failed ${name}: ${String(error.message).replaceAll('\n', ' ')}`);
	}
}
// Not left to end by itself: of a cancelled call grpc-js keeps the timer.
process.exit(0);
