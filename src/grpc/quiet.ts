// The gRPC library says nothing by itself: what fails there comes back as an error, and is told once, in our words.

import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js';

export function quietGrpc(): void {
	setLogVerbosity(logVerbosity.NONE);
}
