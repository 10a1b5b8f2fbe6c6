// The catalogue. VERSION picks one of three releases, for canaries:
//   v1  names and prices
//   v2  sale prices
//   v3  stock figures too, from a slow query that fails now and then: a release to roll back
//
//   GET /products        GET /products/ID        GET /healthz

import http from 'node:http';

const port = Number(process.env.PORT ?? 8080);
const host = process.env.HOST ?? '127.0.0.1';
const version = process.env.VERSION ?? 'v1';
if (!['v1', 'v2', 'v3'].includes(version)) {
	console.error(`products: VERSION is ${version}, expected v1, v2 or v3`);
	process.exit(2);
}

const catalogue = [
	{ id: 'blanket', name: 'Wool blanket', about: 'Woven in twill, 130 × 180 cm.', price: 8900 },
	{ id: 'scarf', name: 'Merino scarf', about: 'Two colours, one long afternoon.', price: 4500 },
	{ id: 'rug', name: 'Cotton rug', about: 'Flat weave for busy floors.', price: 12900 },
	{ id: 'towel', name: 'Linen towel', about: 'Dries quickly, lasts for years.', price: 1900 },
	{ id: 'cushion', name: 'Cushion cover', about: 'Basket weave, 50 × 50 cm.', price: 2900 },
	{ id: 'shuttle', name: 'Shuttle', about: 'Beech, for those who weave themselves.', price: 2400 },
];
const stock = { blanket: 12, scarf: 41, rug: 3, towel: 120, cushion: 18, shuttle: 7 };

function release(product) {
	if (version === 'v1') return product;
	const sale = { ...product, was: product.price, price: Math.round((product.price * 0.85) / 10) * 10 };
	return version === 'v2' ? sale : { ...sale, stock: stock[product.id] };
}

function answer(request) {
	const path = new URL(request.url ?? '/', 'http://products').pathname;
	if (request.method !== 'GET') return [405, { error: `${request.method} is not supported` }];
	if (path === '/healthz') return [200, { ok: true }];
	if (version === 'v3' && Math.random() < 0.05) return [500, { error: 'stock query failed' }];
	if (path === '/products') return [200, { version, products: catalogue.map(release) }];
	const product = catalogue.find((candidate) => path === `/products/${candidate.id}`);
	return product === undefined ? [404, { error: `nothing at ${path}` }] : [200, release(product)];
}

/** Milliseconds that the query takes: a little, more for v3, and a tail. */
function latencyMs() {
	const base = version === 'v3' ? 40 : 2;
	return base + Math.random() * base + (Math.random() < 0.01 ? 10 * base : 0);
}

const server = http.createServer((request, response) => {
	const [status, body] = answer(request);
	const text = JSON.stringify(body);
	const reply = () => {
		response.writeHead(status, {
			'content-type': 'application/json',
			'content-length': Buffer.byteLength(text),
			'x-served-by': `products-${version}`,
		});
		response.end(text);
	};
	if (request.url === '/healthz') reply();
	else setTimeout(reply, latencyMs());
});
server.keepAliveTimeout = 75_000;
server.listen(port, host, () => console.log(`products ${version} listens on ${host}:${port}`));
process.on('SIGTERM', () => {
	server.close(() => process.exit(0));
	server.closeIdleConnections();
});
