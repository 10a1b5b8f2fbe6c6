import { describe, expect, test } from 'bun:test';
import { DASHBOARD_PATHS, handleDashboard } from './serve.ts';

function get(path: string, init?: RequestInit): Response | null {
	return handleDashboard(new Request(`http://127.0.0.1:15080${path}`, init));
}

describe('dashboard', () => {
	test('the page names only files that are served', async () => {
		const html = await get('/')!.text();
		const named = [...html.matchAll(/(?:src|href)="(\/[^"]*\.[a-z0-9]+)"/g)].map((match) => match[1]!);
		expect(named.length).toBe(3);
		for (const path of named) expect(get(path)?.status).toBe(200);
		expect(DASHBOARD_PATHS.filter((path) => path.endsWith('.woff2'))).toHaveLength(2);
	});

	test('allows no source but itself and nothing inline', async () => {
		for (const path of DASHBOARD_PATHS) {
			const response = get(path)!;
			const policy = response.headers.get('content-security-policy')!;
			expect(policy).toStartWith("default-src 'none'");
			expect(policy).not.toContain('unsafe');
			expect(policy).not.toContain('http');
			expect(response.headers.get('x-content-type-options')).toBe('nosniff');
			const text = path.endsWith('.woff2') ? '' : await response.text();
			expect(text).not.toMatch(/url\(\s*["']?(?:https?:|data:)|<style|<script(?![^>]*src=)/);
		}
	});

	test('is not sent again when it is known', async () => {
		const first = get('/')!;
		const etag = first.headers.get('etag')!;
		expect(first.headers.get('cache-control')).toBe('no-cache');
		const second = get('/', { headers: { 'if-none-match': `"other", W/${etag}` } })!;
		expect(second.status).toBe(304);
		expect(await second.text()).toBe('');
		expect(get('/', { headers: { 'if-none-match': '"other"' } })!.status).toBe(200);
		const hashed = DASHBOARD_PATHS.find((path) => path.startsWith('/assets/'))!;
		expect(get(hashed)!.headers.get('cache-control')).toContain('immutable');
	});

	test('is only read, and leaves other paths to others', async () => {
		expect(get('/', { method: 'POST' })!.status).toBe(405);
		const head = get('/', { method: 'HEAD' })!;
		expect([head.status, await head.text()]).toEqual([200, '']);
		expect(get('/weft/v1/mesh')).toBeNull();
		expect(get('/assets/../secret')).toBeNull();
	});
});
