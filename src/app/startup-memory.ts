// Memory that only the start needed. Reading the configuration takes several times what is kept of it,
// and the code that ran once for it (modules, parsers, compiled functions) is a third of an idle sidecar.
// What is needed again is made again, on first use.

/**
 * Gives it back to the system; takes some 30 ms, once, before there is traffic. The collection before makes
 * the code of what is gone collectable, the one after returns the pages.
 */
export function releaseStartupMemory(): void {
	Bun.gc(true);
	Bun.shrink();
	Bun.gc(true);
}
