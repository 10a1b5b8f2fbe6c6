// What @peculiar/x509 wants in place before it loads. A file of its own because a bundle runs a
// CommonJS import where the importing file's body stands: in the same file that would be too late.

import 'reflect-metadata';
