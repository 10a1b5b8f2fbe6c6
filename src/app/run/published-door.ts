// A door for people (`--publish`) is looked at before anything is started for it: the sidecar, which
// opens it when the control plane says so, could only report to `weft status` that it is in use.

import { createServer } from 'node:net';
import { errorMessage } from '../../std/errors.ts';
import { ExitError } from '../exit-error.ts';

/** @throws ExitError when it is in use, or may not be had */
export async function checkPublishable(address: string, port: number): Promise<void> {
	const server = createServer();
	try {
		await new Promise<void>((resolve, reject) => {
			server.once('error', reject);
			server.listen({ host: address, port, exclusive: true }, resolve);
		});
	} catch (error) {
		const inUse = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
		const why = inUse ? 'it is in use' : errorMessage(error);
		throw new ExitError(1, `cannot publish on ${address}:${port}: ${why} (choose another by --publish)`, {
			cause: error,
		});
	} finally {
		await new Promise((resolve) => server.close(resolve));
	}
}
