// google.protobuf.Duration as the milliseconds that everything here counts in.

import type { Duration } from '@bufbuild/protobuf/wkt';

/** Null when it is not set. Fractions of a millisecond stay. */
export function durationMs(duration: Duration | undefined): number | null {
	return duration === undefined ? null : Number(duration.seconds) * 1000 + duration.nanos / 1_000_000;
}
