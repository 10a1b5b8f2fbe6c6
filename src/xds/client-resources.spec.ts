import { expect, test } from 'bun:test';
import { ClientResources } from './client-resources.ts';

const TYPE = 'type.googleapis.com/thing';
const A = { name: 'a', version: '1', value: new Uint8Array(1) };

/** What a subscriber that comes now is told to be gone. */
function toldGone(resources: ClientResources, name: string): readonly string[] {
	const gone: string[] = [];
	const onUpdate = ({ removed }: { readonly removed: readonly string[] }): null => {
		gone.push(...removed);
		return null;
	};
	resources.subscribe([name], { onUpdate }).close();
	return gone;
}

test('what went is remembered as gone while somebody asks for it by name, and not for who wants everything', () => {
	const resources = new ClientResources(TYPE, () => {});
	const target = { onUpdate: () => null };
	resources.subscribe(null, target);
	resources.apply({ updated: [A], removed: [] });
	resources.apply({ updated: [], removed: ['a'] });
	expect(toldGone(resources, 'a')).toEqual([]);
	const named = resources.subscribe(['b'], target);
	resources.begin();
	resources.apply({ updated: [], removed: ['b'] });
	expect(toldGone(resources, 'b')).toEqual(['b']);
	named.close();
	resources.changes();
	expect(toldGone(resources, 'b')).toEqual([]);
});
