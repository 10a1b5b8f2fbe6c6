// The static layers of a bootstrap's `layered_runtime`: the few keys that weft reads, as numbers.
// A later layer wins over an earlier one. A key that is not read is refused: it would promise something.

import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { LayeredRuntime } from '../../generated/envoy/config/bootstrap/v3/bootstrap_pb.ts';
import { ConfigError, type ConfigErrorDetail } from '../../std/errors.ts';

export type RuntimeValues = ReadonlyMap<string, number>;

const OBJECT = 'bootstrap';

/** `isKnown`: of a key, its parts joined by dots. @throws ConfigError */
export function compileRuntime(message: LayeredRuntime | undefined, isKnown: (key: string) => boolean): RuntimeValues {
	const values = new Map<string, number>();
	const details: ConfigErrorDetail[] = [];
	const read = (value: JsonValue, key: string, field: string): void => {
		if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
			for (const [name, inner] of Object.entries(value as JsonObject)) {
				read(inner, key === '' ? name : `${key}.${name}`, field);
			}
		} else if (!isKnown(key)) {
			details.push({ object: OBJECT, field: `${field}.${key}`, expected: 'it to be absent: weft does not read it' });
		} else {
			// Envoy takes numbers as text, too.
			const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value;
			if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) values.set(key, number);
			else {
				const expected = 'a whole number, 0 or more';
				details.push({ object: OBJECT, field: `${field}.${key}`, found: JSON.stringify(value), expected });
			}
		}
	};
	message?.layers.forEach((layer, index) => {
		if (layer.layerSpecifier.case !== 'staticLayer') return;
		read(layer.layerSpecifier.value, '', `layered_runtime.layers[${index}].static_layer`);
	});
	if (details.length > 0) throw new ConfigError(details);
	return values;
}
