// What goes to the terminal: colours only where they are wanted, nothing that came over the wire
// can move the cursor, tables that fit.

const COLOURS = { red: 31, green: 32, yellow: 33, blue: 34, grey: 90, bold: 1 } as const;
export type Colour = keyof typeof COLOURS;

/** A TTY, and NO_COLOR is not set (https://no-color.org). */
export function coloursWanted(stream: { readonly isTTY?: boolean } = process.stdout): boolean {
	return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

export function coloured(text: string, colour: Colour, wanted = coloursWanted()): string {
	return wanted ? `\x1b[${COLOURS[colour]}m${text}\x1b[0m` : text;
}

/** Columns of the terminal; null when the output is no terminal, and nothing needs to be cut. */
export function terminalWidth(): number | null {
	return process.stdout.isTTY === true ? Math.max(40, process.stdout.columns ?? 80) : null;
}

/** Without control characters: names and messages may be hostile. */
export function printable(text: string): string {
	return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '�');
}

export function print(text: string): void {
	process.stdout.write(`${text}\n`);
}

export function warn(text: string): void {
	process.stderr.write(`${coloured('warning:', 'yellow', coloursWanted(process.stderr))} ${printable(text)}\n`);
}

export interface Cell {
	readonly text: string;
	readonly colour?: Colour;
	/** Numbers stand on the right. */
	readonly right?: boolean;
}

const GAP = '   ';
const COLUMN_WIDTH_MIN = 6;

/** Rows of equal length; the first is the heading. Too wide for `width`, the widest columns are cut with `…`. */
export function formatTable(
	heading: readonly string[],
	rows: readonly (readonly Cell[])[],
	width: number | null = terminalWidth(),
	colours = coloursWanted(),
): string[] {
	const all = [heading.map((text): Cell => ({ text, colour: 'grey' })), ...rows];
	const widths = heading.map((_, index) =>
		Math.max(...all.map((row) => Bun.stringWidth(printable(row[index]?.text ?? '')))),
	);
	if (width !== null) fit(widths, width);
	return all.map((row, rowIndex) => {
		const cells = row.map((cell, index) => {
			const right = rowIndex === 0 ? (rows[0]?.[index]?.right ?? false) : (cell.right ?? false);
			const columnWidth = widths[index] ?? 0;
			const text = cut(printable(cell.text), columnWidth);
			const blanks = ' '.repeat(Math.max(0, columnWidth - Bun.stringWidth(text)));
			const shown = cell.colour === undefined ? text : coloured(text, cell.colour, colours);
			if (right) return `${blanks}${shown}`;
			return index === row.length - 1 ? shown : `${shown}${blanks}`;
		});
		return cells.join(GAP).trimEnd();
	});
}

function fit(widths: number[], width: number): void {
	let excess = widths.reduce((sum, one) => sum + one, 0) + GAP.length * (widths.length - 1) - width;
	while (excess > 0) {
		const widest = widths.indexOf(Math.max(...widths));
		const present = widths[widest] ?? 0;
		if (present <= COLUMN_WIDTH_MIN) return;
		widths[widest] = present - 1;
		excess--;
	}
}

function cut(text: string, width: number): string {
	if (Bun.stringWidth(text) <= width) return text;
	let result = '';
	for (const character of text) {
		if (Bun.stringWidth(result + character) > width - 1) break;
		result += character;
	}
	return `${result}…`;
}
