// Steady load on the shop, as an open loop: a request every 1/RATE s whether or not earlier ones
// are back. Prints one JSON line a second (latencies of pages, and of orders apart) and a last one
// with the totals (`"total": true`).
//
//   node load.mjs [--url http://storefront:8080] [--rate 20] [--duration SECONDS]
//
// 9 in 10 requests read the page, 1 in 10 places an order. Failed: no answer, or a status of 500 and above.

import http from 'node:http';

function option(name, fallback) {
	const at = process.argv.indexOf(`--${name}`);
	return at < 0 ? fallback : process.argv[at + 1];
}

const base = option('url', process.env.STOREFRONT_URL ?? 'http://storefront:8080');
const rate = Number(option('rate', '20'));
const durationS = Number(option('duration', '0'));
const users = ['ada', 'grace', 'joseph', 'anni'];
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
// settled: all of the first so many requests have ended.
const total = { sent: 0, settled: 0, done: 0, failed: 0, products: {}, reviews: {}, failures: [] };
/** Numbers of the requests under way, oldest first. */
const open = new Set();
const emptySecond = () => ({ done: 0, failed: 0, latencies: [], orderLatencies: [] });
let second = emptySecond();

/** Null when there is nothing to tell of. */
function quantile(latencies, share) {
	if (latencies.length === 0) return null;
	latencies.sort((a, b) => a - b);
	return Number(latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))].toFixed(1));
}

function send(number) {
	const user = users[number % users.length];
	const isOrder = number % 10 === 9;
	const payload = isOrder ? JSON.stringify({ user, product: 'scarf', card: '4111111111111111' }) : undefined;
	const started = performance.now();
	total.sent++;
	open.add(number);
	let over = false;
	const finish = (problem, text) => {
		if (over) return;
		over = true;
		open.delete(number);
		total.done++;
		second.done++;
		(isOrder ? second.orderLatencies : second.latencies).push(performance.now() - started);
		if (problem !== null) {
			total.failed++;
			second.failed++;
			if (total.failures.length < 20) total.failures.push(problem);
		} else if (!isOrder) {
			const page = JSON.parse(text);
			total.products[page.productsVersion] = (total.products[page.productsVersion] ?? 0) + 1;
			total.reviews[page.reviewsFrom] = (total.reviews[page.reviewsFrom] ?? 0) + 1;
		}
	};
	const request = http.request(
		new URL(isOrder ? '/api/orders' : `/api/page?user=${user}`, base),
		{
			method: isOrder ? 'POST' : 'GET',
			agent,
			timeout: 30_000,
			headers: isOrder ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) } : {},
		},
		(response) => {
			let text = '';
			response.setEncoding('utf8');
			response.on('data', (chunk) => {
				text += chunk;
			});
			response.on('end', () =>
				finish(response.statusCode >= 500 ? `${response.statusCode} ${text.slice(0, 200)}` : null, text),
			);
			response.on('error', (error) => finish(error.message, ''));
		},
	);
	request.on('timeout', () => request.destroy(new Error('no answer in 30 s')));
	request.on('error', (error) => finish(error.message, ''));
	request.end(payload);
}

const begin = performance.now();
let next = 0;
const pump = setInterval(() => {
	const due = Math.floor(((performance.now() - begin) / 1000) * rate);
	while (next < due) send(next++);
	if (durationS > 0 && performance.now() - begin >= durationS * 1000) stop();
}, 5);
const report = setInterval(() => {
	const { done, failed, latencies, orderLatencies } = second;
	second = emptySecond();
	const figures = {
		p50Ms: quantile(latencies, 0.5),
		p99Ms: quantile(latencies, 0.99),
		orderP50Ms: quantile(orderLatencies, 0.5),
	};
	total.settled = open.values().next().value ?? total.sent;
	console.log(JSON.stringify({ done, failed, ...figures, totals: total }));
}, 1000);

function stop() {
	clearInterval(pump);
	const finish = () => {
		clearInterval(report);
		console.log(JSON.stringify({ total: true, totals: total }));
		process.exit(0);
	};
	const waiting = setInterval(() => {
		if (total.done === total.sent) finish();
	}, 20);
	setTimeout(finish, 30_000);
	waiting.unref?.();
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);
