// The messages of gRPC's health checking (grpc.health.v1, https://github.com/grpc/grpc/blob/master/doc/health-checking.md),
// by hand: a request has one string, a response one number.

export const HEALTH_CHECK_PATH = '/grpc.health.v1.Health/Check';

/** `ServingStatus`. */
export const ServingStatus = { unknown: 0, serving: 1, notServing: 2, serviceUnknown: 3 } as const;

const SERVICE_FIELD = 0x0a;
const STATUS_FIELD = 0x08;
const VARINT_BYTES_MAX = 10;

const encoder = new TextEncoder();

/** A `HealthCheckRequest`; `service` empty: about the server as a whole. */
export function encodeHealthCheckRequest(service: string): Uint8Array {
	if (service === '') return new Uint8Array(0);
	const name = encoder.encode(service);
	const head: number[] = [SERVICE_FIELD];
	let left = name.length;
	for (; left > 0x7f; left = left >>> 7) head.push((left & 0x7f) | 0x80);
	head.push(left);
	const message = new Uint8Array(head.length + name.length);
	message.set(head);
	message.set(name, head.length);
	return message;
}

/** The status in a `HealthCheckResponse`, one of `ServingStatus` or another number; -1: it is none. */
export function readHealthCheckResponse(message: Uint8Array): number {
	const reader = new FieldReader(message);
	let status: number = ServingStatus.unknown;
	while (!reader.atEnd) {
		const tag = reader.varint();
		const isStatus = tag === STATUS_FIELD;
		// Fields that are newer than this are passed over (proto3).
		const value = isStatus ? reader.varint() : reader.skip(tag);
		if (tag < 8 || value < 0) return -1;
		if (isStatus) status = value;
	}
	return status;
}

/** Protobuf's wire format, as far as is needed to pass over fields. Negative: malformed. */
class FieldReader {
	private at = 0;

	constructor(private readonly bytes: Uint8Array) {}

	get atEnd(): boolean {
		return this.at >= this.bytes.length;
	}

	varint(): number {
		let value = 0;
		for (let i = 0; i < VARINT_BYTES_MAX; i++) {
			const byte = this.bytes[this.at++];
			if (byte === undefined) return -1;
			value += (byte & 0x7f) * 2 ** (7 * i);
			if (byte < 0x80) return value;
		}
		return -1;
	}

	skip(tag: number): number {
		switch (tag % 8) {
			case 0:
				return this.varint();
			case 1:
				return this.advance(8);
			case 2: {
				const length = this.varint();
				return length < 0 ? -1 : this.advance(length);
			}
			case 5:
				return this.advance(4);
			default:
				return -1;
		}
	}

	private advance(count: number): number {
		this.at += count;
		return this.at > this.bytes.length ? -1 : 0;
	}
}
