// Headers to remove and to add, as routes and their levels say it, compiled to one list of steps.

import {
	HeaderValueOption_HeaderAppendAction as AppendAction,
	type HeaderValueOption,
} from '../../generated/envoy/config/core/v3/base_pb.ts';
import { type HeaderList, hasHeader, removeHeader, setHeader } from '../../http/headers.ts';
import { ConfigError } from '../../std/errors.ts';
import type { StreamInfo } from '../stream-info.ts';
import { Template } from './template.ts';

interface RemoveStep {
	readonly kind: 'remove';
	readonly name: string;
}

interface AddStep {
	readonly kind: 'add';
	readonly name: string;
	readonly value: Template;
	readonly action: AppendAction;
	readonly keepEmptyValue: boolean;
}

type Step = RemoveStep | AddStep;
/** In the order in which they are applied. */
export type HeaderMutations = readonly Step[];

/** One level: removals come before additions, as in Envoy. @throws ConfigError */
export function compileHeaderMutations(
	add: readonly HeaderValueOption[],
	remove: readonly string[],
	object: string,
	addField: string,
	removeField: string,
): HeaderMutations {
	const steps: Step[] = [];
	remove.forEach((name, index) => {
		steps.push({ kind: 'remove', name: checkedName(name, object, `${removeField}[${index}]`) });
	});
	add.forEach((option, index) => {
		const field = `${addField}[${index}]`;
		const name = checkedName(option.header?.key ?? '', object, `${field}.header.key`);
		const text = option.header?.value ?? '';
		if (/[\r\n\0]/.test(text)) {
			throw new ConfigError({ object, field: `${field}.header.value`, expected: 'a value without line breaks' });
		}
		let action = option.appendAction;
		if (option.append !== undefined) {
			if (action !== AppendAction.APPEND_IF_EXISTS_OR_ADD) {
				throw new ConfigError({ object, field: `${field}.append`, expected: 'not to be set beside append_action' });
			}
			if (!option.append) action = AppendAction.OVERWRITE_IF_EXISTS_OR_ADD;
		}
		steps.push({
			kind: 'add',
			name,
			value: Template.parse(text, object, `${field}.header.value`),
			action,
			keepEmptyValue: option.keepEmptyValue,
		});
	});
	return steps;
}

/** Null when there is nothing to do at any level, so that the hot path asks one question. */
export function joinHeaderMutations(...levels: readonly HeaderMutations[]): HeaderMutations | null {
	const steps = levels.flat();
	return steps.length === 0 ? null : steps;
}

export function applyHeaderMutations(mutations: HeaderMutations, headers: HeaderList, info: StreamInfo): void {
	for (let i = 0; i < mutations.length; i++) {
		const step = mutations[i]!;
		if (step.kind === 'remove') {
			removeHeader(headers, step.name);
			continue;
		}
		const value = withoutLineBreaks(step.value.render(info, ''));
		if (value === '' && !step.keepEmptyValue) continue;
		switch (step.action) {
			case AppendAction.APPEND_IF_EXISTS_OR_ADD:
				headers.push(step.name, value);
				break;
			case AppendAction.ADD_IF_ABSENT:
				if (!hasHeader(headers, step.name)) headers.push(step.name, value);
				break;
			case AppendAction.OVERWRITE_IF_EXISTS_OR_ADD:
				setHeader(headers, step.name, value);
				break;
			case AppendAction.OVERWRITE_IF_EXISTS:
				if (hasHeader(headers, step.name)) setHeader(headers, step.name, value);
				break;
		}
	}
}

/** What a peer's certificate or a header says must not start a new line. */
function withoutLineBreaks(value: string): string {
	return value.includes('\n') || value.includes('\r') || value.includes('\0') ? value.replace(/[\r\n\0]/g, ' ') : value;
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** The codec's business, or the authority; Envoy refuses to change them as well. */
const FORBIDDEN = new Set(['host', 'connection', 'transfer-encoding', 'content-length', 'upgrade', 'te', 'keep-alive']);

function checkedName(name: string, object: string, field: string): string {
	const lower = name.toLowerCase();
	if (!TOKEN.test(name) || FORBIDDEN.has(lower)) {
		throw new ConfigError({
			object,
			field,
			found: JSON.stringify(name),
			expected: 'the name of a header that is not about the host or the connection',
		});
	}
	return lower;
}
