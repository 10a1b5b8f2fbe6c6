// The program behind the proxies: answers every request without a body with the same 200 and a small
// JSON document. As little as can be, so that the proxies are what is measured.
//
//   upstream.ts PORT

const BODY = JSON.stringify({ status: 'ok', items: Array.from({ length: 8 }, (_, index) => `item ${index}`) });
const RESPONSE = Buffer.from(
	`HTTP/1.1 200 OK\r\nServer: upstream\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
);
const END_OF_HEAD = Buffer.from('\r\n\r\n');

Bun.listen<{ carried: Buffer }>({
	hostname: '127.0.0.1',
	port: Number(process.argv[2]),
	data: { carried: Buffer.alloc(0) },
	socket: {
		open(socket) {
			socket.data = { carried: Buffer.alloc(0) };
		},
		data(socket, data) {
			const bytes = socket.data.carried.length === 0 ? data : Buffer.concat([socket.data.carried, data]);
			let offset = 0;
			for (;;) {
				const end = bytes.indexOf(END_OF_HEAD, offset);
				if (end < 0) break;
				offset = end + END_OF_HEAD.length;
				// A response is far smaller than a socket's buffer, and requests are not pipelined here.
				socket.write(RESPONSE);
			}
			socket.data.carried = offset === bytes.length ? Buffer.alloc(0) : Buffer.from(bytes.subarray(offset));
		},
	},
});
