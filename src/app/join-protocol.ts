// What `weft run` and the control plane say to each other over the join socket, once per start of a
// sidecar: `POST /weft/v1/join`. Both sides check it by these schemas.

import { z } from 'zod';
import { PROGRAM_PROTOCOLS } from '../xds/node-metadata.ts';
import { SERVICE_ACCOUNT_NAME, WORKLOAD_LABEL } from './names.ts';

export const JOIN_PATH = '/weft/v1/join';
/** Both ways; a mesh of thousands of services fits. */
export const JOIN_BODY_BYTES_MAX = 4 * 1024 * 1024;

const port = z.int().min(1).max(65535);
/** Also the name of a directory. */
const instanceName = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,131}[a-z0-9])?$/, { error: 'a DNS name' });
const label = z.string().regex(WORKLOAD_LABEL, { error: 'lower-case letters, digits and "-", at most 63' });

export const joinRequestSchema = z.strictObject({
	/** What it is an instance of; also of a client that listens on nothing. */
	service: label,
	version: z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,30}[a-z0-9])?$/, {
		error: 'lower-case letters, digits, "." and "-", at most 32',
	}),
	namespace: label,
	serviceAccount: z.string().regex(SERVICE_ACCOUNT_NAME, { error: 'a DNS name' }),
	ports: z.array(z.strictObject({ port, protocol: z.enum(PROGRAM_PROTOCOLS) })).max(64),
	/** Name of the group of instances that are alike. Default `SERVICE-VERSION`. */
	workload: z
		.string()
		.regex(/^[a-z0-9]([a-z0-9.-]{0,126}[a-z0-9])?$/)
		.optional(),
	/** Asked for again by a sidecar that restarts: the instance's name and index stay what they were. */
	instance: z.strictObject({ name: instanceName, index: z.int().min(1).max(4095) }).optional(),
});

export const joinAnswerSchema = z.object({
	/** Good once, for five minutes. */
	token: z.string().min(1),
	/** `reviews-v2-7f3a` */
	instance: instanceName,
	/** 1…4095; its block of addresses is `127.128.0.0 + (index << 11)`. */
	instanceIndex: z.int().min(1).max(4095),
	/** Where its sidecar takes mesh traffic. */
	address: z.ipv4(),
	trustDomain: z.string().min(1),
	rootsPem: z.string().min(1),
	xds: z.object({ address: z.string().min(1), port, serverName: z.string().min(1) }),
	services: z.array(z.object({ host: z.string().min(1), address: z.string(), ports: z.array(port) })),
});

export const joinRefusalSchema = z.object({ message: z.string() });

export type JoinRequest = z.output<typeof joinRequestSchema>;
export type JoinAnswer = z.output<typeof joinAnswerSchema>;
