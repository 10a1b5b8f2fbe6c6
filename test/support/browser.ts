// A real Chromium with a profile of its own, gone when it is closed.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, type BrowserContextOptions, chromium } from 'playwright-core';
import { peerPath } from './peers.ts';

const FLAGS = [
	'--headless',
	'--no-sandbox',
	'--disable-gpu',
	'--disable-quic',
	'--no-first-run',
	'--disable-background-networking',
	'--disable-component-update',
	'--disable-sync',
];

export interface TestBrowser {
	/** Closed with the browser at the latest. */
	context(options?: BrowserContextOptions): Promise<BrowserContext>;
	close(): Promise<void>;
}

/** The peer `chromium` must be there. */
export async function launchBrowser(): Promise<TestBrowser> {
	const profile = mkdtempSync(join(tmpdir(), 'weft-chromium-'));
	const executablePath = peerPath('chromium') ?? undefined;
	const browser = await chromium.launch({ executablePath, args: FLAGS, env: { ...process.env, HOME: profile } });
	return {
		context: (options) => browser.newContext(options),
		close: async () => {
			await browser.close();
			rmSync(profile, { recursive: true, force: true });
		},
	};
}
