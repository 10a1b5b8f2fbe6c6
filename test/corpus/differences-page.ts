// The page `docs/http1-differences.md`: how each case goes through weft, Envoy, HAProxy and nginx
// where weft and Envoy differ.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DIFFERENCES } from './differences.ts';

export const PAGE_PATH = join(import.meta.dir, '../../docs/http1-differences.md');

/** What came of one case, by proxy. */
export interface Row {
	/** `TOPIC > NAME`. */
	readonly key: string;
	readonly section: string;
	readonly weft: string;
	readonly envoy: string;
	/** Empty: not sent through it. */
	readonly haproxy: string;
	readonly nginx: string;
}

const HEAD = `# Where HTTP/1.1 in weft differs from Envoy on purpose

Raw bytes that weft and Envoy 1.40 (and HAProxy 2.6 and nginx 1.22, as Debian has them) do not treat alike. Each line is
a case of the corpus in \`test/corpus\`; all others of its cases go through weft and Envoy alike.

In a column stand the statuses that the client gets, whether its connection is closed or waits for more, and after the
arrow what arrives upstream. "Passes it on": the upstream (or the client) is sent what a strict reader refuses.

This page is made by \`WEFT_WRITE_PAGES=1 scripts/bun test test/interop/corpus-peers.test.ts\`, and held by that test.
`;

export function pageOf(rows: readonly Row[]): string {
	const byKey = new Map(rows.map((row) => [row.key, row]));
	let page = HEAD;
	for (const { title, why, cases } of DIFFERENCES) {
		page += `\n## ${title}\n\n${why}\n\n| Case | Rule | weft | Envoy | HAProxy | nginx |\n|---|---|---|---|---|---|\n`;
		for (const key of cases) {
			const row = byKey.get(key);
			if (row === undefined) throw new Error(`no such case, or no longer a difference: ${key}`);
			const cells = [row.key, row.section, row.weft, row.envoy, row.haproxy, row.nginx];
			page += `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
		}
	}
	return page;
}

/** What the page says, by key. */
export function readPage(): ReadonlyMap<string, Row> {
	const rows = new Map<string, Row>();
	for (const line of readFileSync(PAGE_PATH, 'utf8').split('\n')) {
		if (!line.startsWith('| ') || line.startsWith('| Case ')) continue;
		const cells = line.slice(2, -2).split(/ \| /);
		const [key = '', section = '', weft = '', envoy = '', haproxy = '', nginx = ''] = cells.map((cell) =>
			cell.replaceAll('\\|', '|'),
		);
		rows.set(key, { key, section, weft, envoy, haproxy, nginx });
	}
	return rows;
}
