// What is served, for clients that ask before they act (`kubectl api-resources`, and every kubectl
// command): `/api`, `/apis`, `/apis/G`, `/apis/G/V`, `/version`.

import { apiVersionOf } from '../../config/kind.ts';
import { KINDS } from '../../config/kinds.ts';

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

/** Null when the path is not one of discovery. */
export function discovery(path: string): object | null {
	const parts = path.split('/').filter((part) => part !== '');
	if (parts[0] === 'api') {
		if (parts.length === 1) {
			return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
		}
		return parts.length === 2 && parts[1] === 'v1' ? resourceList('', 'v1') : null;
	}
	if (parts[0] !== 'apis') return null;
	const [, group, version] = parts;
	if (group === undefined) return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups().map(groupObject) };
	if (!groups().includes(group) || parts.length > 3) return null;
	if (version === undefined) return { kind: 'APIGroup', apiVersion: 'v1', ...groupObject(group) };
	return versionsOf(group).includes(version) ? resourceList(group, version) : null;
}

/** The Kubernetes version whose API conventions are followed; clients compare it with their own. */
export function versionInfo(weftVersion: string): object {
	return {
		major: '1',
		minor: '33',
		gitVersion: `v1.33.0+weft-${weftVersion}`,
		platform: `${process.platform}/${process.arch}`,
		weft: weftVersion,
	};
}

function groups(): string[] {
	return [...new Set(KINDS.map((kind) => kind.group))].filter((group) => group !== '');
}

function versionsOf(group: string): string[] {
	return [...new Set(KINDS.filter((kind) => kind.group === group).flatMap((kind) => kind.versions))];
}

function groupObject(group: string): object {
	const versions = versionsOf(group).map((version) => ({ groupVersion: `${group}/${version}`, version }));
	return { name: group, versions, preferredVersion: versions[0] };
}

function resourceList(group: string, version: string): object {
	const resources = KINDS.filter((kind) => kind.group === group && kind.versions.includes(version)).flatMap((kind) => {
		const common = { namespaced: kind.namespaced, kind: kind.kind };
		return [
			{ name: kind.plural, singularName: kind.singular, ...common, verbs: VERBS, shortNames: kind.shortNames },
			{ name: `${kind.plural}/status`, singularName: '', ...common, verbs: ['get', 'patch', 'update'] },
		];
	});
	return {
		kind: 'APIResourceList',
		apiVersion: 'v1',
		groupVersion: apiVersionOf({ group, versions: [version] }),
		resources,
	};
}
