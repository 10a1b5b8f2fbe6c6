// @peculiar/x509 and the polyfill that must stand before it loads. CommonJS on purpose: Bun runs
// CommonJS imports of a module graph as their files arrive, so that two `import` statements may run in
// either order (seen: a start in three failed); `require` runs in the order written, in a bundle too.

require('reflect-metadata');
module.exports = require('@peculiar/x509');
