// What the real command says when it cannot do what it was asked for: one clear line and a code of
// its own for each kind of failure (docs/cli.md). What manifests may have wrong is in cli/main.spec.ts.

import { afterAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { weftOutput } from '../support/weft-process.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-errors-test-'));
const nowhere = join(directory, 'nowhere');
const manifest = join(directory, 'service.yaml');
writeFileSync(manifest, '{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}');
const LIMIT_MS = 30_000;

afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('without a control plane', () => {
	test.each([
		[['get', 'svc']],
		[['apply', '-f', manifest]],
		[['describe', 'svc', 'a']],
		[['delete', 'svc', 'a']],
		[['status']],
		[['top', '--once']],
		[['run', '--service', 'a', '--', 'true']],
	])(
		'weft %p is code 3 and says what to do',
		async ([command, ...rest]) => {
			const { exitCode, output } = await weftOutput(command!, '--data', nowhere, ...rest);
			expect(exitCode).toBe(3);
			expect(output).toContain(nowhere);
			expect(output).toEndWith('start it with: weft up\n');
		},
		LIMIT_MS,
	);
});

describe('weft proxy', () => {
	const bootstrap = (port: number, more = '') => `
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: c${more}}
  clusters: [{name: c, type: STATIC, connect_timeout: 1s}]
`;

	function file(text: string): string {
		const path = join(directory, 'bootstrap.yaml');
		writeFileSync(path, text);
		return path;
	}

	test(
		'a port in use is one line and code 1',
		async () => {
			const other = createServer();
			await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
			const { port } = other.address() as { port: number };
			const { exitCode, output } = await weftOutput('proxy', '-l', 'warning', '-c', file(bootstrap(port)));
			expect(exitCode).toBe(1);
			expect(output).toBe(`weft proxy: 127.0.0.1:${port} is already in use\n`);
			other.close();
		},
		LIMIT_MS,
	);

	test(
		'--mode validate: what is right is OK, an unknown field is named with its path, code 2',
		async () => {
			const good = await weftOutput('proxy', '--mode', 'validate', '-l', 'debug', '-c', file(bootstrap(1)));
			// Nothing of listeners added and removed: nothing was.
			expect(good).toEqual({ exitCode: 0, output: `configuration '${directory}/bootstrap.yaml' OK\n` });
			const bad = await weftOutput('proxy', '--mode', 'validate', '-c', file(bootstrap(1, ', nonsense: 1')));
			expect(bad.exitCode).toBe(2);
			expect(bad.output).toMatch(
				/listeners\[0\]\.filter_chains\[0\]\.filters\[0\]\.typed_config\.nonsense: found an unknown/,
			);
		},
		LIMIT_MS,
	);

	test(
		'no bootstrap, and one that is not there',
		async () => {
			const none = await weftOutput('proxy');
			expect(none).toEqual({
				exitCode: 2,
				output: 'weft proxy: a bootstrap is needed: -c FILE or --config-yaml TEXT\n',
			});
			const missing = await weftOutput('proxy', '-c', nowhere);
			expect(missing).toEqual({ exitCode: 2, output: `weft proxy: bootstrap ${nowhere}: no such file\n` });
		},
		LIMIT_MS,
	);
});
