// Runs the tests and ends with one plain line, `N passed, N failed`.
//
//   scripts/bun scripts/test.ts [GROUP…] [-t PATTERN]
//
// Groups, in this order: check (types, format, lint), unit, fuzz, simulation, integration, interop.
// Unit tests share one process; every other file has a process of its own, and a time limit, so
// that one that hangs or crashes counts as one failure and the rest still run. A file that passes
// is one line; what a failing one printed follows at once, and again at the end, shortened, so that
// the end of a log is enough to see what went wrong.

import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
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
/** Lines of a failing file's output that the summary repeats, for each test that failed in it. */
const EXCERPT_LINES = 25;

/** What is said of each failure once more at the end. */
const failures: string[] = [];

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
	for (const failure of failures) console.log(`\n${failure}`);
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
		const { exitCode, output } = await run(command);
		if (exitCode === 0) tally.passed++;
		else tally.failed++;
		if (exitCode !== 0) report(command.slice(0, 2).join(' '), output);
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

async function runBun(paths: readonly string[], reportFile: string, pattern: string | null): Promise<Tally> {
	const command = [
		process.execPath,
		'test',
		'--timeout',
		'60000',
		'--reporter=junit',
		`--reporter-outfile=${reportFile}`,
	];
	if (pattern !== null) command.push('-t', pattern);
	command.push(...paths);
	const started = performance.now();
	const { exitCode, output } = await run(command);
	const tally = readReport(reportFile);
	// With a pattern, a file in which nothing matches is no failure.
	if (exitCode !== 0 && tally.failed === 0 && !(pattern !== null && tally.passed === 0)) tally.failed = 1;
	const counts = `${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`;
	console.log(`${paths.join(' ')}: ${counts}, ${((performance.now() - started) / 1000).toFixed(1)} s`);
	if (tally.skipped > 0)
		console.log(
			output
				.split('\n')
				.filter((line) => line.startsWith('skipped: '))
				.join('\n'),
		);
	if (tally.failed > 0) report(paths.join(' '), output);
	return tally;
}

/** Runs one command to its end, or to the time limit, and keeps what it prints on both streams, in order. */
async function run(command: readonly string[]): Promise<{ exitCode: number; output: string }> {
	const folder = mkdtempSync(join(tmpdir(), 'weft-test-output-'));
	const path = join(folder, 'output');
	try {
		const file = openSync(path, 'a');
		const child = Bun.spawn([...command], { cwd: root, stdin: 'ignore', stdout: file, stderr: file });
		let timedOut = false;
		const limit = setTimeout(() => {
			timedOut = true;
			child.kill('SIGKILL');
		}, FILE_TIMEOUT_MS);
		const exitCode = await child.exited;
		clearTimeout(limit);
		closeSync(file);
		const output = readFileSync(path, 'utf8');
		return { exitCode, output: timedOut ? `${output}\nstopped after ${FILE_TIMEOUT_MS / 1000} s` : output };
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
}

/** Prints what a failing command said, without what passed, and keeps an excerpt of each failure for the end. */
function report(name: string, output: string): void {
	const all = output.split('\n');
	// Bun says the failures once more itself where there are many tests.
	const again = all.findIndex((line) => /^\d+ tests? failed:$/.test(line));
	const lines = (again < 0 ? all : all.slice(0, again)).filter((line) => !line.startsWith('(pass)'));
	console.log(lines.join('\n'));
	const ends = lines.flatMap((line, index) => (line.startsWith('(fail)') ? [index] : []));
	if (ends.length === 0) ends.push(lines.length - 1);
	let from = 0;
	for (const end of ends) {
		const start = Math.max(from, end - EXCERPT_LINES + 1);
		failures.push(`failed: ${name}\n${lines.slice(start, end + 1).join('\n')}`);
		from = end + 1;
	}
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
