// The page as HTML text. No script, no outside request.

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const text = (value) => String(value).replace(/[&<>"']/g, (c) => escapes[c]);
const stars = (count) => '★'.repeat(count) + '☆'.repeat(5 - count);
const euros = (cents) => `€${(cents / 100).toFixed(2)}`;

export function renderPage({ account, products, productsVersion, reviews, reviewsFrom, delivery }) {
	const cards = products.map((product) => {
		const own = reviews.filter((review) => review.product === product.id);
		const quotes = own.map(
			(review) =>
				`<li><span class="stars">${stars(review.stars)}</span> ${text(review.text)} <i>${text(review.by)}</i></li>`,
		);
		const was = product.was === undefined ? '' : `<s>${euros(product.was)}</s> `;
		const stock = product.stock === undefined ? '' : `<small>${text(product.stock)} left</small>`;
		return `<article><h2>${text(product.name)}</h2><p>${text(product.about)}</p>
<p class="price">${was}${euros(product.price)} ${stock}</p><ul>${quotes.join('')}</ul></article>`;
	});
	const arrival = delivery === null ? '' : `Delivery in ${text(delivery.days)} days. `;
	return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><title>The Loom: a small shop</title><style>
:root{color-scheme:light dark;--line:#8884}body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
header{display:flex;justify-content:space-between;align-items:baseline;flex-wrap:wrap;border-bottom:1px solid var(--line)}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem;margin:1.5rem 0}
article{border:1px solid var(--line);border-radius:.6rem;padding:1rem}h2{margin:0;font-size:1.1rem}.price{font-weight:600}
ul{padding:0;margin:0;list-style:none;font-size:.9rem}.stars{color:#c80}footer{color:#888;font-size:.85rem}
</style></head><body><header><h1>The Loom</h1><p>Hello ${text(account.name)}, ${text(account.orders)} orders so far.</p></header>
<main>${cards.join('')}</main><footer>${arrival}Catalogue by products ${text(productsVersion)}, reviews by ${text(reviewsFrom)}.</footer></body></html>`;
}
