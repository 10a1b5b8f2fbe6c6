// Text with `%COMMAND(ARGUMENT):LENGTH%` operators, for access logs and header values, compiled once
// (Envoy "command operators"; `%%` is a percent sign). An unknown command is a ConfigError, so that
// a log never says less than its author believes.

import { ConfigError } from '../../std/errors.ts';
import type { StreamInfo } from '../stream-info.ts';
import { compileOperator, type OperatorValue } from './operators.ts';

type Part = string | ((info: StreamInfo) => OperatorValue);

export class Template {
	/** The text itself when there is no operator in it; null otherwise. */
	readonly constant: string | null;

	private constructor(private readonly parts: readonly Part[]) {
		this.constant =
			parts.length === 0 ? '' : parts.length === 1 && typeof parts[0] === 'string' ? (parts[0] as string) : null;
	}

	/** `object` and `field` say where the text stands, for errors. @throws ConfigError */
	static parse(text: string, object: string, field: string): Template {
		const parts: Part[] = [];
		let literal = '';
		let position = 0;
		while (position < text.length) {
			const percent = text.indexOf('%', position);
			if (percent < 0) break;
			literal += text.slice(position, percent);
			if (text[percent + 1] === '%') {
				literal += '%';
				position = percent + 2;
				continue;
			}
			const match = /^%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::(\d+))?%/.exec(text.slice(percent));
			const operator = match === null ? null : compileOperator(match[1]!, match[2] ?? null);
			if (match === null || operator === null) {
				throw new ConfigError({
					object,
					field,
					found: JSON.stringify(text.slice(percent, percent + 60)),
					expected: 'a command operator that weft knows, as %REQ(HEADER)%, or %% for a percent sign',
				});
			}
			if (literal !== '') parts.push(literal);
			literal = '';
			parts.push(match[3] === undefined ? operator : truncated(operator, Number(match[3])));
			position = percent + match[0].length;
		}
		literal += text.slice(position);
		if (literal !== '') parts.push(literal);
		return new Template(parts);
	}

	/** `missing` stands where an operator has no value: `-` in logs, nothing in headers. */
	render(info: StreamInfo, missing: string): string {
		if (this.constant !== null) return this.constant;
		let text = '';
		const parts = this.parts;
		for (let i = 0; i < parts.length; i++) {
			const part = parts[i]!;
			text += typeof part === 'string' ? part : (part(info) ?? missing);
		}
		return text;
	}

	/** For JSON logs: a lone operator keeps its type, and is null when it has no value. */
	value(info: StreamInfo, missing = '-'): OperatorValue {
		const only = this.parts.length === 1 ? this.parts[0]! : null;
		return only !== null && typeof only !== 'string' ? only(info) : this.render(info, missing);
	}
}

function truncated(operator: (info: StreamInfo) => OperatorValue, length: number) {
	return (info: StreamInfo): OperatorValue => {
		const value = operator(info);
		if (value === null || typeof value === 'number') return value;
		return String(value).slice(0, length);
	};
}
