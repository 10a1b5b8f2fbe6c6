// What OpenSSL's client and a real Envoy agree on with weft: versions, suites, and which of several
// certificates is shown. Both proxies run the same bootstrap.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeWithPeers } from '../support/peers.ts';
import { DIRECT, DOWNSTREAM_TLS, httpsListener, startBoth } from '../support/tls-proxies.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-tls-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function openssl(args: readonly string[], input = ''): Promise<string> {
	const child = Bun.spawn(['openssl', ...args], { stdin: new Blob([input]), stdout: 'pipe', stderr: 'pipe' });
	const [out, error] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
	await child.exited;
	return out + error;
}

async function certificate(name: string, kind: 'rsa' | 'ec', dns: string, password = '') {
	const file = (end: string) => join(directory, `${name}.${end}`);
	const key = kind === 'rsa' ? ['rsa:2048'] : ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
	const protection = password === '' ? ['-nodes'] : ['-passout', `pass:${password}`];
	await openssl([
		...['req', '-x509', '-newkey', ...key, ...protection, '-keyout', file('key'), '-out', file('pem')],
		...['-days', '2', '-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${dns}`],
	]);
	return {
		certificate_chain: { inline_string: readFileSync(file('pem'), 'utf8') },
		private_key: { inline_string: readFileSync(file('key'), 'utf8') },
		...(password === '' ? {} : { password: { inline_string: password } }),
	};
}

describeWithPeers(['envoy', 'openssl'], 'openssl s_client', () => {
	let both: Awaited<ReturnType<typeof startBoth>>;
	const contexts = new Map<string, object>();

	beforeAll(async () => {
		const rsa = await certificate('a-rsa', 'rsa', 'a.example');
		const ec = await certificate('a-ec', 'ec', 'a.example');
		const wild = await certificate('wild', 'ec', '*.example', 'secret');
		const params = (tls_params: object, certificates = [ec]) => ({
			common_tls_context: { tls_certificates: certificates, tls_params },
		});
		contexts.set('several', params({}, [rsa, ec, wild]));
		contexts.set('several, scanned', { ...params({}, [wild, rsa, ec]), full_scan_certs_on_sni_mismatch: true });
		contexts.set('at most 1.2', params({ tls_maximum_protocol_version: 'TLSv1_2' }));
		contexts.set('at least 1.3', params({ tls_minimum_protocol_version: 'TLSv1_3' }));
		contexts.set('one suite', params({ cipher_suites: ['ECDHE-ECDSA-AES256-GCM-SHA384'] }));
		contexts.set(
			'suites of RSA',
			params({ cipher_suites: ['[ECDHE-RSA-AES256-GCM-SHA384|ECDHE-RSA-CHACHA20-POLY1305]', 'AES128-SHA'] }, [rsa]),
		);
		contexts.set('one group', params({ ecdh_curves: ['P-384'] }));
		contexts.set('one signature', params({ signature_algorithms: ['rsa_pss_rsae_sha256'] }, [rsa]));
		both = await startBoth(
			(portOf) =>
				[...contexts].map(([name, context]) =>
					httpsListener(name, portOf(name), DIRECT, {
						name: 'tls',
						typed_config: { '@type': DOWNSTREAM_TLS, ...context },
					}),
				),
			[...contexts.keys()],
			{},
		);
	}, 60_000);
	afterAll(() => Promise.all([both?.weft.stop(), both?.envoy.stop()]));

	const CLIENTS: Readonly<Record<string, readonly string[]>> = {
		plain: ['-noservername'],
		'a.example': ['-servername', 'a.example'],
		'b.example': ['-servername', 'b.example'],
		'other.test': ['-servername', 'other.test'],
		'a.example with RSA only': ['-servername', 'a.example', '-sigalgs', 'RSA-PSS+SHA256'],
		'no name with RSA only': ['-noservername', '-sigalgs', 'RSA-PSS+SHA256'],
		'1.2': ['-noservername', '-tls1_2'],
		'1.2 with ECDSA': ['-noservername', '-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256'],
		'1.2 with RSA': ['-servername', 'a.example', '-tls1_2', '-cipher', 'ECDHE-RSA-AES256-GCM-SHA384'],
		'1.2 without forward secrecy': ['-noservername', '-tls1_2', '-cipher', 'AES128-SHA'],
		'1.2 with CBC': ['-noservername', '-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-SHA'],
		'1.3': ['-noservername', '-tls1_3'],
		'P-256 only': ['-noservername', '-groups', 'P-256'],
	};

	test('version, suite and certificate are the same as with Envoy', async () => {
		const agreed = async (port: number, args: readonly string[]): Promise<string> => {
			const text = await openssl(['s_client', '-connect', `127.0.0.1:${port}`, ...args]);
			const line = /New, (\S+), Cipher is (\S+)/.exec(text);
			const subject = /subject=(.*)/.exec(text)?.[1] ?? 'no certificate';
			return line === null || line[2] === '(NONE)' ? 'refused' : `${line[1]} ${line[2]} ${subject}`;
		};
		const table: Record<'weft' | 'envoy', Record<string, string>> = { weft: {}, envoy: {} };
		for (const context of contexts.keys()) {
			for (const [client, args] of Object.entries(CLIENTS)) {
				for (const name of ['weft', 'envoy'] as const) {
					table[name][`${context} / ${client}`] = await agreed(both[name].port(context), args);
				}
			}
		}
		expect(table.weft).toEqual(table.envoy);
		expect(Object.values(table.weft).filter((one) => one === 'refused').length).toBeGreaterThan(20);
	}, 120_000);
});
