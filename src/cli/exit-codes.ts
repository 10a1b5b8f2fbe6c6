// What the exit codes of `weft` mean; documented in docs/cli.md. `weft run` besides passes on the
// code of the program that it runs.

export const EXIT_OK = 0;
/** It was tried and failed, or something is unhealthy. */
export const EXIT_FAILED = 1;
/** The command line or a manifest is wrong; nothing was changed. */
export const EXIT_INVALID = 2;
/** The control plane cannot be reached. */
export const EXIT_UNREACHABLE = 3;
/** `--wait` ended before what it waits for came. */
export const EXIT_TIMEOUT = 4;
