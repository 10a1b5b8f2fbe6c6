// A view that is drawn anew in place, on the terminal's other screen.

// Lines that are too long are cut off (DECAWM off): one that wrapped would push the first ones out.
const ENTER_SCREEN = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE_SCREEN = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
// Before what is written: after a line of full width it would take its last character.
const CLEAR_LINE_REST = '\x1b[K';
const CLEAR_SCREEN_REST = '\x1b[J';

export class LiveScreen {
	private entered = false;

	enter(): void {
		this.entered = true;
		process.stdout.write(ENTER_SCREEN);
	}

	/** Idempotent. */
	leave(): void {
		if (!this.entered) return;
		this.entered = false;
		process.stdout.write(LEAVE_SCREEN);
	}

	/** As many of the lines as fit; the last says how many do not. */
	draw(lines: readonly string[]): void {
		const height = Math.max(4, process.stdout.rows ?? 24);
		const shown =
			lines.length <= height ? lines : [...lines.slice(0, height - 1), `… ${lines.length - height + 1} more lines`];
		process.stdout.write(`${HOME}${shown.map((line) => `${CLEAR_LINE_REST}${line}`).join('\n')}${CLEAR_SCREEN_REST}`);
	}
}
