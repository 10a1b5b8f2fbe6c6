// Makes ClientHellos for tests.

export interface TestHello {
	readonly serverName?: string;
	readonly alpn?: readonly string[];
	readonly signatureAlgorithms?: readonly number[];
	readonly groups?: readonly number[];
	readonly versions?: readonly number[];
	readonly suites?: readonly number[];
}

/** One record. Without any option: no extensions at all. */
export function testClientHello(hello: TestHello): Uint8Array {
	const extensions: Uint8Array[] = [];
	const add = (type: number, body: Uint8Array): void => {
		extensions.push(u16(type), vector16(body));
	};
	if (hello.serverName !== undefined) {
		add(0, vector16(join(Uint8Array.of(0), vector16(Buffer.from(hello.serverName, 'latin1')))));
	}
	if (hello.groups !== undefined) add(10, vector16(u16s(hello.groups)));
	if (hello.signatureAlgorithms !== undefined) add(13, vector16(u16s(hello.signatureAlgorithms)));
	if (hello.alpn !== undefined) {
		add(16, vector16(join(...hello.alpn.map((name) => vector8(Buffer.from(name, 'latin1'))))));
	}
	if (hello.versions !== undefined) add(43, vector8(u16s(hello.versions)));
	const body = join(
		u16(0x0303),
		new Uint8Array(32),
		vector8(new Uint8Array(32)),
		vector16(u16s(hello.suites ?? [0x1301])),
		vector8(Uint8Array.of(0)),
		extensions.length === 0 ? new Uint8Array(0) : vector16(join(...extensions)),
	);
	const message = join(Uint8Array.of(1, body.length >> 16, (body.length >> 8) & 255, body.length & 255), body);
	return join(Uint8Array.of(22, 3, 1), vector16(message));
}

function u16(value: number): Uint8Array {
	return Uint8Array.of(value >> 8, value & 255);
}

function u16s(values: readonly number[]): Uint8Array {
	return join(...values.map(u16));
}

function vector8(bytes: Uint8Array): Uint8Array {
	return join(Uint8Array.of(bytes.length), bytes);
}

function vector16(bytes: Uint8Array): Uint8Array {
	return join(u16(bytes.length), bytes);
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
	return new Uint8Array(Buffer.concat(parts));
}
