// Certificates that are files: replaced while they are in use.

import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromJson, type JsonValue, toBinary } from '@bufbuild/protobuf';
import { SecretSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { DownstreamTlsContextSchema } from '../../generated/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import { TestAuthority, type TestCertificate } from '../../net/testing-certificates.ts';
import { MetricRegistry } from '../../telemetry/registry.ts';
import type { ResourceSubscriber } from '../../xds/discovery-client.ts';
import { ConfigSources } from '../config-source.ts';
import { SecretManager } from './secret-manager.ts';
import { compileDownstreamTls } from './tls-context.ts';
import { SecretMetrics } from './tls-stats.ts';

const HOUR_MS = 3_600_000;
let authority: TestAuthority;
let first: TestCertificate;
let second: TestCertificate;
let expired: TestCertificate;
const folder = mkdtempSync(join(tmpdir(), 'weft-secret-files-'));
const chainFile = join(folder, 'tls.crt');
const keyFile = join(folder, 'tls.key');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(async () => {
	authority = await TestAuthority.create();
	[first, second] = await Promise.all([authority.issue(), authority.issue()]);
	expired = await authority.issue({ notBeforeMs: Date.now() - 2 * HOUR_MS, notAfterMs: Date.now() - HOUR_MS });
});

function put(file: string, text: string): void {
	writeFileSync(`${file}.new`, text);
	renameSync(`${file}.new`, file);
}

function putPair(pair: TestCertificate): void {
	put(chainFile, pair.certificatePem);
	put(keyFile, pair.privateKeyPem);
}

function setUp() {
	const registry = new MetricRegistry();
	let subscriber: ResourceSubscriber | null = null;
	const sources = new ConfigSources(() => {
		throw new Error('no files of resources here');
	});
	sources.useAds({
		subscribe: (_typeUrl, _names, given) => {
			subscriber = given;
			return { setNames: () => {}, close: () => {} };
		},
	});
	const secrets = new SecretManager(sources, null, () => Date.now(), new SecretMetrics(registry));
	const count = (name: string): number =>
		[...registry.all()]
			.flatMap((family) => [...family.series()].map((one) => ({ family, one })))
			.filter(({ family }) => family.name === name)
			.reduce((sum, { one }) => sum + ('value' in one.instrument ? one.instrument.value : 0), 0);
	return { secrets, count, give: (json: JsonValue) => giveTo(subscriber!, json) };
}

function giveTo(subscriber: ResourceSubscriber, json: JsonValue): string | null {
	const value = toBinary(SecretSchema, fromJson(SecretSchema, json));
	return subscriber.onUpdate({ updated: [{ name: 'cert', version: '1', value }], removed: [] });
}

const files = { certificate_chain: { filename: chainFile }, private_key: { filename: keyFile } };

async function eventually(holds: () => boolean): Promise<void> {
	while (!holds()) await Bun.sleep(5);
}

test('files that a secret of SDS names are followed, and what does not fit changes nothing', async () => {
	putPair(first);
	const { secrets, count, give } = setUp();
	const json = {
		common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'cert', sds_config: { ads: {} } }] },
	};
	const tls = compileDownstreamTls(fromJson(DownstreamTlsContextSchema, json as JsonValue), secrets, 'l', 'tls');
	expect(give({ name: 'cert', tls_certificate: files })).toBeNull();
	expect(tls.current()?.certificateChainPem).toBe(first.certificatePem);

	// A key that does not fit, an expired pair, nonsense: each is counted.
	put(keyFile, second.privateKeyPem);
	await eventually(() => count('envoy_sds_update_rejected') === 1);
	expect(tls.current()?.certificateChainPem).toBe(first.certificatePem);
	putPair(expired);
	await eventually(() => count('envoy_sds_update_rejected') >= 2);
	expect(tls.current()?.certificateChainPem).toBe(first.certificatePem);

	putPair(second);
	await eventually(() => tls.current()?.certificateChainPem === second.certificatePem);
	expect(tls.current()?.privateKeyPem).toBe(second.privateKeyPem);
	tls.close();
	secrets.close();
}, 30_000);

test('those of a context itself are followed with watched_directory', async () => {
	putPair(first);
	const { secrets } = setUp();
	const json = { common_tls_context: { tls_certificates: [{ ...files, watched_directory: { path: folder } }] } };
	const tls = compileDownstreamTls(fromJson(DownstreamTlsContextSchema, json as JsonValue), secrets, 'l', 'tls');
	let changes = 0;
	tls.subscribe(() => changes++);
	putPair(second);
	await eventually(() => changes > 0 && tls.current()?.certificateChainPem === second.certificatePem);
	tls.close();
	secrets.close();
}, 30_000);
