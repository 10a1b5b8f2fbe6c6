// gRPC's status codes: their numbers, their names, and what an HTTP status means to a gRPC client
// (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md and http-grpc-status-mapping.md).

export const GrpcStatus = {
	ok: 0,
	cancelled: 1,
	unknown: 2,
	invalidArgument: 3,
	deadlineExceeded: 4,
	notFound: 5,
	alreadyExists: 6,
	permissionDenied: 7,
	resourceExhausted: 8,
	failedPrecondition: 9,
	aborted: 10,
	outOfRange: 11,
	unimplemented: 12,
	internal: 13,
	unavailable: 14,
	dataLoss: 15,
	unauthenticated: 16,
} as const;

/** The highest code that has a meaning of its own. */
export const GRPC_STATUS_MAX = 16;

/** `NOT_FOUND`, by number. */
export const GRPC_STATUS_NAMES: readonly string[] = [
	'OK',
	'CANCELLED',
	'UNKNOWN',
	'INVALID_ARGUMENT',
	'DEADLINE_EXCEEDED',
	'NOT_FOUND',
	'ALREADY_EXISTS',
	'PERMISSION_DENIED',
	'RESOURCE_EXHAUSTED',
	'FAILED_PRECONDITION',
	'ABORTED',
	'OUT_OF_RANGE',
	'UNIMPLEMENTED',
	'INTERNAL',
	'UNAVAILABLE',
	'DATA_LOSS',
	'UNAUTHENTICATED',
];

/** A value of `grpc-status`: decimal digits, of a code that has a name or not; -1 for anything else. */
export function parseGrpcStatus(text: string): number {
	if (text.length === 0 || text.length > 9) return -1;
	let value = 0;
	for (let i = 0; i < text.length; i++) {
		const digit = text.charCodeAt(i) - 0x30;
		if (digit < 0 || digit > 9) return -1;
		value = value * 10 + digit;
	}
	return value;
}

/** What a gRPC client takes an HTTP status for that came without a `grpc-status`. */
export function grpcStatusOfHttp(status: number): number {
	switch (status) {
		case 400:
			return GrpcStatus.internal;
		case 401:
			return GrpcStatus.unauthenticated;
		case 403:
			return GrpcStatus.permissionDenied;
		case 404:
			return GrpcStatus.unimplemented;
		case 429:
		case 502:
		case 503:
		case 504:
			return GrpcStatus.unavailable;
		default:
			return GrpcStatus.unknown;
	}
}
