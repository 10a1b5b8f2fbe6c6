// Header fields as one flat array: name, value, name, value, …; names in lower case, values
// trimmed. Cheap to pass on, and the order of the wire is kept. Linear search is right for the
// dozen fields that a message has (the codecs bound their number).

export type HeaderList = string[];

/** The first value, or undefined. `name` in lower case. */
export function getHeader(headers: HeaderList, name: string): string | undefined {
	for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return headers[i + 1];
	return undefined;
}

/** All values joined by a comma, as RFC 9110 §5.3 allows; undefined when there is none. */
export function getHeaderJoined(headers: HeaderList, name: string): string | undefined {
	let joined: string | undefined;
	for (let i = 0; i < headers.length; i += 2) {
		if (headers[i] !== name) continue;
		joined = joined === undefined ? headers[i + 1] : `${joined},${headers[i + 1]}`;
	}
	return joined;
}

export function hasHeader(headers: HeaderList, name: string): boolean {
	return getHeader(headers, name) !== undefined;
}

/** Leaves exactly one field of that name, in the place of the first. */
export function setHeader(headers: HeaderList, name: string, value: string): void {
	for (let i = 0; i < headers.length; i += 2) {
		if (headers[i] !== name) continue;
		headers[i + 1] = value;
		removeHeaderFrom(headers, name, i + 2);
		return;
	}
	headers.push(name, value);
}

/** Removes all fields of that name; says whether there was one. */
export function removeHeader(headers: HeaderList, name: string): boolean {
	return removeHeaderFrom(headers, name, 0);
}

function removeHeaderFrom(headers: HeaderList, name: string, from: number): boolean {
	let kept = from;
	for (let i = from; i < headers.length; i += 2) {
		if (headers[i] === name) continue;
		if (kept !== i) {
			headers[kept] = headers[i]!;
			headers[kept + 1] = headers[i + 1]!;
		}
		kept += 2;
	}
	const removed = kept !== headers.length;
	headers.length = kept;
	return removed;
}
