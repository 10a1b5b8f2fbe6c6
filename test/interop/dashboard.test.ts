// The dashboard in a real Chromium, fed by the real stream with the shop's figures: what it shows,
// that it is live, what a click and a key do, and that it asks nobody but the control plane.

// biome-ignore-all lint/performance/useDomNodeTextContent: innerText is Playwright's here, what a person can read

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'bun:test';
import type { BrowserContext, BrowserContextOptions, Page } from 'playwright-core';
import { MESH_STREAM_PATH, MeshStream } from '../../src/control/mesh-stream.ts';
import { handleDashboard } from '../../src/dashboard/serve.ts';
import { VirtualClock } from '../../src/std/clock.ts';
import { CALM, ShopMesh, type ShopState } from '../fixtures/shop-snapshot.ts';
import { launchBrowser, type TestBrowser } from '../support/browser.ts';
import { describeWithPeers } from '../support/peers.ts';

const WAIT_MS = 10_000;
const TEST_MS = 45_000;

/** The control plane's doors that the page uses; time runs five times as fast as the wall's. */
class FakeControlPlane {
	state: ShopState = CALM;
	readonly paths: string[] = [];
	private readonly shop = new ShopMesh();
	private readonly clock = new VirtualClock();
	private readonly stream = new MeshStream({ clock: this.clock, snapshot: () => this.shop.step(this.state) });
	private readonly ticking = setInterval(() => this.clock.advance(1000), 200);
	private server: Bun.Server<undefined> | null = null;
	private port = 0;

	start(): void {
		this.server = Bun.serve({
			hostname: '127.0.0.1',
			port: this.port,
			idleTimeout: 0,
			fetch: (request) => {
				const { pathname } = new URL(request.url);
				this.paths.push(pathname);
				if (pathname === MESH_STREAM_PATH) return this.stream.handleStream(request);
				return handleDashboard(request) ?? new Response('not found\n', { status: 404 });
			},
		});
		this.port = this.server.port!;
	}

	get origin(): string {
		return `http://127.0.0.1:${this.port}`;
	}

	async stop(): Promise<void> {
		this.stream.close();
		await this.server?.stop(true);
		this.server = null;
	}

	async close(): Promise<void> {
		clearInterval(this.ticking);
		await this.stop();
	}
}

