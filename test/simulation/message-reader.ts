// Reads HTTP/1.1 as the ends of the simulated mesh do: strict, plain, and sharing nothing with the
// codecs under test. What it refuses, a proxy has sent wrongly.
//
//   head ──▶ none | length | chunk size ─▶ chunk data ─▶ … ─▶ trailers | until close ──▶ head

export interface MessageHead {
	/** `POST /x HTTP/1.1`, `HTTP/1.1 200 OK`. */
	readonly startLine: string;
	/** Names in lower case; values of one name joined by `, `. */
	readonly fields: ReadonlyMap<string, string>;
	/** Requests: 0. */
	readonly status: number;
}

export interface MessageEvents {
	onHead(head: MessageHead): void;
	onBody(bytes: Uint8Array): void;
	onMessageEnd(): void;
	/** A response to what was asked has no body, whatever its head says. */
	readonly bodiless: boolean;
}

export class MessageError extends Error {}

type State = 'head' | 'length' | 'chunk size' | 'chunk data' | 'chunk end' | 'trailers' | 'until close';

const HEAD_BYTES_MAX = 64 * 1024;

export class MessageReader {
	private state: State = 'head';
	private line = '';
	private lines: string[] = [];
	private headBytes = 0;
	private left = 0;

	constructor(
		private readonly kind: 'request' | 'response',
		private readonly events: MessageEvents,
	) {}

	/** Nothing of a message was read that is not complete. */
	get between(): boolean {
		return this.state === 'head' && this.headBytes === 0;
	}

	/** @throws MessageError */
	read(bytes: Uint8Array): void {
		let at = 0;
		while (at < bytes.length) {
			if (this.state === 'length' || this.state === 'chunk data' || this.state === 'until close') {
				const length = this.state === 'until close' ? bytes.length - at : Math.min(this.left, bytes.length - at);
				const part = bytes.subarray(at, at + length);
				at += length;
				this.left -= length;
				this.events.onBody(part);
				if (this.left > 0 || this.state === 'until close') continue;
				if (this.state === 'length') this.ended();
				else this.state = 'chunk end';
				continue;
			}
			const byte = bytes[at++]!;
			this.line += String.fromCharCode(byte);
			this.headBytes++;
			if (this.headBytes > HEAD_BYTES_MAX) throw new MessageError('a head without end');
			if (byte !== 10) continue;
			if (!this.line.endsWith('\r\n'))
				throw new MessageError(`a line that ends without CR: ${JSON.stringify(this.line)}`);
			const line = this.line.slice(0, -2);
			this.line = '';
			this.takeLine(line);
		}
	}

	/** The peer has sent FIN. False: in the middle of a message. */
	readEnd(): boolean {
		if (this.state === 'until close') {
			this.ended();
			return true;
		}
		return this.between;
	}

	private takeLine(line: string): void {
		switch (this.state) {
			case 'head':
			case 'trailers':
				if (line !== '') this.lines.push(line);
				else if (this.state === 'trailers') this.ended();
				else this.takeHead();
				return;
			case 'chunk size': {
				if (!/^[0-9a-fA-F]{1,8}$/.test(line)) throw new MessageError(`chunk size ${JSON.stringify(line)}`);
				this.left = Number.parseInt(line, 16);
				this.headBytes = 0;
				this.state = this.left === 0 ? 'trailers' : 'chunk data';
				return;
			}
			case 'chunk end':
				if (line !== '') throw new MessageError(`after a chunk: ${JSON.stringify(line)}`);
				this.state = 'chunk size';
				return;
		}
	}

	private takeHead(): void {
		const [startLine = '', ...lines] = this.lines;
		const form = this.kind === 'request' ? /^[A-Z]+ \/\S* HTTP\/1\.1$/ : /^HTTP\/1\.1 [1-5]\d\d( .*)?$/;
		if (!form.test(startLine)) throw new MessageError(`start line ${JSON.stringify(startLine)}`);
		const fields = new Map<string, string>();
		for (const line of lines) {
			const field = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?(.*)$/.exec(line);
			if (field === null) throw new MessageError(`field ${JSON.stringify(line)}`);
			const name = field[1]!.toLowerCase();
			const before = fields.get(name);
			fields.set(name, before === undefined ? field[2]! : `${before}, ${field[2]}`);
		}
		this.lines = [];
		this.headBytes = 0;
		const status = this.kind === 'request' ? 0 : Number(startLine.slice(9, 12));
		const length = fields.get('content-length');
		const coding = fields.get('transfer-encoding');
		if (length !== undefined && coding !== undefined) throw new MessageError('a length and a transfer coding');
		if (length !== undefined && !/^\d+$/.test(length)) throw new MessageError(`content-length ${length}`);
		if (coding !== undefined && coding !== 'chunked') throw new MessageError(`transfer-encoding ${coding}`);
		this.events.onHead({ startLine, fields, status });
		if (status >= 100 && status < 200) return;
		const bodiless = status === 204 || status === 304 || this.events.bodiless;
		if (bodiless) this.ended();
		else if (coding !== undefined) this.state = 'chunk size';
		else if (length !== undefined) {
			this.left = Number(length);
			this.state = 'length';
			if (this.left === 0) this.ended();
		} else if (this.kind === 'request') this.ended();
		else this.state = 'until close';
	}

	private ended(): void {
		this.state = 'head';
		this.headBytes = 0;
		this.lines = [];
		this.left = 0;
		this.events.onMessageEnd();
	}
}
