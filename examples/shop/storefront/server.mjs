// The shop's front: a page for people and the same as JSON. It calls every other service by its
// plain name and knows of no mesh.
//
//   GET /               the page (?user=ID)
//   GET /api/page       what the page shows, as JSON (?user=ID)
//   POST /api/orders    {"user", "product", "card"}: takes payment, records the order
//   GET /healthz        200 when the process serves

import http from 'node:http';
import { renderPage } from './page.mjs';

const port = Number(process.env.PORT ?? 8080);
const host = process.env.HOST ?? '127.0.0.1';
const url = (name, fallback) => process.env[`${name.toUpperCase()}_URL`] ?? fallback;
const upstreams = {
	accounts: url('accounts', 'http://accounts:8080'),
	products: url('products', 'http://products:8080'),
	payments: url('payments', 'http://payments:8080'),
	legacy: url('legacy', 'http://legacy:8080'),
	shipping: url('shipping', 'http://shipping:8080'),
};
const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

/** One call to another service: its status and JSON body. Rejects when there is no answer. */
function call(base, path, { method = 'GET', body, timeoutMs = 10_000 } = {}) {
	return new Promise((resolve, reject) => {
		const payload = body === undefined ? undefined : JSON.stringify(body);
		const headers =
			payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
		const request = http.request(new URL(path, base), { method, headers, agent, timeout: timeoutMs }, (response) => {
			let text = '';
			response.setEncoding('utf8');
			response.on('data', (chunk) => {
				text += chunk;
			});
			response.on('end', () => {
				let parsed = null;
				try {
					parsed = JSON.parse(text);
				} catch {
					// An error page of something in between: the status says enough.
				}
				resolve({ status: response.statusCode, body: parsed });
			});
			response.on('error', reject);
		});
		request.on('timeout', () => request.destroy(new Error(`no answer from ${base} in ${timeoutMs} ms`)));
		request.on('error', reject);
		request.end(payload);
	});
}

async function needed(base, path) {
	const answer = await call(base, path);
	if (answer.status !== 200)
		throw Object.assign(new Error(`${base}${path} answered ${answer.status}`), { status: 502 });
	return answer.body;
}

/** For what the page can do without. */
async function optional(base, path) {
	try {
		const answer = await call(base, path, { timeoutMs: 2_000 });
		return answer.status === 200 ? answer.body : null;
	} catch {
		return null;
	}
}

async function loadPage(user) {
	const [account, catalogue, reviews, delivery] = await Promise.all([
		needed(upstreams.accounts, `/accounts/${encodeURIComponent(user)}`),
		needed(upstreams.products, '/products'),
		needed(upstreams.legacy, '/reviews'),
		upstreams.shipping === '' ? null : optional(upstreams.shipping, `/estimate?user=${encodeURIComponent(user)}`),
	]);
	return {
		account,
		products: catalogue.products,
		productsVersion: catalogue.version,
		reviews: reviews.reviews,
		reviewsFrom: reviews.servedBy,
		delivery,
	};
}

async function order({ user, product, card }) {
	const catalogue = await needed(upstreams.products, '/products');
	const item = catalogue.products.find((candidate) => candidate.id === product);
	if (item === undefined) return { status: 404, body: { error: `no product ${product}` } };
	const payment = await call(upstreams.payments, '/payments', {
		method: 'POST',
		body: { user, amount: item.price, currency: 'EUR', card },
	});
	if (payment.status !== 201) return { status: payment.status, body: payment.body };
	const recorded = await call(upstreams.accounts, `/accounts/${encodeURIComponent(user)}/orders`, {
		method: 'POST',
		body: { product, payment: payment.body.id, amount: item.price },
	});
	return { status: recorded.status, body: recorded.body };
}

function readJson(request) {
	return new Promise((resolve, reject) => {
		let text = '';
		request.setEncoding('utf8');
		request.on('data', (chunk) => {
			text += chunk;
			if (text.length > 65_536) reject(Object.assign(new Error('body too large'), { status: 413 }));
		});
		request.on('end', () => {
			try {
				resolve(JSON.parse(text));
			} catch {
				reject(Object.assign(new Error('the body is not JSON'), { status: 400 }));
			}
		});
		request.on('error', reject);
	});
}

function send(response, status, body, type = 'application/json') {
	const text = typeof body === 'string' ? body : JSON.stringify(body);
	response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) });
	response.end(text);
}

const server = http.createServer(async (request, response) => {
	const target = new URL(request.url ?? '/', 'http://storefront');
	const user = target.searchParams.get('user') ?? 'ada';
	try {
		if (request.method === 'GET' && target.pathname === '/healthz') send(response, 200, { ok: true });
		else if (request.method === 'GET' && target.pathname === '/api/page') send(response, 200, await loadPage(user));
		else if (request.method === 'GET' && target.pathname === '/')
			send(response, 200, renderPage(await loadPage(user)), 'text/html; charset=utf-8');
		else if (request.method === 'POST' && target.pathname === '/api/orders') {
			const result = await order(await readJson(request));
			send(response, result.status, result.body);
		} else send(response, 404, { error: `nothing at ${target.pathname}` });
	} catch (error) {
		send(response, error.status ?? 502, { error: error.message });
	}
});
server.keepAliveTimeout = 75_000;
server.listen(port, host, () => console.log(`storefront listens on ${host}:${port}`));
process.on('SIGTERM', () => {
	server.close(() => process.exit(0));
	server.closeIdleConnections();
});
