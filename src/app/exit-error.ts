// A failure that ends the command: one clear line, and the code to exit with. Thrown by app/, turned
// into an exit by cli/.

export class ExitError extends Error {
	constructor(
		readonly exitCode: number,
		message: string,
		options?: ErrorOptions,
	) {
		super(message, options);
		this.name = 'ExitError';
	}
}
