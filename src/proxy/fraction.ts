// Envoy's `FractionalPercent` as a number from 0 to 1.

import {
	FractionalPercent_DenominatorType as Denominator,
	type FractionalPercent,
} from '../generated/envoy/type/v3/percent_pb.ts';

export function compileFraction(config: FractionalPercent): number {
	return Math.min(1, config.numerator / denominator(config.denominator));
}

function denominator(type: Denominator): number {
	switch (type) {
		case Denominator.MILLION:
			return 1_000_000;
		case Denominator.TEN_THOUSAND:
			return 10_000;
		default:
			return 100;
	}
}
