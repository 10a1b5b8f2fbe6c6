// Takes the picture of the dashboard for the documentation from a control plane that runs:
//
//   scripts/bun scripts/screenshot.ts [--url http://127.0.0.1:15080] [--out docs/images/dashboard.png]
//     [--width 1280] [--height 900] [--dark] [--wait SECONDS] [--select NAMESPACE/APP] [--full]
//
// Waits until the page is live and traffic flows, then --wait seconds more (default 30), so that the
// small lines have something to show.

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { launchBrowser } from '../test/support/browser.ts';

const { values } = parseArgs({
	options: {
		url: { type: 'string', default: 'http://127.0.0.1:15080' },
		out: { type: 'string', default: 'docs/images/dashboard.png' },
		width: { type: 'string', default: '1280' },
		height: { type: 'string', default: '900' },
		dark: { type: 'boolean', default: false },
		wait: { type: 'string', default: '30' },
		select: { type: 'string' },
		full: { type: 'boolean', default: false },
	},
});

const browser = await launchBrowser();
try {
	const context = await browser.context({
		viewport: { width: Number(values.width), height: Number(values.height) },
		colorScheme: values.dark ? 'dark' : 'light',
		deviceScaleFactor: 2,
	});
	const page = await context.newPage();
	await page.goto(values.url);
	await page.locator('.liveness.is-live').waitFor();
	await page.locator('.link-label').first().waitFor({ timeout: 60_000 });
	await page.waitForTimeout(Number(values.wait) * 1000);
	if (values.select !== undefined) {
		await page.locator(`[data-node="${values.select}"]`).click();
		await page.mouse.move(0, 0);
		await page.waitForTimeout(500);
	}
	mkdirSync(dirname(values.out), { recursive: true });
	await page.screenshot({ path: values.out, fullPage: values.full });
	console.log(values.out);
} finally {
	await browser.close();
}
