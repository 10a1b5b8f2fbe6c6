// The indexes of the model: many-to-many pairs of keys, and labels against selectors.

const NONE: ReadonlySet<string> = new Set();

/** Pairs of keys, looked up by the left one. The sets it gives out are live: copy before changing the index. */
export class PairIndex {
	private readonly byLeft = new Map<string, Set<string>>();

	set(left: string, right: string, present: boolean): void {
		const found = this.byLeft.get(left);
		if (present) {
			if (found === undefined) this.byLeft.set(left, new Set([right]));
			else found.add(right);
		} else if (found?.delete(right) && found.size === 0) this.byLeft.delete(left);
	}

	get(left: string): ReadonlySet<string> {
		return this.byLeft.get(left) ?? NONE;
	}
}

/**
 * Finds candidates for "this selector matches these labels" within a namespace, from either side. What it
 * finds still has to be compared label by label.
 */
export class LabelIndex {
	private readonly pairs = new PairIndex();

	/** An object with labels: under each of them. */
	setLabels(namespace: string, labels: Readonly<Record<string, string>>, key: string, present: boolean): void {
		for (const name in labels) this.pairs.set(pairKey(namespace, name, labels[name]!), key, present);
	}

	/** An object with a selector: under one label of it, which is enough to be found by whoever it matches. */
	setSelector(namespace: string, selector: Readonly<Record<string, string>>, key: string, present: boolean): void {
		const name = firstName(selector);
		if (name !== null) this.pairs.set(pairKey(namespace, name, selector[name]!), key, present);
	}

	/** Of objects put in by `setLabels`: those that have the rarest label of the selector. */
	candidates(namespace: string, selector: Readonly<Record<string, string>>): ReadonlySet<string> {
		let fewest: ReadonlySet<string> | null = null;
		for (const name in selector) {
			const found = this.pairs.get(pairKey(namespace, name, selector[name]!));
			if (fewest === null || found.size < fewest.size) fewest = found;
		}
		return fewest ?? NONE;
	}

	/** Of objects put in by `setSelector`: those whose selector may match the labels. */
	anyOf(namespace: string, labels: Readonly<Record<string, string>>): ReadonlySet<string> {
		const found = new Set<string>();
		for (const name in labels)
			for (const key of this.pairs.get(pairKey(namespace, name, labels[name]!))) found.add(key);
		return found;
	}
}

function firstName(selector: Readonly<Record<string, string>>): string | null {
	let first: string | null = null;
	for (const name in selector) if (first === null || name < first) first = name;
	return first;
}

function pairKey(namespace: string, name: string, value: string): string {
	return `${namespace}\u0000${name}\u0000${value}`;
}
