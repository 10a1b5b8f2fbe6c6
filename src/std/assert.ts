// Assertions state what must hold. A failing one is a bug: the boundary of the connection
// in whose turn it was raised catches it, counts it and closes that connection only.

export class AssertionError extends Error {
	constructor(message: string) {
		super(`assertion failed: ${message}`);
		this.name = 'AssertionError';
	}
}

export function assert(condition: unknown, message: string): asserts condition {
	if (!condition) throw new AssertionError(message);
}

export function unreachable(value: never, message = 'unexpected value'): never {
	throw new AssertionError(`${message}: ${String(value)}`);
}
