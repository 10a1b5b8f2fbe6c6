// How this program is started again: the compiled binary is one file, a checkout is the runtime with
// the entry script.

/** The words before a command's name, `weft` as one would type it. */
export function selfCommand(): readonly string[] {
	return isCompiled() ? [process.execPath] : [process.execPath, Bun.main];
}

/** Bun keeps the sources of a compiled binary in a file system of its own. */
function isCompiled(): boolean {
	return Bun.main.startsWith('/$bunfs/');
}
