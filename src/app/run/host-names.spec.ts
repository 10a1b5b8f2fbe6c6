import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HostsFile, hostsText } from './host-names.ts';

let directory: string;
beforeEach(() => {
	directory = mkdtempSync(join(tmpdir(), 'weft-hosts-'));
});
afterEach(() => {
	rmSync(directory, { recursive: true, force: true });
});

const reviews = { namespace: 'default', name: 'reviews', address: '127.96.0.2' };
const ratings = { namespace: 'shop', name: 'ratings', address: '127.96.0.1' };

test("services follow the machine's own lines, by bare name only within the program's namespace", () => {
	expect(hostsText('127.0.0.1\tlocalhost', [ratings, reviews], 'default')).toBe(
		[
			'127.0.0.1\tlocalhost',
			'# services of the mesh (weft)',
			'127.96.0.2\treviews reviews.default.svc.cluster.local reviews.default.svc reviews.default',
			'127.96.0.1\tratings.shop.svc.cluster.local ratings.shop.svc ratings.shop',
			'',
		].join('\n'),
	);
});

test('is rewritten in place: the inode stays, and the file never gets shorter', () => {
	const path = join(directory, 'hosts');
	const hosts = new HostsFile(path, '127.0.0.1\tlocalhost # Rechner für Übungen\n', 'default');
	hosts.write([reviews, ratings]);
	const before = statSync(path);
	hosts.write([]);
	const after = statSync(path);
	expect(after.ino).toBe(before.ino);
	expect(after.size).toBe(before.size);
	expect(readFileSync(path, 'utf8').trimEnd()).toBe(
		hostsText('127.0.0.1\tlocalhost # Rechner für Übungen\n', [], 'default').trimEnd(),
	);
	hosts.write([reviews]);
	hosts.write([ratings]);
	expect(statSync(path).size).toBe(before.size);
	expect(readFileSync(path, 'utf8')).not.toContain('reviews');
});
