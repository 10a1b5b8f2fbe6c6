// The live view: what to try, who calls whom, and what the load sees.

import type { LiveScreen } from '../../../src/cli/live-screen.ts';
import { coloured } from '../../../src/cli/output.ts';
import { topLines } from '../../../src/cli/top.ts';
import type { LoadObserver } from './load.ts';
import type { DemoMesh } from './mesh.ts';

const REDRAW_MS = 1000;
/** Lines about what ended by itself. */
const NEWS_MAX = 2;
/** Without a terminal: one table now and then. */
const PRINT_MS = 10_000;

export async function showLive(
	mesh: DemoMesh,
	load: LoadObserver,
	tips: () => readonly string[],
	screen: LiveScreen,
	interrupted: Promise<unknown>,
): Promise<void> {
	const terminal = process.stdout.isTTY === true;
	let over = false;
	// Not onto the screen that is drawn.
	const news: string[] = [];
	if (terminal) mesh.onNews = (text) => news.push(text);
	const end = interrupted.then(() => {
		over = true;
	});
	if (terminal) screen.enter();
	else for (const line of [...tips(), '']) console.log(line);
	try {
		while (!over) {
			const lines = await view(mesh, load);
			if (over) break;
			if (terminal) {
				const above = [
					...tips().map((tip) => (tip.startsWith('  ') ? coloured(tip, 'blue') : tip)),
					...news.slice(-NEWS_MAX).map((text) => coloured(text, 'yellow')),
					'',
				];
				screen.draw([...above, ...fitting(lines, (process.stdout.rows ?? 24) - above.length - 1)]);
			} else for (const line of [...lines, '']) console.log(line);
			await Promise.race([end, Bun.sleep(terminal ? REDRAW_MS : PRINT_MS)]);
		}
	} finally {
		if (terminal) screen.leave();
	}
}

/** Where not all lines have room: who calls whom, without the table of services above it. */
function fitting(lines: readonly string[], room: number): readonly string[] {
	const edges = lines.findIndex((line) => line.includes('FROM'));
	return lines.length <= room || edges < 0 ? lines : [lines[0]!, '', ...lines.slice(edges)];
}

async function view(mesh: DemoMesh, load: LoadObserver): Promise<string[]> {
	const { done, failed } = load.totals;
	const seen = `load: ${done} requests answered, ${failed} failed`;
	try {
		return [seen, ...topLines(await mesh.snapshot())];
	} catch (error) {
		return [seen, `the control plane does not answer: ${error instanceof Error ? error.message : String(error)}`];
	}
}
