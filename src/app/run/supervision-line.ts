// What `weft run` and its sidecar say to each other, a word a line. To the sidecar on its standard
// input: `leave`; the end of it (which comes with the death of `weft run`, however it died) means: end
// now. From the sidecar on descriptor 3: `ready` when its listeners are up, `drained` when it has
// left the mesh and nothing of the inbound side is under way.

export type ToSidecar = 'leave';
export type FromSidecar = 'ready' | 'drained';

export const SUPERVISION_DESCRIPTOR = 3;
const REST_CHARS_MAX = 1024;

/** Cuts what comes into words. */
export class WordReader {
	private rest = '';

	constructor(private readonly onWord: (word: string) => void) {}

	push(bytes: Uint8Array): void {
		this.rest += new TextDecoder().decode(bytes);
		for (let end = this.rest.indexOf('\n'); end !== -1; end = this.rest.indexOf('\n')) {
			const word = this.rest.slice(0, end);
			this.rest = this.rest.slice(end + 1);
			this.onWord(word);
		}
		// Nothing that either side says is long.
		if (this.rest.length > REST_CHARS_MAX) this.rest = '';
	}
}
