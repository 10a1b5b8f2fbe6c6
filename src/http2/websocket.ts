// What a WebSocket handshake of HTTP/1.1 has and extended CONNECT has not (RFC 8441 §5): the key and
// the answer to it (RFC 6455 §4). Where a tunnel goes from one protocol to the other, this side of
// the HTTP/2 connection stands in for whoever does not send them.

import { createHash, randomBytes } from 'node:crypto';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export function newWebSocketKey(): string {
	return randomBytes(16).toString('base64');
}

export function webSocketAccept(key: string): string {
	return createHash('sha1').update(`${key}${GUID}`).digest('base64');
}
