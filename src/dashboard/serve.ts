// Serves the page out of the binary. Everything that it loads comes from here: the policy allows
// no other source, no inline script or style, no frame around it.

import type { Mount } from '../control/api/api-server.ts';
import { DASHBOARD_ASSETS } from '../generated/dashboard-assets.ts';

const POLICY = [
	"default-src 'none'",
	"script-src 'self'",
	"style-src 'self'",
	"font-src 'self'",
	"img-src 'self'",
	"connect-src 'self'",
	"base-uri 'none'",
	"form-action 'none'",
	"frame-ancestors 'none'",
].join('; ');

const HEADERS = {
	'content-security-policy': POLICY,
	'x-content-type-options': 'nosniff',
	'x-frame-options': 'DENY',
	'referrer-policy': 'no-referrer',
	'cross-origin-opener-policy': 'same-origin',
	'cross-origin-resource-policy': 'same-origin',
};

interface Asset {
	readonly bytes: Uint8Array<ArrayBuffer>;
	readonly headers: Readonly<Record<string, string>>;
	readonly etag: string;
}

const assets = new Map<string, Asset>(
	DASHBOARD_ASSETS.map(({ path, contentType, etag, base64 }) => [
		path,
		{
			bytes: Uint8Array.fromBase64(base64),
			etag: `"${etag}"`,
			headers: {
				...HEADERS,
				'content-type': contentType,
				etag: `"${etag}"`,
				// Names under /assets/ carry a hash of their content.
				'cache-control': path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
			},
		},
	]),
);

/** Paths that `handleDashboard` answers: `/`, `/favicon.svg`, `/assets/…`. */
export const DASHBOARD_PATHS: readonly string[] = [...assets.keys()];

/** For the API server: whatever nothing else takes. */
export const dashboardMount: Mount = { prefix: '/', handle: (request) => handleDashboard(request) };

/** Null when the path is not one of the page's. */
export function handleDashboard(request: Request): Response | null {
	const asset = assets.get(new URL(request.url).pathname);
	if (asset === undefined) return null;
	if (request.method !== 'GET' && request.method !== 'HEAD') {
		return new Response('only GET\n', { status: 405, headers: { ...HEADERS, allow: 'GET, HEAD' } });
	}
	const known = request.headers
		.get('if-none-match')
		?.split(',')
		.some((tag) => tag.trim().replace(/^W\//, '') === asset.etag);
	if (known) return new Response(null, { status: 304, headers: asset.headers });
	return new Response(request.method === 'HEAD' ? null : asset.bytes, { headers: asset.headers });
}
