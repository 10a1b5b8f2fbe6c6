// `weft status`: is everything healthy? The control plane, each sidecar, each service. Exit code 1
// when something is not.

import type { Command } from 'commander';
import type { MeshSnapshot, ServiceSummary, SidecarSummary } from '../control/mesh-snapshot.ts';
import { humanDuration } from '../std/duration.ts';
import { clientFor } from './api-client.ts';
import { EXIT_FAILED } from './exit-codes.ts';
import { meshSnapshot } from './mesh-client.ts';
import { type Cell, coloured, formatTable, print } from './output.ts';
import { isData, type OutputFormat, outputOption, printData } from './output-format.ts';

export function register(program: Command): void {
	program
		.command('status')
		.description('is everything healthy: control plane, sidecars, services; exit code 1 when not')
		.addOption(outputOption(['table', 'json', 'yaml']))
		.addHelpText('after', '\nExamples:\n  weft status\n  weft status -o json\n')
		.action(async (options: { output: OutputFormat }, command: Command) => {
			const client = clientFor(command);
			const mesh = await meshSnapshot(client);
			const problems = findProblems(mesh, Date.now());
			if (isData(options.output)) printData({ healthy: problems.length === 0, problems, mesh }, options.output);
			else for (const line of statusLines(mesh, problems, client.address, Date.now())) print(line);
			if (problems.length > 0) process.exitCode = EXIT_FAILED;
		});
}

/** One line for each thing that is not as it should be. */
export function findProblems(mesh: MeshSnapshot, nowMs: number): string[] {
	const problems: string[] = [];
	if (Date.parse(mesh.controlPlane.rootNotAfter) <= nowMs) problems.push('the root certificate has expired');
	for (const sidecar of mesh.sidecars) {
		const trouble = sidecarTrouble(sidecar, nowMs);
		if (trouble !== null) problems.push(`sidecar ${sidecar.instance}: ${trouble}`);
	}
	for (const service of mesh.services) {
		const trouble = serviceTrouble(service);
		if (trouble !== null) problems.push(`service ${service.namespace}/${service.name}: ${trouble}`);
	}
	for (const route of mesh.routes) {
		if (route.accepted && route.resolvedRefs) continue;
		problems.push(`route ${route.namespace}/${route.name}: ${route.message || 'not accepted'}`);
	}
	return problems;
}

function sidecarTrouble(sidecar: SidecarSummary, nowMs: number): string | null {
	if (!sidecar.connected) return 'not connected';
	if (sidecar.rejected.length > 0) return `refuses its configuration: ${sidecar.rejected[0]?.detail}`;
	if (sidecar.certificate !== null && Date.parse(sidecar.certificate.notAfter) <= nowMs)
		return 'its certificate has expired';
	if (sidecar.health === 'unhealthy') return 'its program fails the health checks';
	return sidecar.inSync ? null : 'has not acknowledged all of its configuration';
}

function serviceTrouble(service: ServiceSummary): string | null {
	if (service.instances === 0) return 'no instances';
	if (service.healthy === 0) return 'no healthy instance';
	if (service.healthy < service.instances) return `${service.healthy} of ${service.instances} instances healthy`;
	return null;
}

export function statusLines(mesh: MeshSnapshot, problems: readonly string[], address: string, nowMs: number): string[] {
	const { controlPlane } = mesh;
	const lines = [
		`control plane  ${coloured('running', 'green')} at ${address}, weft ${controlPlane.version}, up ${humanDuration(controlPlane.uptimeSeconds * 1000)}`,
		`trust domain   ${mesh.trustDomain}, root valid for ${remaining(controlPlane.rootNotAfter, nowMs)}`,
		'',
	];
	if (mesh.services.length === 0) lines.push('no services');
	else {
		const heading = ['SERVICE', 'NAMESPACE', 'ADDRESS', 'PORTS', 'INSTANCES', 'HEALTHY', 'VERSIONS'];
		lines.push(...formatTable(heading, mesh.services.map(serviceRow)));
	}
	lines.push('');
	if (mesh.sidecars.length === 0) lines.push('no sidecars');
	else {
		const heading = ['SIDECAR', 'NAMESPACE', 'AGENT', 'CONNECTED', 'IN SYNC', 'VERSION', 'CERTIFICATE', 'HEALTH'];
		lines.push(
			...formatTable(
				heading,
				mesh.sidecars.map((sidecar) => sidecarRow(sidecar, nowMs)),
			),
		);
	}
	lines.push('');
	if (problems.length === 0) lines.push(coloured('all healthy', 'green'));
	else lines.push(...problems.map((problem) => `${coloured('✗', 'red')} ${problem}`));
	return lines;
}

function serviceRow(service: ServiceSummary): Cell[] {
	const healthy = service.healthy === service.instances && service.healthy > 0;
	return [
		{ text: service.name },
		{ text: service.namespace },
		{ text: service.address },
		{ text: service.ports.join(',') },
		{ text: String(service.instances), right: true },
		{ text: String(service.healthy), right: true, colour: healthy ? 'green' : 'red' },
		{ text: service.versions.map((one) => `${one.version || 'none'}:${one.healthy}/${one.instances}`).join(' ') },
	];
}

function sidecarRow(sidecar: SidecarSummary, nowMs: number): Cell[] {
	const since = sidecar.connectedSince === null ? '' : humanDuration(nowMs - Date.parse(sidecar.connectedSince));
	const counts = Object.values(sidecar.resources);
	const acknowledged = counts.reduce((sum, one) => sum + one.acknowledged, 0);
	const sent = counts.reduce((sum, one) => sum + one.sent, 0);
	return [
		{ text: sidecar.instance },
		{ text: sidecar.namespace },
		{ text: `${sidecar.agent} ${sidecar.agentVersion}`.trim() },
		sidecar.connected ? { text: since || 'yes', colour: 'green' } : { text: 'no', colour: 'red' },
		sidecar.inSync
			? { text: `${acknowledged}/${sent}`, colour: 'green' }
			: { text: `${acknowledged}/${sent}`, colour: 'yellow' },
		{ text: sidecar.acknowledgedVersion || '-' },
		sidecar.certificate === null
			? { text: 'none', colour: 'yellow' }
			: { text: remaining(sidecar.certificate.notAfter, nowMs) },
		{
			text: sidecar.health,
			colour: sidecar.health === 'healthy' ? 'green' : sidecar.health === 'unhealthy' ? 'red' : undefined,
		},
	];
}

function remaining(notAfter: string, nowMs: number): string {
	const leftMs = Date.parse(notAfter) - nowMs;
	return leftMs <= 0 ? 'expired' : humanDuration(leftMs);
}
