import { expect, test } from 'bun:test';
import { createServer } from 'node:net';
import { blocksInUse, blocksListenedOn } from './blocks-in-use.ts';

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const row = (local: string, state: string) => `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000\n`;

test('a block is in use when something listens on any of its addresses', () => {
	expect([...blocksListenedOn(HEAD + row('0008807F:1F90', '0A'))]).toEqual([1]);
	expect([...blocksListenedOn(HEAD + row('FF0F807F:1F90', '0A') + row('0010807F:0050', '0A'))]).toEqual([1, 2]);
});

test('connections, other loopback addresses and all else count for nothing', () => {
	const table = HEAD + row('0008807F:1F90', '01') + row('0100007F:1F90', '0A') + row('00000000:0016', '0A') + 'x\n\n';
	expect([...blocksListenedOn(table)]).toEqual([]);
});

test('a listener of this machine is seen', async () => {
	// The last block, which no mesh reaches.
	const server = createServer();
	await new Promise<void>((resolve) => server.listen(0, '127.255.248.9', resolve));
	expect(blocksInUse().has(4095)).toBe(true);
	server.close();
});
