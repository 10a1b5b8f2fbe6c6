import { expect, test } from 'bun:test';
import { ConfigError } from '../std/errors.ts';
import { parseManifest } from './manifest.ts';

function parse(text: string) {
	return parseManifest(text, { name: 'shop.yaml', namespace: 'shop' });
}

function errorOf(text: string): string {
	try {
		parse(text);
	} catch (error) {
		if (error instanceof ConfigError) return error.message;
		throw error;
	}
	return '';
}

const SERVICE = 'apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {ports: [{port: 80}]}\n';

test('reads several documents and lists, with the line of each object', () => {
	const items = SERVICE.replace('NAME', 'c').replace(/^/gm, '  ').replace('  ', '- ').trimEnd();
	const text = `# a comment\n${SERVICE.replace('NAME', 'a')}---\n---\n${SERVICE.replace('NAME', 'b')}---\nkind: List\napiVersion: v1\nitems:\n${items}\n`;
	const objects = parse(text);
	expect(objects.map((one) => `${one.source} ${one.object.metadata.namespace}/${one.object.metadata.name}`)).toEqual([
		'shop.yaml:2 shop/a',
		'shop.yaml:8 shop/b',
		'shop.yaml:16 shop/c',
	]);
});

test('JSON is YAML', () => {
	const input = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'x' } };
	expect(parse(JSON.stringify(input))[0]?.input).toEqual(input);
	expect(parse('')).toEqual([]);
});

test('collects the errors of all documents', () => {
	const message = errorOf(`${SERVICE.replace('NAME', 'A')}---\n${SERVICE.replace('80', '0')}`);
	expect(message.split('\n')).toHaveLength(3);
	expect(message).toContain('shop.yaml:1: Service shop/A: metadata.name');
	expect(message).toContain('shop.yaml:6: Service shop/NAME: spec.ports[0].port: found 0');
});

test('says where YAML is broken, and refuses the same key twice', () => {
	expect(errorOf('a: [b\n')).toContain('shop.yaml:2:1: expected valid YAML');
	expect(errorOf('kind: A\nkind: B\n')).toContain('shop.yaml:2:1');
	expect(errorOf('just text')).toContain('expected an object with apiVersion');
	expect(errorOf('kind: List\nitems: 3\n')).toContain('items: found 3');
});

test('a bomb of aliases is refused', () => {
	let text = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n';
	for (let index = 1; index < 12; index++) {
		text += `a${index}: &a${index} [${Array.from({ length: 10 }, () => `*a${index - 1}`).join(', ')}]\n`;
	}
	expect(errorOf(text)).toContain('aliases');
});
