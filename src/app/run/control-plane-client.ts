// What `weft run` asks of the control plane, over its two unix sockets: to join, and to be told of
// Services. HTTP by the runtime's own client; never through a proxy that the environment names.

import type { z } from 'zod';
import { ExitError } from '../exit-error.ts';
import {
	JOIN_BODY_BYTES_MAX,
	JOIN_PATH,
	type JoinAnswer,
	type JoinRequest,
	joinAnswerSchema,
	joinRefusalSchema,
} from '../join-protocol.ts';

export const CONTROL_PLANE_UNREACHABLE = 3;
const JOIN_TIMEOUT_MS = 10_000;

export class ControlPlaneClient {
	constructor(
		private readonly joinSocket: string,
		private readonly apiSocket: string,
	) {}

	/** @throws ExitError 3 when nobody answers, 1 when it was refused */
	async join(request: JoinRequest): Promise<JoinAnswer> {
		let response: Response;
		let text: string;
		try {
			response = await fetch(`http://localhost${JOIN_PATH}`, {
				unix: this.joinSocket,
				method: 'POST',
				headers: { 'content-type': 'application/json' },
				body: JSON.stringify(request),
				signal: AbortSignal.timeout(JOIN_TIMEOUT_MS),
			});
			text = await boundedText(response);
		} catch (error) {
			throw unreachable(this.joinSocket, error);
		}
		if (!response.ok) {
			const refusal = parsed(joinRefusalSchema, text);
			throw new ExitError(1, `the control plane refused: ${refusal?.message ?? `${response.status} ${text.trim()}`}`);
		}
		const answer = parsed(joinAnswerSchema, text);
		if (answer === null)
			throw new ExitError(1, 'the control plane answered what is no join answer; is it of this version?');
		return answer;
	}

	/** A GET on the API's socket. Rejects when nobody answers. */
	get(path: string, signal: AbortSignal): Promise<Response> {
		return fetch(`http://localhost${path}`, { unix: this.apiSocket, signal });
	}
}

function unreachable(socket: string, cause: unknown): ExitError {
	const code = (cause as NodeJS.ErrnoException | null)?.code;
	if (code === 'EACCES' || code === 'EPERM') {
		return new ExitError(CONTROL_PLANE_UNREACHABLE, `the control plane's socket ${socket} belongs to another user`, {
			cause,
		});
	}
	return new ExitError(CONTROL_PLANE_UNREACHABLE, `no control plane answers at ${socket}\nstart it with: weft up`, {
		cause,
	});
}

async function boundedText(response: Response): Promise<string> {
	const declared = Number(response.headers.get('content-length') ?? 0);
	if (declared > JOIN_BODY_BYTES_MAX) throw new Error('the answer is too long');
	return response.text();
}

function parsed<T>(schema: z.ZodType<T>, text: string): T | null {
	try {
		return schema.parse(JSON.parse(text));
	} catch {
		return null;
	}
}
