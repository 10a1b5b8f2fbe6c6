import { expect, test } from 'bun:test';
import { CLUSTER_TYPE } from '../xds/type-urls.ts';
import { sidecarNode, TestMesh } from './testing-mesh.ts';

const SERVICE = `
apiVersion: v1
kind: Service
metadata: { name: reviews, namespace: default }
spec: { selector: { app: reviews }, ports: [{ name: http, port: 80 }] }
`;

test('its revision is that of what is compiled, not of what waits for more changes', async () => {
	const mesh = await TestMesh.start();
	const sidecar = mesh.open(sidecarNode());
	const before = mesh.model.revision;
	expect(before).toBe(await mesh.objects.currentRevision());

	await mesh.write(SERVICE);
	await mesh.hear();
	expect(mesh.model.services.has('default/reviews')).toBe(true);
	expect([...sidecar.view.names(CLUSTER_TYPE)].join()).not.toContain('reviews');
	expect(mesh.model.revision).toBe(before);

	await mesh.settle();
	expect([...sidecar.view.names(CLUSTER_TYPE)].join()).toContain('reviews');
	expect(mesh.model.revision).toBe(await mesh.objects.currentRevision());
});
