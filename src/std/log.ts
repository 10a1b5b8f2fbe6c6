// Structured log lines to standard error: `TIME LEVEL COMPONENT message key=value`, or one JSON
// object a line. Never a secret, never a request's body or credentials.

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'critical', 'off'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface LogSink {
	level: LogLevel;
	format: 'text' | 'json';
	/** In every line, for a process that shares its log with others. */
	context: LogFields;
	write(line: string): void;
}

export const logSink: LogSink = {
	level: 'info',
	format: 'text',
	context: {},
	write: (line) => {
		process.stderr.write(`${line}\n`);
	},
};

export class Logger {
	constructor(readonly component: string) {}

	/** Ask before building anything costly. */
	enabled(level: LogLevel): boolean {
		return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(logSink.level);
	}

	debug(message: string, fields?: LogFields): void {
		this.log('debug', message, fields);
	}

	info(message: string, fields?: LogFields): void {
		this.log('info', message, fields);
	}

	warning(message: string, fields?: LogFields): void {
		this.log('warning', message, fields);
	}

	error(message: string, fields?: LogFields): void {
		this.log('error', message, fields);
	}

	private log(level: LogLevel, message: string, fields: LogFields = {}): void {
		if (!this.enabled(level)) return;
		const time = new Date().toISOString();
		const { context } = logSink;
		if (logSink.format === 'json') {
			logSink.write(JSON.stringify({ time, level, component: this.component, message, ...fields, ...context }));
			return;
		}
		const text = `${time} ${level.padEnd(7)} ${this.component}: ${withoutControls(message)}`;
		logSink.write(text + fieldsText(fields) + fieldsText(context));
	}
}

function fieldsText(fields: LogFields): string {
	let text = '';
	for (const key in fields) {
		const value = fields[key];
		if (value !== undefined) text += ` ${key}=${typeof value === 'string' ? quoteIfNeeded(value) : value}`;
	}
	return text;
}

function quoteIfNeeded(value: string): string {
	return /^[\w.:/@~+-]+$/.test(value) ? value : withoutControls(JSON.stringify(value));
}

/** What came over the wire must neither begin a line of its own nor speak to the terminal. */
function withoutControls(text: string): string {
	return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, (character) => {
		if (character === '\n') return '\\n';
		return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
	});
}
