import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificateAuthority } from '../identity/certificate-authority.ts';
import { VirtualClock } from '../std/clock.ts';
import { GrpcServer } from './grpc-server.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-age-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('a connection does not last for ever on the certificate that it once showed', async () => {
	const clock = new VirtualClock();
	const authority = await CertificateAuthority.open({ directory: join(directory, 'ca'), clock });
	const server = new GrpcServer({ authority, clock, address: '127.0.0.1', port: 0, connectionAgeMsMax: 50 });
	const port = await server.start();
	const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
	session.on('error', () => {});
	await new Promise<void>((resolve) => session.once('goaway', () => resolve()));
	session.destroy();
	await server.stop();
	expect(port).toBeGreaterThan(0);
});
