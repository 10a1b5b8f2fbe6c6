// KIND as typed on the command line: a kind, plural, singular or short name, or several with commas.

import { ExitError } from '../app/exit-error.ts';
import { type AnyKind, findKindByName, KINDS, suggestKindName } from '../config/kinds.ts';
import { EXIT_INVALID } from './exit-codes.ts';

/** `all` is every kind that is in namespaces. @throws ExitError */
export function parseKinds(text: string): AnyKind[] {
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

/** `service/reviews`. */
export function displayName(kind: AnyKind, name: string): string {
	return `${kind.singular}/${name}`;
}
