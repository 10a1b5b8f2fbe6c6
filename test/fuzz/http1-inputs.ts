// What inputs of the HTTP/1.1 targets are grown from: the corpus, and bytes to put between.

import { REQUESTS, RESPONSES } from '../corpus/corpus.ts';

/** Long ones cost time and find nothing that short ones do not. */
const LENGTH_MAX = 1500;

export const REQUEST_INPUTS: readonly string[] = REQUESTS.flatMap(({ cases }) => cases.map((one) => one.raw)).filter(
	(raw) => raw.length <= LENGTH_MAX,
);

export const RESPONSE_INPUTS: readonly { readonly raw: string; readonly method: string }[] = RESPONSES.filter(
	(one) => one.raw.length <= LENGTH_MAX && one.raw.length > 0,
);

export const SPICE: readonly string[] = [
	...[
		'\r',
		'\n',
		'\r\n',
		'\n\n',
		'\r\n\r\n',
		'\r\r\n',
		' ',
		'\t',
		'\0',
		'\x0b',
		'\x0c',
		'\x7f',
		'\x85',
		'\xa0',
		'\xff',
	],
	...[':', ';', ',', '"', '=', '/', '?', '#', '@', '%', '*', '.', '..', '[', ']', '0', '1', 'f', '-', '+', '_'],
	...[
		'Host: b\r\n',
		'host:c\r\n',
		'Connection: close\r\n',
		'Connection: keep-alive, x\r\n',
		'Expect: 100-continue\r\n',
	],
	...[
		'Content-Length: 0\r\n',
		'Content-Length: 5\r\n',
		'Content-Length: 5, 5\r\n',
		'Content-Length: 5,\xa05\r\n',
		',\xa0',
		'Content-Length : 3\r\n',
	],
	...['Transfer-Encoding: chunked\r\n', 'Transfer-Encoding: identity\r\n', 'transfer-encoding:\tchunked\r\n'],
	...[
		'Upgrade: websocket\r\nConnection: upgrade\r\n',
		'TE: trailers\r\n',
		'X: y\r\n',
		' chunked\r\n',
		'0\r\n\r\n',
		'5\r\n',
	],
	...[
		'0x5',
		'5:',
		'5/',
		'1G',
		'`',
		'a@',
		'-1',
		'00000005',
		'ffffffffffff',
		'7fffffffffffffff',
		'HTTP/1.1',
		'HTTP/1.0',
		'HTTP/2.0',
	],
	...['GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'HTTP/1.1 200 OK\r\n', 'HTTP/1.1 103 x\r\n\r\n', '1;a="b"\r\nx\r\n'],
];
