// Behind the proxies, HTTP/2 without TLS: gRPC that answers what it is sent, and an end for uploads.
//
//   node grpc-upstream.mjs PORT
//
// On Node.js, not Bun: Bun's node:http2 ends long uploads before they are done.

import { createServer } from 'node:http2';

const ANSWER = Buffer.concat([Buffer.from([0, 0, 0, 0, 16]), Buffer.alloc(16, 'x')]);
const HEAD = { ':status': 200, 'content-type': 'application/grpc' };

const server = createServer();
server.on('stream', (stream, headers) => {
	stream.on('error', () => undefined);
	if (headers[':path'] === '/upload') {
		stream.on('end', () => {
			stream.respond({ ':status': 200 });
			stream.end();
		});
		stream.resume();
		return;
	}
	stream.respond(HEAD, { waitForTrailers: true });
	stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
	if (headers[':path'] === '/bench.Echo/Stream') {
		stream.on('data', (bytes) => stream.write(bytes));
		stream.on('end', () => stream.end());
		return;
	}
	stream.on('end', () => stream.end(ANSWER));
	stream.resume();
});
server.listen(Number(process.argv[2]), '127.0.0.1');