describeWithPeers(['chromium'], 'dashboard in Chromium', () => {
	let browser: TestBrowser;
	let plane: FakeControlPlane;
	let complaints: string[];
	let requested: string[];
	let contexts: BrowserContext[];

	beforeAll(async () => {
		browser = await launchBrowser();
	}, TEST_MS);

	afterAll(async () => {
		await browser.close();
	});

	beforeEach(() => {
		plane = new FakeControlPlane();
		plane.start();
		complaints = [];
		requested = [];
		contexts = [];
	});

	afterEach(async () => {
		for (const context of contexts) await context.close();
		await plane.close();
	});

	async function open(options: BrowserContextOptions = {}): Promise<Page> {
		const context = await browser.context({ viewport: { width: 1280, height: 900 }, ...options });
		contexts.push(context);
		const page = await context.newPage();
		page.setDefaultTimeout(WAIT_MS);
		page.on('console', (message) => {
			if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
		});
		page.on('pageerror', (error) => complaints.push(error.message));
		page.on('request', (request) => requested.push(request.url()));
		await page.goto(plane.origin);
		await page.waitForSelector('[data-node="default/products"]');
		return page;
	}

	const texts = (page: Page, selector: string) => page.locator(selector).allInnerTexts();
	const node = (page: Page, name: string) => page.locator(`[data-node="default/${name}"]`);
	const link = (page: Page, from: string, to: string) => page.locator(`[data-link="default/${from}>default/${to}"]`);
	const detail = (page: Page) => page.locator('.detail.is-open');

	test(
		'shows the whole mesh, and asks nobody but the control plane',
		async () => {
			const page = await open();
			expect((await texts(page, '.node-name')).sort()).toEqual(
				['accounts', 'legacy', 'loadgen', 'outside', 'payments', 'products', 'reviews', 'storefront'].sort(),
			);
			expect(await page.locator('.link-label').count()).toBe(9);
			expect(await link(page, 'storefront', 'payments').innerText()).toMatch(/\d+\s*\/s\s+[\d.]+ · [\d.]+ ms/);
			expect(await link(page, 'storefront', 'payments').getAttribute('aria-label')).toContain('mutual TLS');
			expect(await texts(page, '#services tbody td:first-child')).toEqual([
				'accounts',
				'legacy',
				'payments',
				'products',
				'reviews',
				'storefront',
			]);
			expect(await page.locator('#sidecars tbody tr').count()).toBe(12);
			const routes = await page.locator('#routes').innerText();
			for (const part of ['path prefix /reviews', 'products-v3', '10 %', '12 of 12 sidecars', 'backend missing']) {
				expect(routes).toContain(part);
			}
			const glance = await page.locator('.glance').innerText();
			expect(glance).toContain('12 / 12');
			expect(glance).toContain('1 thing needs attention');
			expect(requested.length).toBeGreaterThan(3);
			expect(requested.filter((url) => !url.startsWith(`${plane.origin}/`))).toEqual([]);
			expect(await page.evaluate('document.fonts.check(\'14px "Plex Sans"\')')).toBe(true);
			expect(complaints).toEqual([]);
		},
		TEST_MS,
	);

	test(
		'follows the mesh live, without moving what is drawn',
		async () => {
			const page = await open();
			const share = node(page, 'products').locator('.node-version-share').nth(2);
			expect(await share.innerText()).toMatch(/^(9|10|11) %$/);
			const places = () =>
				page.evaluate<string[]>(
					`[...document.querySelectorAll('.node, .link-label, .line-path')].map((each) => each.getAttribute('d') ?? each.style.transform)`,
				);
			const before = await places();
			plane.state = { ...CALM, canary: 0.5 };
			await share.filter({ hasText: /^(49|5[0-2]) %$/ }).waitFor();
			expect(await places()).toEqual(before);
			expect(complaints).toEqual([]);
		},
		TEST_MS,
	);

	test(
		'a click on a service or a line opens its details, Escape closes them',
		async () => {
			const page = await open();
			await node(page, 'products').click();
			const panel = detail(page);
			const text = await panel.innerText();
			for (const part of ['127.96.0.4:7003', '2xx', '4xx', 'v3', 'storefront', 'reviews', 'products-v1-7f3a']) {
				expect(text).toContain(part);
			}
			expect(text).toContain('spiffe://weft.local/ns/default/sa/products');
			expect(await node(page, 'products').getAttribute('aria-pressed')).toBe('true');
			await panel.getByRole('button', { name: 'storefront' }).click();
			await detail(page).locator('h2', { hasText: 'storefront → products' }).waitFor();
			const lines = await detail(page).innerText();
			expect(lines).toContain('Mutual TLS on all of it');
			expect(lines).toContain('spiffe://weft.local/ns/default/sa/storefront');
			expect(lines).toContain('v1 → v3');
			await page.keyboard.press('Escape');
			expect(await detail(page).count()).toBe(0);
			await link(page, 'payments', 'accounts').click();
			expect(await detail(page).locator('h2').innerText()).toBe('payments → accounts');
		},
		TEST_MS,
	);

	test(
		'everything that can be clicked can be reached by key, and has a name',
		async () => {
			const page = await open();
			const nameless = await page.evaluate<string[]>(
				`[...document.querySelectorAll('button, a')]
					.filter((each) => (each.getAttribute('aria-label') ?? each.textContent).trim() === '')
					.map((each) => each.outerHTML)`,
			);
			expect(nameless).toEqual([]);
			await node(page, 'accounts').focus();
			await page.keyboard.press('Enter');
			expect(await detail(page).locator('h2').innerText()).toBe('accounts');
			await page.getByRole('button', { name: 'Success' }).press('Enter');
			const head = page.locator('#services th', { hasText: 'Success' });
			expect(await head.getAttribute('aria-sort')).toBe('descending');
		},
		TEST_MS,
	);

	test(
		'says what is wrong and where',
		async () => {
			const page = await open();
			plane.state = { ...CALM, paymentsFailing: true, sidecarRejects: true, plainLegacy: true };
			await page.waitForSelector('.attention-item.is-bad');
			const attention = await page.locator('.attention').innerText();
			for (const part of ['payments-v1-7f3a refused its new route', 'storefront → payments 14', 'is not mutual TLS']) {
				expect(attention).toContain(part);
			}
			expect(await link(page, 'storefront', 'payments').getAttribute('class')).toContain('is-bad');
			expect(await page.locator('#sidecars .nack').innerText()).toContain('safe_regex');
			expect(await page.locator('.glance').innerText()).toContain('11 / 12');
			await page.locator('.attention-item', { hasText: 'is not mutual TLS' }).click();
			expect(await detail(page).innerText()).toContain('Not all of it is mutual TLS');
		},
		TEST_MS,
	);

	test(
		'shows that the control plane is unreachable, and comes back by itself',
		async () => {
			const page = await open();
			await page.waitForSelector('.liveness.is-live');
			await plane.stop();
			await page.waitForSelector('.stale-banner');
			await page.locator('.stale-banner', { hasText: /Last data [1-9]\d* s ago/ }).waitFor();
			expect(await node(page, 'products').count()).toBe(1);
			expect(await page.title()).toContain('unreachable');
			plane.start();
			await page.waitForSelector('.stale-banner', { state: 'detached' });
			await page.waitForSelector('.liveness.is-live');
		},
		TEST_MS,
	);

	test(
		'fits a phone: nothing to the side, details from below',
		async () => {
			const page = await open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
			const overflow = () => page.evaluate<number>('document.documentElement.scrollWidth - window.innerWidth');
			expect(await overflow()).toBe(0);
			const outside = await page.evaluate<number>(
				`[...document.querySelectorAll('.node')]
					.map((each) => each.getBoundingClientRect())
					.filter((box) => box.left < 0 || box.right > window.innerWidth).length`,
			);
			expect(outside).toBe(0);
			await node(page, 'storefront').tap();
			const sheet = await detail(page).boundingBox();
			expect(sheet!.x).toBe(0);
			expect(Math.round(sheet!.y + sheet!.height)).toBe(844);
			plane.state = { ...CALM, sidecarRejects: true };
			await page.waitForSelector('#sidecars .nack');
			expect(await overflow()).toBe(0);
			await page.getByRole('button', { name: 'Close the details' }).tap();
			expect(await detail(page).count()).toBe(0);
			expect(complaints).toEqual([]);
		},
		TEST_MS,
	);

	test(
		'is dark where dark is wanted, and still where motion is not',
		async () => {
			const page = await open({ colorScheme: 'dark', reducedMotion: 'reduce' });
			const style = (selector: string, property: string) =>
				page.evaluate<string>(`getComputedStyle(document.querySelector('${selector}')).${property}`);
			const brightness = (color: string) => Math.max(...(color.match(/\d+/g) ?? []).slice(0, 3).map(Number));
			expect(brightness(await style('body', 'backgroundColor'))).toBeLessThan(50);
			expect(brightness(await style('body', 'color'))).toBeGreaterThan(200);
			expect(await style('.pulse', 'animationName')).toBe('none');
			expect(await style('.share-fill', 'transitionDuration')).toBe('0s');
		},
		TEST_MS,
	);
});
