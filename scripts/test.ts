// Runs the tests and ends with one plain line, `N passed, N failed`.
//
//   scripts/bun scripts/test.ts [GROUP…] [-t PATTERN]
//
// Groups, in this order: check (types, format, lint), unit, fuzz, simulation, integration, interop.
// Unit tests share one process; every other file has a process of its own, and a time limit, so
// that one that hangs or crashes counts as one failure and the rest still run.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dir, '..');
const GROUPS = ['check', 'unit', 'fuzz', 'simulation', 'integration', 'interop'] as const;
type Group = (typeof GROUPS)[number];

interface Tally {
	passed: number;
	failed: number;
	skipped: number;
}

const FILE_TIMEOUT_MS = 240_000;

async function main(): Promise<void> {
	const words = process.argv.slice(2);
	const patternAt = words.indexOf('-t');
	const pattern = patternAt < 0 ? null : (words.splice(patternAt, 2)[1] ?? null);
	const unknown = words.filter((word) => !(GROUPS as readonly string[]).includes(word));
	if (unknown.length > 0) {
		console.error(`no such group: ${unknown.join(', ')}; there are ${GROUPS.join(', ')}`);
		process.exit(2);
	}
	const groups: readonly Group[] = words.length === 0 ? GROUPS : GROUPS.filter((group) => words.includes(group));
	const total: Tally = { passed: 0, failed: 0, skipped: 0 };
	const scratch = mkdtempSync(join(tmpdir(), 'weft-test-'));
	try {
		for (const group of groups) {
			const started = performance.now();
			const tally = group === 'check' ? await runChecks() : await runGroup(group, scratch, pattern);
			const seconds = ((performance.now() - started) / 1000).toFixed(1);
			console.log(
				`--- ${group}: ${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped, ${seconds} s`,
			);
			total.passed += tally.passed;
			total.failed += tally.failed;
			total.skipped += tally.skipped;
		}
	} finally {
		rmSync(scratch, { recursive: true, force: true });
	}
	console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
	process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0);
}

async function runChecks(): Promise<Tally> {
	const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
	const commands: string[][] = [
		['node_modules/.bin/tsc', '--noEmit'],
		...(existsSync(join(root, 'src/dashboard/page/tsconfig.json'))
			? [['node_modules/.bin/tsc', '--noEmit', '-p', 'src/dashboard/page/tsconfig.json']]
			: []),
		['node_modules/.bin/biome', 'check', '--error-on-warnings', '.'],
	];
	for (const command of commands) {
		const child = Bun.spawn(command, { cwd: root, stdin: 'ignore', stdout: 'inherit', stderr: 'inherit' });
		if ((await child.exited) === 0) tally.passed++;
		else tally.failed++;
	}
	return tally;
}

async function runGroup(group: Exclude<Group, 'check'>, scratch: string, pattern: string | null): Promise<Tally> {
	if (group === 'unit') return runBun(['src', 'examples'], join(scratch, 'unit.xml'), pattern);
	const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
	const folder = join(root, 'test', group);
	if (!existsSync(folder)) return tally;
	for (const file of readdirSync(folder).sort()) {
		if (!file.endsWith('.test.ts')) continue;
		const one = await runBun([`test/${group}/${file}`], join(scratch, `${group}-${file}.xml`), pattern);
		tally.passed += one.passed;
		tally.failed += one.failed;
		tally.skipped += one.skipped;
	}
	return tally;
}

async function runBun(paths: readonly string[], report: string, pattern: string | null): Promise<Tally> {
	const command = [process.execPath, 'test', '--timeout', '60000', '--reporter=junit', `--reporter-outfile=${report}`];
	if (pattern !== null) command.push('-t', pattern);
	command.push(...paths);
	const child = Bun.spawn(command, { cwd: root, stdin: 'ignore', stdout: 'inherit', stderr: 'inherit' });
	let timedOut = false;
	const limit = setTimeout(() => {
		timedOut = true;
		child.kill('SIGKILL');
	}, FILE_TIMEOUT_MS);
	const exitCode = await child.exited;
	clearTimeout(limit);
	if (timedOut) console.error(`${paths.join(' ')}: stopped after ${FILE_TIMEOUT_MS / 1000} s`);
	const tally = readReport(report);
	// With a pattern, a file in which nothing matches is no failure.
	if (exitCode !== 0 && tally.failed === 0 && !(pattern !== null && tally.passed === 0)) tally.failed = 1;
	return tally;
}

function readReport(path: string): Tally {
	if (!existsSync(path)) return { passed: 0, failed: 0, skipped: 0 };
	const head = /<testsuites\b[^>]*>/.exec(readFileSync(path, 'utf8'))?.[0] ?? '';
	const count = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
	const failed = count('failures') + count('errors');
	const skipped = count('skipped');
	return { passed: count('tests') - failed - skipped, failed, skipped };
}

await main();
