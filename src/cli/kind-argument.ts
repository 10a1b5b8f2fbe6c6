// KIND as typed on the command line: a kind, plural, singular or short name, or several with commas.

import { ExitError } from '../app/exit-error.ts';
import { type AnyKind, findKindByName, KINDS, suggestKindName } from '../config/kinds.ts';
import { EXIT_INVALID } from './exit-codes.ts';

/** `all` is every kind that is in namespaces. @throws ExitError */
function parseKinds(text: string): AnyKind[] {
	if (text === 'all') return KINDS.filter((kind) => kind.namespaced);
	return text.split(',').map(parseKind);
}

/** @throws ExitError */
export function parseKind(text: string): AnyKind {
	const kind = findKindByName(text);
	if (kind !== null) return kind;
	const meant = suggestKindName(text);
	const hint = meant === null ? '' : ` (did you mean "${meant}"?)`;
	const known = KINDS.map((one) => one.plural).join(', ');
	throw new ExitError(EXIT_INVALID, `unknown kind ${JSON.stringify(text)}, expected one of ${known}${hint}`);
}

/** Objects of one kind; no names: all of them. */
export interface Wanted {
	readonly kind: AnyKind;
	readonly names: string[];
}

/** What `KIND[,KIND…] [NAME…]` or `KIND/NAME…`, whose kinds may differ, asks for. @throws ExitError */
export function parseWanted(kindText: string, rest: readonly string[]): Wanted[] {
	if (!kindText.includes('/')) {
		const slashed = rest.find((name) => name.includes('/'));
		if (slashed !== undefined) {
			const found = JSON.stringify(slashed);
			throw new ExitError(EXIT_INVALID, `found ${found} as a name, expected KIND NAME… or KIND/NAME… throughout`);
		}
		return parseKinds(kindText).map((kind) => ({ kind, names: [...rest] }));
	}
	const wanted: Wanted[] = [];
	for (const text of [kindText, ...rest]) {
		const [kindPart = '', name = '', ...more] = text.split('/');
		if (name === '' || more.length > 0) {
			throw new ExitError(EXIT_INVALID, `found ${JSON.stringify(text)}, expected KIND/NAME`);
		}
		const kind = parseKind(kindPart);
		const same = wanted.find((one) => one.kind === kind);
		if (same === undefined) wanted.push({ kind, names: [name] });
		else same.names.push(name);
	}
	return wanted;
}

/** `service/reviews`. */
export function displayName(kind: AnyKind, name: string): string {
	return `${kind.singular}/${name}`;
}
