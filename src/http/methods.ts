// What HTTP says of request methods.

/** May be repeated without further effect (RFC 9110 §9.2.2). */
export function isIdempotent(method: string): boolean {
	switch (method) {
		case 'GET':
		case 'HEAD':
		case 'PUT':
		case 'DELETE':
		case 'OPTIONS':
		case 'TRACE':
			return true;
		default:
			return false;
	}
}
