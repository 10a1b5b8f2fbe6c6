// Of this program, from package.json.

import packageJson from '../../package.json' with { type: 'json' };

export const WEFT_VERSION: string = packageJson.version;
